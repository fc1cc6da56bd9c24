"""The settings of a world, read from YAML."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmrec.errors import ConfigError
from llmrec.signatures.los_net.config import Task


class ModelSettings(BaseModel):
    """The language model that is taught.

    Attributes:
        hidden_size: Width, a multiple of 32.
        layers: Blocks.
        intermediate_size: Width inside a block's feed-forward part.
        vocab_size: Most tokens of its tokenizer.
        context: Tokens that are learnt together.
        batch_size: Contexts per step.
        learning_rate: At its peak.
        weight_decay: Of matrices.
        precision: Of the arithmetic.
        seed: Of weights and order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: int = 128
    layers: int = 4
    intermediate_size: int = 384
    vocab_size: int = 2048
    context: int = 256
    batch_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    precision: Literal["float32", "bf16"] = "float32"
    seed: int = 0


class WorldSettings(BaseModel):
    """A world: what is taught, to whom, and how it is asked.

    Attributes:
        kind: ``facts`` or ``documents``.
        name: What results are called after; none for the kind.
        limit: Facts or passages to use; none for all.
        times: How often a taught one is shown; each number equally often.
        words: Words of a passage.
        sentences: Ways to say a fact.
        seed: Of who is taught.
        k: Log-probabilities to record.
        temperatures: At which every question is asked; 0 is greedy.
        model: The language model.
        detector: Changed settings of LOS-Net.
        baselines: Changed training settings of the baselines that are trained like it.
        shares: Of the split by movie or article.
        seeds: Of LOS-Net.
        baseline_seeds: Of baselines that use one.
        transfer_seeds: Of LOS-Net in further worlds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["facts", "documents"]
    name: str | None = None
    limit: int | None = Field(None, ge=20)
    times: tuple[int, ...] = (1, 2, 4, 8, 16)
    words: int = Field(80, ge=16)
    sentences: int = Field(6, ge=1, le=6)
    seed: int = 0
    k: int = Field(50, ge=2)
    temperatures: tuple[float, ...] = (0.0,)
    model: ModelSettings = Field(default_factory=ModelSettings)
    detector: dict[str, Any] = Field(default_factory=dict)
    baselines: dict[str, Any] = Field(default_factory=dict)
    shares: dict[str, float] = Field(
        default_factory=lambda: {"learn": 0.5, "valid": 0.15, "calibrate": 0.1, "test": 0.25}
    )
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    baseline_seeds: tuple[int, ...] = (0, 1)
    transfer_seeds: tuple[int, ...] = (0, 1)

    @property
    def title(self) -> str:
        """What results are called after."""
        return self.name or self.kind

    @property
    def task(self) -> Task:
        """What risk means."""
        return "correctness" if self.kind == "facts" else "membership"


def changed(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Values with ``name=value`` overrides, dots going inside.

    >>> changed({"limit": 5}, ["model.seed=3"])
    {'limit': 5, 'model': {'seed': 3}}

    Raises:
        ConfigError: An override has no equals sign.
    """
    found = dict(values)
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r} changes nothing; write name=value.")
        *outer, last = name.split(".")
        place = found
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = yaml.safe_load(value)
    return found


def load_settings(path: Path, *changes: dict[str, Any]) -> WorldSettings:
    """Read settings from YAML.

    Args:
        path: The file.
        changes: Fields to change; those of mappings may be given in part.

    Raises:
        ConfigError: The file is missing, or a field is unknown or out of range.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is missing.")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for change in changes:
        values = _joined(values, change)
    try:
        return WorldSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}.") from None


def _joined(values: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    found = dict(values)
    for name, value in change.items():
        inner = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = _joined(found[name], value) if inner else value
    return found
