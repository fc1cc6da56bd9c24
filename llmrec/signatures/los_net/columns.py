"""Many records as flat columns: positions one after another, with offsets.

Records may differ in the number of columns; they are cut or padded to one width, and what is cut
goes to the tail. Values at the floor carry no information and count as not received.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import offsets_of, row_of_each, span_indices
from llmrec.inference.signature import FLOOR, SignatureRecord

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """``T`` positions of ``n`` records.

    Attributes:
        logprobs: ``[T, K]`` float32, descending; the floor where not valid.
        valid: ``[T, K]`` whether a value above the floor was received.
        actual: ``[T]`` log-probability of the token really there; NaN where not available.
        rank: ``[T]`` its rank from 0; where censored, a lower bound.
        censored: ``[T]`` whether the rank is a lower bound.
        tail: ``[T]`` log of the mass beyond the values.
        row_mean: ``[T]`` over the vocabulary; NaN where the source gave none.
        row_std: ``[T]`` likewise.
        vocab_size: ``[T]`` width of the logits; 0 where unknown.
        offsets: ``[n + 1]`` where records begin.
    """

    logprobs: FloatArray
    valid: BoolArray
    actual: FloatArray
    rank: IntArray
    censored: BoolArray
    tail: FloatArray
    row_mean: FloatArray
    row_std: FloatArray
    vocab_size: IntArray
    offsets: IntArray

    def __len__(self) -> int:
        return self.offsets.size - 1

    @property
    def lengths(self) -> IntArray:
        """``[n]`` positions of each record."""
        return np.diff(self.offsets)

    def take(self, records: npt.NDArray[np.integer], lengths: IntArray | None = None) -> Self:
        """Some of the records, each cut to its first ``lengths`` positions if those are given."""
        kept = self.lengths[records] if lengths is None else lengths
        rows = span_indices(self.offsets[records], kept)
        flat = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "offsets"}
        return type(self)(**flat, offsets=offsets_of(kept))

    def limited(self, limits: npt.NDArray[np.integer]) -> Self:
        """As if each record had come with its first ``limits`` columns only (``[n]``)."""
        each = np.asarray(limits, dtype=np.int64)[row_of_each(self.offsets)]
        beyond = np.arange(self.logprobs.shape[1]) >= each[:, None]
        changed = {
            "logprobs": np.where(beyond, np.float32(FLOOR), self.logprobs),
            "valid": self.valid & ~beyond,
            "tail": _with_cut_mass(self.tail, self.logprobs, beyond & self.valid),
            "censored": self.censored | (self.rank >= each),
            "rank": np.minimum(self.rank, each),
        }
        return type(self)(**{**self.__dict__, **changed})


def columns_of(records: Sequence[SignatureRecord], k: int) -> Columns:
    """Put records one after another.

    Args:
        records: Any number, also none, and also without positions.
        k: Columns of the result.
    """
    offsets = offsets_of([len(record) for record in records])
    total = int(offsets[-1])
    logprobs = np.full((total, k), FLOOR, dtype=np.float32)
    valid = np.zeros((total, k), dtype=np.bool_)
    tail = np.empty(total, dtype=np.float32)
    widths = [record.k for record in records]
    for width in sorted(set(widths)):
        chosen = [i for i, own in enumerate(widths) if own == width]
        alike = [records[i] for i in chosen]
        # rows of all records lie one after another, and need not be found one by one
        every = slice(None) if len(alike) == len(records) else None
        rows = every or span_indices(offsets[chosen], np.diff(offsets)[chosen])
        values = np.concatenate([record.topk_logprobs for record in alike], dtype=np.float32)
        received = np.concatenate([record.topk_valid for record in alike])
        received &= values > FLOOR
        kept = min(width, k)
        logprobs[rows, :kept], valid[rows, :kept] = values[:, :kept], received[:, :kept]
        sent = np.concatenate([record.tail_logmass for record in alike])
        tail[rows] = _with_cut_mass(sent, values[:, kept:], received[:, kept:])
    return Columns(
        logprobs,
        valid,
        _joined(records, "actual_logprob", np.float32),
        _joined(records, "actual_rank", np.int64),
        _joined(records, "rank_censored", np.bool_),
        tail,
        _joined(records, "row_mean", np.float32),
        _joined(records, "row_std", np.float32),
        np.repeat([record.vocab_size or 0 for record in records], np.diff(offsets)).astype(int),
        offsets,
    )


def _joined(
    records: Sequence[SignatureRecord], name: str, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    parts = [getattr(record, name) for record in records]
    if all(part is None for part in parts):  # also where there is no record
        return np.full(sum(map(len, records)), np.nan).astype(dtype)
    known = [
        np.full(len(record), np.nan) if part is None else part
        for record, part in zip(records, parts, strict=True)
    ]
    return np.concatenate(known).astype(dtype)


def _with_cut_mass(tail: FloatArray, values: FloatArray, cut: BoolArray) -> FloatArray:
    """The log mass of the tail, and of the values that ``cut`` marks."""
    if not cut.any():
        return tail
    mass = np.where(cut, np.exp(values), np.float32(0)).sum(axis=1)
    with np.errstate(divide="ignore"):
        added = np.log(np.exp(tail) + mass)
    return np.asarray(np.maximum(np.where(mass > 0, added, tail), FLOOR), dtype=np.float32)
