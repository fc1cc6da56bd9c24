"""Ragged rows of tokens, laid out as the padded batches that a model reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import offsets_of, position_of_each, row_of_each, span_indices

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows of token ids.

    Attributes:
        tokens: ``[all tokens]`` int32.
        offsets: ``[n + 1]`` int64.
    """

    tokens: npt.NDArray[np.int32]
    offsets: Int64

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "TokenRows":
        """Lay rows behind each other."""
        flat = [np.asarray(row, dtype=np.int32) for row in rows]
        tokens = np.concatenate([np.empty(0, dtype=np.int32), *flat])
        return cls(tokens, offsets_of([len(row) for row in rows]))

    def __len__(self) -> int:
        return self.offsets.size - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.int32]:
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Int64:
        """``[n]`` tokens of every row."""
        return np.diff(self.offsets)

    def take(self, rows: npt.ArrayLike) -> "TokenRows":
        """Rows by number, as often as they are named."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        index = span_indices(self.offsets[rows], lengths)
        return TokenRows(self.tokens[index], offsets_of(lengths))

    def replaced(self, which: npt.NDArray[np.bool_], other: "TokenRows") -> "TokenRows":
        """These rows, with the only row of the other in place of some.

        Args:
            which: ``[n]`` rows that are replaced.
            other: One row.
        """
        both = TokenRows(
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.offsets, self.offsets[-1:] + other.offsets[1:]]),
        )
        return both.take(np.where(which, len(self), np.arange(len(self))))

    def followed_by(self, others: "TokenRows") -> "TokenRows":
        """Row ``i`` of these and behind it row ``i`` of the others."""
        lengths = self.lengths + others.lengths
        offsets = offsets_of(lengths)
        tokens = np.empty(int(offsets[-1]), dtype=np.int32)
        tokens[span_indices(offsets[:-1], self.lengths)] = self.tokens
        tokens[span_indices(offsets[:-1] + self.lengths, others.lengths)] = others.tokens
        return TokenRows(tokens, offsets)

    def left_padded(self, width: int | None = None) -> tuple[Int64, npt.NDArray[np.bool_]]:
        """Ids ``[n, width]``, every row ending in the last column, and which are no padding.

        Args:
            width: At least the longest row; None is the longest row.
        """
        lengths = self.lengths
        wide = int(lengths.max(initial=1)) if width is None else width
        ids = np.zeros((len(self), wide), dtype=np.int64)
        there = np.zeros(ids.shape, dtype=bool)
        owner = row_of_each(self.offsets)
        place = wide - lengths[owner] + position_of_each(self.offsets)
        ids[owner, place], there[owner, place] = self.tokens, True
        return ids, there


def buckets(lengths: Int64, most_tokens: int) -> Iterator[Int64]:
    """Group rows of similar length: no row is filled up to more than twice its length.

    Args:
        lengths: ``[n]`` tokens per row.
        most_tokens: Most tokens of a group, padding included; a longer row is a group of its own.

    Yields:
        Row numbers; every row is in exactly one group, the longest come first.

    >>> [group.tolist() for group in buckets(np.array([3, 9, 4, 1]), 10)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < order.size:
        longest = int(lengths[order[start]])
        group = order[start : start + max(1, most_tokens // max(1, longest))]
        alike = group[2 * lengths[group] >= longest]
        yield alike
        start += alike.size
