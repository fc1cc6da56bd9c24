"""Which rows a query must not get, as half-open ranges of row numbers.

Rows of one user lie together, so the rows that a sample may not use (its user's, those holding its
target) are few ranges rather than many numbers. Queries may share lists: a thousand samples with
one target need its rows once.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import offsets_of, row_of_each
from llmrec.errors import DataError

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowRanges:
    """Lists of ranges, and which list every query uses.

    List ``i`` is ``[starts[j], stops[j])`` for ``j`` in ``offsets[i]:offsets[i + 1]``, in any
    order; ranges may overlap or be empty.

    Attributes:
        offsets: ``[lists + 1]``.
        starts: ``[m]`` first rows.
        stops: ``[m]`` rows after the last.
        lists: ``[q]`` list of every query; None when query ``i`` uses list ``i``.

    Raises:
        DataError: The arrays do not fit together, or a range ends before it starts.
    """

    offsets: Int64Array
    starts: Int64Array
    stops: Int64Array
    lists: Int64Array | None = field(default=None)

    def __post_init__(self) -> None:
        for name in ("offsets", "starts", "stops", "lists"):
            value = getattr(self, name)
            if value is not None:
                array = np.atleast_1d(np.asarray(value, dtype=np.int64))
                object.__setattr__(self, name, array)
        self._check()

    def _check(self) -> None:
        if self.starts.shape != self.stops.shape or self.starts.ndim != 1:
            raise DataError(
                f"row ranges have {self.starts.size} starts and {self.stops.size} stops."
            )
        offsets = self.offsets
        if offsets[0] != 0 or offsets[-1] != self.starts.size or (np.diff(offsets) < 0).any():
            raise DataError(
                f"offsets of row ranges must rise from 0 to {self.starts.size}, the number of "
                f"ranges; they go from {offsets[0]} to {offsets[-1]}."
            )
        wrong = np.flatnonzero((self.starts < 0) | (self.stops < self.starts))
        if wrong.size:
            j = int(wrong[0])
            raise DataError(f"row range {j} is [{self.starts[j]}, {self.stops[j]}).")
        lists = self.lists
        if lists is not None and lists.size and not 0 <= lists.min() <= lists.max() < self.n_lists:
            raise DataError(
                f"queries use lists {lists.min()} to {lists.max()}, there are {self.n_lists}."
            )

    @classmethod
    def from_rows(cls, rows: npt.ArrayLike) -> Self:
        """One excluded row per query, for instance the query's own; -1 excludes nothing.

        Args:
            rows: ``[q]`` row numbers.
        """
        values = np.asarray(rows, dtype=np.int64).ravel()
        kept = values >= 0
        return cls(offsets_of(kept), values[kept], values[kept] + 1)

    @classmethod
    def from_members(
        cls, owner: npt.ArrayLike, rows: npt.ArrayLike, lists: npt.ArrayLike, n_lists: int
    ) -> Self:
        """Lists of single rows from pairs, for instance (item, row that holds it).

        Args:
            owner: ``[m]`` list of every pair, from 0 to ``n_lists - 1``.
            rows: ``[m]`` row of every pair.
            lists: ``[q]`` list of every query.
            n_lists: Number of lists.
        """
        owner, rows = np.asarray(owner, dtype=np.int64), np.asarray(rows, dtype=np.int64)
        order = np.argsort(owner, kind="stable")
        offsets = offsets_of(np.bincount(owner, minlength=n_lists))
        return cls(offsets, rows[order], rows[order] + 1, np.asarray(lists, dtype=np.int64))

    def __len__(self) -> int:
        """Number of queries."""
        return self.n_lists if self.lists is None else self.lists.size

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return self.offsets.size - 1

    def contain(self, queries: npt.ArrayLike, rows: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each row is excluded for its query; the two arrays are broadcast.

        Args:
            queries: Query numbers.
            rows: Row numbers; -1 is in no range.
        """
        query, row = np.broadcast_arrays(np.asarray(queries), np.asarray(rows, dtype=np.int64))
        lists = query if self.lists is None else self.lists[query]
        starts, stops, stride = self._sorted
        if not starts.size:
            return np.zeros(row.shape, dtype=np.bool_)
        value = lists.astype(np.int64) * stride + np.clip(row, 0, stride - 1)
        last = np.searchsorted(starts, value, side="right") - 1
        # the furthest stop so far is this list's own, or lies before every row of this list
        inside = (row >= 0) & (last >= 0) & (stops[np.maximum(last, 0)] > value)
        return np.asarray(inside, dtype=np.bool_)

    @cached_property
    def _sorted(self) -> tuple[Int64Array, Int64Array, int]:
        """Starts and furthest stops of all lists on one line, list ``i`` from ``i * stride``."""
        kept = self.stops > self.starts
        stride = int(self.stops.max(initial=0)) + 1
        line = row_of_each(self.offsets)[kept] * stride
        starts, stops = line + self.starts[kept], line + self.stops[kept]
        order = np.argsort(starts, kind="stable")
        return starts[order], np.maximum.accumulate(stops[order]), stride
