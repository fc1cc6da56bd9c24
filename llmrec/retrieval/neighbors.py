"""Nearest rows of every query, without those that the query must not get.

Rows are left out by what they are, never by their place in the answer: equal texts make any rule
like "the first is the query itself" wrong. More rows than needed are asked for, and queries that
come up short ask again for twice as many until they are full or the index has no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llmrec.contracts import NeighborIndex
from llmrec.errors import DataError
from llmrec.retrieval.exact import as_queries, check_k
from llmrec.retrieval.ranges import RowRanges

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

_MARGIN = 16
_CELLS_AT_ONCE = 1 << 23  # answers held at a time when a query asks for much of the index


@dataclass(frozen=True)
class Neighbors:
    """Neighbours of queries, best first.

    Attributes:
        rows: ``[q, k]`` int32 rows of the index, -1 in unused slots, which come last.
        scores: ``[q, k]`` float32 inner products, -inf in unused slots.
    """

    rows: npt.NDArray[np.int32]
    scores: "FloatArray"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def k(self) -> int:
        """Slots per query."""
        return int(self.rows.shape[1])

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """``[q, k]``: whether a slot holds a neighbour."""
        return self.rows >= 0


def nearest(
    index: NeighborIndex,
    queries: npt.ArrayLike,
    k: int,
    excluded: RowRanges | Sequence[RowRanges] = (),
    groups: npt.ArrayLike | None = None,
    query_batch: int = 8192,
    margin: int = _MARGIN,
) -> Neighbors:
    """Find the ``k`` best rows that each query may have.

    Args:
        index: Where to search.
        queries: ``[q, dim]``; a query of zeros gets no neighbours.
        k: Slots per query.
        excluded: Rows that queries must not get; several are joined.
        groups: ``[n]`` group of every row of the index, for instance its user; only the best row
            of a group is kept. None keeps all.
        query_batch: Queries searched at a time.
        margin: How many rows beyond ``k`` are asked for at first.

    Raises:
        DataError: Dimensions or lengths do not fit, or queries are not finite.
        ConfigError: ``k`` is below 1.
    """
    values = as_queries(queries, index.dim)
    check_k(k)
    rules = (excluded,) if isinstance(excluded, RowRanges) else tuple(excluded)
    group_of = None if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    _check_lengths(index, len(values), rules, group_of)
    found = Neighbors(
        np.full((len(values), k), -1, dtype=np.int32),
        np.full((len(values), k), -np.inf, dtype=np.float32),
    )
    search = _Search(index, values, rules, group_of, found)
    with_direction = np.flatnonzero(values.any(axis=1) & (len(index) > 0))
    for start in range(0, with_direction.size, query_batch):
        search.fill(with_direction[start : start + query_batch], k + margin)
    return found


@dataclass(frozen=True)
class _Search:
    index: NeighborIndex
    values: "FloatArray"
    rules: tuple[RowRanges, ...]
    group_of: npt.NDArray[np.int64] | None
    found: Neighbors

    def fill(self, pending: npt.NDArray[np.int64], fetch: int) -> None:
        """Ask for ``fetch`` rows, then for twice as many where that was not enough."""
        while pending.size:
            fetch = min(fetch, len(self.index))
            step = max(1, _CELLS_AT_ONCE // fetch)
            short = [
                self._ask(pending[start : start + step], fetch)
                for start in range(0, pending.size, step)
            ]
            pending = np.concatenate(short) if fetch < len(self.index) else pending[:0]
            fetch *= 2

    def _ask(self, queries: npt.NDArray[np.int64], fetch: int) -> npt.NDArray[np.int64]:
        """Store what one request gives; returns the queries that could get more."""
        scores, rows = self.index.search(self.values[queries], fetch)
        allowed = rows >= 0
        exhausted = ~allowed[:, -1]
        for rule in self.rules:
            allowed &= ~rule.contain(queries[:, None], rows)
        if self.group_of is not None:
            allowed &= _first_of_group(self.group_of[np.maximum(rows, 0)], allowed)
        place = np.cumsum(allowed, axis=1) - 1
        entry, slot = np.nonzero(allowed & (place < self.found.k))
        target = (queries[entry], place[entry, slot])
        self.found.rows[target] = rows[entry, slot]
        self.found.scores[target] = scores[entry, slot]
        short = (allowed.sum(axis=1) < self.found.k) & ~exhausted
        return queries[np.flatnonzero(short)]


def _first_of_group(
    groups: npt.NDArray[np.int64], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Mark the first allowed slot ``[b, f]`` of every group in its row."""
    marked = np.where(allowed, groups, -1)
    order = np.argsort(marked, axis=1, kind="stable")
    ordered = np.take_along_axis(marked, order, axis=1)
    first = np.ones_like(allowed)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    result = np.empty_like(allowed)
    np.put_along_axis(result, order, first, axis=1)
    return result & allowed


def _check_lengths(
    index: NeighborIndex,
    n_queries: int,
    rules: tuple[RowRanges, ...],
    group_of: npt.NDArray[np.int64] | None,
) -> None:
    for rule in rules:
        if len(rule) != n_queries:
            raise DataError(f"excluded rows are given for {len(rule)} of {n_queries} queries.")
    if group_of is not None and len(group_of) != len(index):
        raise DataError(f"groups are given for {len(group_of)} of {len(index)} rows of the index.")
