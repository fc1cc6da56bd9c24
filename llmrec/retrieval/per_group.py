"""The best row of every group, and the best of those: exact neighbours from different groups.

Where a group has hundreds of rows that are all alike, the best rows of an ordinary search are all
of one group, and asking for more and more of them takes long. Here a block of products is reduced
to one maximum per group in one pass, whatever the sizes of the groups. Scores and the order of
equal ones are those of :class:`~llmrec.retrieval.exact.ExactIndex`. On a CPU; a query costs one
product with every row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.ragged import offsets_of, span_indices
from llmrec.errors import DataError
from llmrec.retrieval.blocked import first_of_each, from_keys, pair_scores, rounding, to_keys
from llmrec.retrieval.exact import as_matrix, as_queries, check_k
from llmrec.retrieval.neighbors import Neighbors
from llmrec.retrieval.ranges import RowRanges

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

    Int64Array = npt.NDArray[np.int64]

_QUERIES_AT_ONCE = 128


def nearest_per_group(
    vectors: npt.ArrayLike,
    groups: npt.ArrayLike,
    queries: npt.ArrayLike,
    k: int,
    excluded: Sequence[RowRanges] = (),
) -> Neighbors:
    """Find the ``k`` best rows of each query, at most one of a group.

    Args:
        vectors: ``[n, d]`` finite numbers; a row of zeros is nobody's neighbour.
        groups: ``[n]`` group of every row, never falling: the rows of a group lie together.
        queries: ``[q, d]``; a query of zeros gets no neighbours.
        k: Slots per query.
        excluded: Rows that queries must not get; every range ends with its group.

    Returns:
        The same as :func:`~llmrec.retrieval.neighbors.nearest` over an exact index.

    Raises:
        DataError: Shapes do not fit, groups fall, or a range ends inside a group.
        ConfigError: ``k`` is below 1.
    """
    rows = as_matrix(vectors, "vectors")
    values = as_queries(queries, rows.shape[1])
    check_k(k)
    search = _Search(rows, _bounds(groups, len(rows)), k, tuple(excluded))
    search.check(len(values))
    found = Neighbors(
        np.full((len(values), k), -1, dtype=np.int32),
        np.full((len(values), k), -np.inf, dtype=np.float32),
    )
    asking = np.flatnonzero(values.any(axis=1) & rows.any())
    for start in range(0, asking.size, _QUERIES_AT_ONCE):
        numbers = asking[start : start + _QUERIES_AT_ONCE]
        found.scores[numbers], found.rows[numbers] = search.answer(values[numbers], numbers)
    return found


def _bounds(groups: npt.ArrayLike, n_rows: int) -> "Int64Array":
    """``[groups + 1]`` where each group begins, and the number of rows."""
    labels = np.asarray(groups).ravel()
    if labels.size != n_rows:
        raise DataError(f"groups are given for {labels.size} of {n_rows} rows.")
    steps = np.diff(labels)
    if (steps < 0).any():
        row = int(np.flatnonzero(steps < 0)[0]) + 1
        raise DataError(f"the rows of a group must lie together; groups fall at row {row}.")
    inner = np.flatnonzero(steps) + 1
    ends = [n_rows] if n_rows else []
    return np.concatenate([[0], inner, ends]).astype(np.int64)


@dataclass(frozen=True)
class _Search:
    vectors: "FloatArray"
    bounds: "Int64Array"
    k: int
    excluded: tuple[RowRanges, ...]

    def check(self, n_queries: int) -> None:
        """Refuse exclusions that do not fit."""
        for rule in self.excluded:
            if len(rule) != n_queries:
                raise DataError(f"excluded rows are given for {len(rule)} of {n_queries} queries.")
            kept = rule.stops > rule.starts
            ends = self.bounds[self._group_of(rule.starts[kept]) + 1]
            if (rule.stops[kept] != ends).any():
                raise DataError("every range of excluded rows must end with its group.")

    def answer(
        self, queries: "FloatArray", numbers: "Int64Array"
    ) -> tuple["FloatArray", npt.NDArray[np.int32]]:
        """Scores and rows ``[b, k]`` of a block of queries."""
        vectors = torch.from_numpy(self.vectors)
        products = torch.mm(vectors, torch.from_numpy(queries).T).numpy()  # [n, b]
        products[~self.vectors.any(axis=1)] = -np.inf
        best = np.maximum.reduceat(products, self.bounds[:-1], axis=0)  # [groups, b]
        stops = np.repeat(self.bounds[1:, None], len(queries), axis=1)
        self._exclude(products, best, stops, numbers)
        longest = float(np.linalg.norm(self.vectors, axis=1).max())
        norms = np.linalg.norm(queries, axis=1)
        error = (rounding(self.vectors.shape[1]) * longest * norms).astype(np.float32)
        top = min(self.k, len(best))
        bound = np.partition(best, len(best) - top, axis=0)[len(best) - top] - error
        group, query = np.nonzero((best >= bound) & (best > -np.inf))
        return self._ranked(queries, products, error, best, stops, group, query)

    def _exclude(
        self,
        products: "FloatArray",
        best: "FloatArray",
        stops: "Int64Array",
        numbers: "Int64Array",
    ) -> None:
        """Lower stops to the first excluded row of a group, and maxima with them."""
        query, first = self._first_excluded(numbers)
        group = self._group_of(first)
        np.minimum.at(stops, (group, query), first)
        left = stops[group, query] - self.bounds[group]
        best[group[left == 0], query[left == 0]] = -np.inf
        group, query, left = group[left > 0], query[left > 0], left[left > 0]
        if not left.size:
            return
        rows = span_indices(self.bounds[group], left)
        allowed = products[rows, np.repeat(query, left)]
        best[group, query] = np.maximum.reduceat(allowed, offsets_of(left)[:-1])

    def _first_excluded(self, numbers: "Int64Array") -> tuple["Int64Array", "Int64Array"]:
        """Places in the block and first rows of all ranges of these queries."""
        places, rows = [], []
        for rule in self.excluded:
            lists = numbers if rule.lists is None else rule.lists[numbers]
            counts = np.diff(rule.offsets)[lists]
            which = span_indices(rule.offsets[lists], counts)
            kept = rule.stops[which] > rule.starts[which]
            places.append(np.repeat(np.arange(numbers.size), counts)[kept])
            rows.append(rule.starts[which][kept])
        empty = np.empty(0, dtype=np.int64)
        return np.concatenate([empty, *places]), np.concatenate([empty, *rows])

    def _ranked(
        self,
        queries: "FloatArray",
        products: "FloatArray",
        error: "FloatArray",
        best: "FloatArray",
        stops: "Int64Array",
        group: "Int64Array",
        query: "Int64Array",
    ) -> tuple["FloatArray", npt.NDArray[np.int32]]:
        """The best row of each pair of group and query, and the ``k`` best of each query."""
        sizes = stops[group, query] - self.bounds[group]
        rows = span_indices(self.bounds[group], sizes)
        pair = np.repeat(np.arange(group.size), sizes)
        near = products[rows, query[pair]] >= (best[group, query] - error[query])[pair]
        row, of_pair = torch.from_numpy(rows[near]), torch.from_numpy(pair[near])
        owner = torch.from_numpy(query)
        left, right = torch.from_numpy(queries), torch.from_numpy(self.vectors)
        keys = to_keys(pair_scores(left, right, owner[of_pair], row), row)
        keys = first_of_each(of_pair, keys, group.size, 1).squeeze(1)
        keys = first_of_each(owner, keys, len(queries), self.k)
        scores, found = from_keys(keys)
        return scores.numpy(), found.numpy().astype(np.int32)

    def _group_of(self, rows: "Int64Array") -> "Int64Array":
        return np.searchsorted(self.bounds, rows, side="right") - 1
