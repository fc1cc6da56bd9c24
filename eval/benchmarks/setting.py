"""The one SASRec setting in which we and the peers are timed.

Standard library only: every environment imports this file. It holds no timing and no data.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What has to be equal on both sides.

    Attributes:
        dimension: Width of embeddings and hidden states; the feed-forward layer has the same.
        blocks: Transformer blocks.
        heads: Attention heads.
        length: Newest events of a history that a model reads.
        batch_size: Rows of a training batch, in the unit the library trains on: sequences for us
            and RecTools, single targets for RecBole.
        dropout: Probability of dropping an activation.
        learning_rate: Step size of Adam.
        precision: ``float32``, or ``bf16`` for matrix products in bfloat16.
        threads: Threads of the numerical library.
        seed: Seed of initial weights, order and dropout.
        k: Length of a recommended list.
    """

    dimension: int = 64
    blocks: int = 2
    heads: int = 2
    length: int = 50
    batch_size: int = 256
    dropout: float = 0.5
    learning_rate: float = 1e-3
    precision: str = "float32"
    threads: int = 2
    seed: int = 0
    k: int = 20

    def as_dict(self) -> dict[str, Any]:
        """The setting as JSON values."""
        return dataclasses.asdict(self)

    def as_json(self) -> str:
        """The setting as one line, as the drivers hand it to a process."""
        return json.dumps(self.as_dict())


def from_json(text: str) -> Setting:
    """Read a setting; keys left out keep their default.

    Raises:
        SystemExit: A key is unknown; the message lists the known ones.
    """
    values = json.loads(text)
    known = {field.name for field in dataclasses.fields(Setting)}
    if unknown := sorted(set(values) - known):
        raise SystemExit(f"unknown setting {unknown}; known are {sorted(known)}.")
    return Setting(**values)
