"""From rows of logits to the columns of a signature record, on the device of the logits.

Everything is cut to ``K`` columns and a few numbers per row before it leaves; the full rows are
never kept. Log-probabilities are those of the raw logits, whatever the decoding does to them, and
are cut at :data:`~llmrec.inference.signature.FLOOR`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ConfigError
from llmrec.inference.signature import FLOOR, SignatureRecord

_AT_ONCE = 2**22
"""Logits that are worked on together: 16 MiB, so that the passes find them in a cache."""

_SHORTEST_STRETCH = 4


@dataclass(frozen=True)
class Columns:
    """Columns of ``N`` positions, as tensors.

    Attributes:
        actual_logprob: ``[N]`` of the token really there; NaN or infinite if the logits were.
        topk_logprobs: ``[N, K]``, descending.
        topk_ids: ``[N, K]`` int32.
        actual_rank: ``[N]`` int32, how many tokens are strictly more probable.
        tail_logmass: ``[N]``.
        row_mean: ``[N]`` over the vocabulary.
        row_std: ``[N]`` unbiased.
        weighted_mean: ``[N]`` weighted by probability.
        weighted_std: ``[N]`` weighted by probability.
    """

    actual_logprob: Tensor
    topk_logprobs: Tensor
    topk_ids: Tensor
    actual_rank: Tensor
    tail_logmass: Tensor
    row_mean: Tensor
    row_std: Tensor
    weighted_mean: Tensor
    weighted_std: Tensor

    def take(self, rows: Tensor | slice) -> "Columns":
        """Some of the positions."""
        return Columns(*(column[rows] for column in _columns(self)))

    def cpu(self) -> "Columns":
        """The columns in main memory."""
        return Columns(*(column.cpu() for column in _columns(self)))


class Positions:
    """Columns as they come, batch by batch, of texts that are put together at the end."""

    def __init__(self) -> None:
        self._columns: list[Columns] = []
        self._owners: list[int] = []

    def add(self, columns: Columns, owners: Sequence[int]) -> None:
        """Add positions, each of the text that ``owners`` names; a text's come in their order."""
        self._columns.append(columns)
        self._owners += owners

    def split(self, n: int) -> list[Columns]:
        """The columns of texts ``0 .. n - 1`` in main memory."""
        owners = np.asarray(self._owners)
        whole = join(self._columns).cpu().take(torch.from_numpy(owners.argsort(kind="stable")))
        ends = np.bincount(owners, minlength=n).cumsum()
        starts = np.concatenate([[0], ends[:-1]])
        return [whole.take(slice(int(a), int(b))) for a, b in zip(starts, ends, strict=True)]


def capture(logits: Tensor, actual: Tensor, k: int) -> Columns:
    """Cut rows of logits to what a record keeps.

    Args:
        logits: ``[N, V]`` raw, of any floating type.
        actual: ``[N]`` the tokens really there.
        k: Columns to keep; 0 keeps the actual token's log-probability and leaves the rest empty.

    Raises:
        ConfigError: ``k`` is more than the vocabulary.
    """
    check_width(k, logits.shape[1])
    step = max(1, _AT_ONCE // logits.shape[1])
    parts = [
        _capture(logits[start : start + step].float(), actual[start : start + step], k)
        for start in range(0, max(1, len(logits)), step)
    ]
    return join(parts)


def check_width(k: int, vocab_size: int) -> None:
    """Refuse more columns than there are tokens.

    Raises:
        ConfigError: ``k`` is more than ``vocab_size``.
    """
    if k > vocab_size:
        raise ConfigError(
            f"logprobs={k} asks for more tokens than the {vocab_size} of the model's vocabulary; "
            f"ask for at most {vocab_size}."
        )


def best_ids(logits: Tensor, k: int) -> Tensor:
    """Ids ``[N, k]`` of the largest logits of every row ``[N, V]``, the largest first.

    On a processor a row is searched in two steps, because ``topk`` is slow on wide rows: the ``k``
    stretches of a row with the largest maxima hold its ``k`` largest logits.
    """
    width = logits.shape[1]
    stretch = math.isqrt(width // k)
    if logits.device.type != "cpu" or stretch < _SHORTEST_STRETCH:
        return logits.topk(k, dim=-1).indices
    end = width - width % stretch
    parts = logits[:, :end].reshape(len(logits), -1, stretch)
    chosen = parts.amax(dim=2).topk(k, dim=-1, sorted=False).indices[:, :, None]
    held = parts.gather(1, chosen.expand(-1, -1, stretch)).flatten(1)
    ids = (chosen * stretch + torch.arange(stretch)).flatten(1)
    rest = torch.arange(end, width).expand(len(logits), -1)
    places = torch.cat([held, logits[:, end:]], dim=1).topk(k, dim=-1).indices
    return torch.cat([ids, rest], dim=1).gather(1, places)


def join(parts: Sequence[Columns]) -> Columns:
    """Put columns of successive positions together."""
    if len(parts) == 1:
        return parts[0]
    return Columns(*(torch.cat(column) for column in zip(*map(_columns, parts), strict=True)))


def record_of_columns(columns: Columns, **about: Any) -> SignatureRecord:
    """Make a record of columns in main memory.

    Args:
        columns: At least one column wide.
        about: The other fields of the record; ``vocab_size``, ``kind`` and ``has_eos`` among them.
    """
    arrays = {name: getattr(columns, name).numpy() for name in Columns.__dataclass_fields__}
    n, k = arrays["topk_logprobs"].shape
    return SignatureRecord(
        topk_valid=np.ones((n, k), dtype=np.bool_),
        rank_censored=np.zeros(n, dtype=np.bool_),
        mode="raw_logprobs",
        **arrays,
        **about,
    )


def _capture(logits: Tensor, actual: Tensor, k: int) -> Columns:
    if k == 0:
        return _actual_only(logits, actual)
    logprobs = logits.log_softmax(dim=-1).clamp_(min=FLOOR)
    found = actual[:, None]
    # ranks and the best compare logits: taking logarithms can round two of them to one
    ids = best_ids(logits, k)
    rank = (logits > logits.gather(1, found)).sum(dim=-1)
    mean = logprobs.mean(dim=-1)
    spread = logprobs - mean[:, None]
    # products of rows are far faster than torch.std_mean on a processor
    std = (torch.linalg.vecdot(spread, spread) / (logprobs.shape[1] - 1)).sqrt()
    probabilities = logprobs.exp()
    weighted_mean = torch.linalg.vecdot(probabilities, logprobs)
    torch.sub(logprobs, weighted_mean[:, None], out=spread).square_()
    weighted_std = torch.linalg.vecdot(probabilities, spread).sqrt()
    tail = probabilities.scatter_(1, ids, 0.0).sum(dim=-1).log_().clamp_(min=FLOOR)
    return Columns(
        logprobs.gather(1, found).squeeze(1),
        logprobs.gather(1, ids),
        ids.int(),
        rank.int(),
        tail,
        mean,
        std,
        weighted_mean,
        weighted_std,
    )


def _actual_only(logits: Tensor, actual: Tensor) -> Columns:
    n = len(logits)
    total = logits.logsumexp(dim=-1)
    value = (logits.gather(1, actual[:, None]).squeeze(1) - total).clamp_(min=FLOOR)
    value = value.where(total.isfinite(), torch.nan)  # an infinite logit must not look improbable
    nothing, wide = value.new_empty(n), value.new_empty((n, 0))
    whole, wide_whole = nothing.int(), wide.int()
    return Columns(value, wide, wide_whole, whole, nothing, nothing, nothing, nothing, nothing)


def _columns(columns: Columns) -> tuple[Tensor, ...]:
    return tuple(getattr(columns, name) for name in Columns.__dataclass_fields__)
