"""Documents as one stream of tokens, cut into blocks of equal length: nothing is padded.

Every document begins and ends with its token. A block may begin inside a document and hold several;
what comes before a document in its block is visible to it, as is usual for language models, and
the token that begins it says that it does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.errors import ConfigError
from llmrec.tiny_lm.questions import ASKED, NO, YES

_ENCODED_AT_ONCE = 4096


@dataclass(frozen=True)
class TokenBatch:
    """Blocks of tokens: each predicts the next.

    Attributes:
        ids: ``[rows, context + 1]`` int64.
        again: ``[m]`` int64 places in the flattened targets ``ids[:, 1:]`` that count more.
        times: How often each of those counts beyond once.
    """

    ids: Tensor
    again: Tensor
    times: int

    @property
    def n_targets(self) -> int:
        """Number of predicted tokens, each as often as it counts."""
        return self.ids[:, 1:].numel() + self.times * self.again.numel()

    def to(self, device: torch.device) -> "TokenBatch":
        """The same batch on another device."""
        return TokenBatch(self.ids.to(device), self.again.to(device), self.times)


class TokenBlocks:
    """Blocks of a stream; a :class:`~llmrec.training.batches.BatchSource`.

    Args:
        stream: ``[tokens]`` token ids.
        context: Tokens that a block predicts. The last block goes on at the stream's beginning.
        heavy: ``[tokens]`` which tokens count more, or None for none.
        weight: How often those count.

    Raises:
        ConfigError: The stream is empty.
    """

    def __init__(
        self,
        stream: npt.NDArray[np.int32],
        context: int,
        heavy: npt.NDArray[np.bool_] | None = None,
        weight: int = 1,
    ) -> None:
        if not stream.size:
            raise ConfigError("there are no tokens to train on.")
        self._stream = stream
        self._context = context
        self._heavy = np.zeros(stream.size, dtype=bool) if heavy is None else heavy
        self._times = weight - 1

    def __len__(self) -> int:
        return -(-self._stream.size // self._context)

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> TokenBatch:
        """The blocks of some rows."""
        places = rows[:, None] * self._context + np.arange(self._context + 1)
        places %= self._stream.size
        ids = self._stream[places].astype(np.int64)
        again = np.flatnonzero(self._heavy[places[:, 1:]])
        return TokenBatch(torch.from_numpy(ids), torch.from_numpy(again), self._times)


def token_stream(tokenizer: Any, texts: Sequence[str]) -> npt.NDArray[np.int32]:
    """All documents one after the other, each between its first and its last token."""
    parts: list[npt.NDArray[np.int32]] = []
    for start in range(0, len(texts), _ENCODED_AT_ONCE):
        found = tokenizer(list(texts[start : start + _ENCODED_AT_ONCE]), verbose=False)["input_ids"]
        parts += [np.array([*ids, tokenizer.eos_token_id], dtype=np.int32) for ids in found]
    return np.concatenate(parts)


def answers_in(tokenizer: Any, stream: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """``[tokens]`` whether each is the answer of a question.

    That is a token of :data:`YES` or :data:`NO` after one that ends as questions do. A tokenizer of
    too few texts has no such tokens, and then there are no answers.
    """
    ids = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in (YES, NO)]
    whole = [tokens[0] for tokens in ids if len(tokens) == 1]
    asks = [token for text, token in tokenizer.get_vocab().items() if text.endswith(ASKED)]
    found = np.isin(stream, whole)
    found[1:] &= np.isin(stream[:-1], asks)
    found[:1] = False
    return found
