"""The best row of every group, and the best of those: exact neighbours from different groups.

Where a group has hundreds of rows that are all alike, the best rows of an ordinary search are all
of one group, and asking for more and more of them takes long. Here a block of products is reduced
to one maximum per group in one pass, whatever the sizes of the groups. Scores and the order of
equal ones are those of :class:`~llmrec.retrieval.exact.ExactIndex`. On a CPU; a query costs one
product with every row.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.ragged import offsets_of, position_of_each, row_of_each, span_indices
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
    layout = _Layout(_bounds(groups, len(rows)))
    rules = tuple(excluded)
    for rule in rules:
        _check_rule(rule, layout, len(values))
    found = Neighbors(
        np.full((len(values), k), -1, dtype=np.int32),
        np.full((len(values), k), -np.inf, dtype=np.float32),
    )
    asking = np.flatnonzero(values.any(axis=1) & rows.any())
    search = _Search(rows[layout.order], layout, k, rules)
    for start in range(0, asking.size, _QUERIES_AT_ONCE):
        numbers = asking[start : start + _QUERIES_AT_ONCE]
        found.scores[numbers], found.rows[numbers] = search.answer(values[numbers], numbers)
    return found


def _check_rule(rule: RowRanges, layout: "_Layout", n_queries: int) -> None:
    if len(rule) != n_queries:
        raise DataError(f"excluded rows are given for {len(rule)} of {n_queries} queries.")
    kept = rule.stops > rule.starts
    ends = layout.bounds[layout.group[rule.starts[kept]] + 1]
    if (rule.stops[kept] != ends).any():
        raise DataError("every range of excluded rows must end with its group.")


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


class _Layout:
    """Rows ordered by their position in their group, so that a maximum over positions is one pass.

    Position 0 of all groups comes first, the largest group leading, then position 1 of those that
    have one, and so on.

    Args:
        bounds: ``[groups + 1]`` where each group begins, and the number of rows.
    """

    def __init__(self, bounds: "Int64Array") -> None:
        self.bounds = bounds
        self.sizes = np.diff(bounds)
        self.group = row_of_each(bounds)  # of every row
        ranked = np.argsort(-self.sizes, kind="stable")
        self.rank = np.empty_like(ranked)  # of every group
        self.rank[ranked] = np.arange(ranked.size)
        longest = int(self.sizes.max(initial=0))
        self.counts = self.sizes.size - np.cumsum(np.bincount(self.sizes, minlength=1))[:longest]
        self.starts = offsets_of(self.counts)  # of every position
        position = position_of_each(bounds)
        self.place = self.starts[position] + self.rank[self.group]  # of every row
        self.order = np.empty_like(self.place)  # the row at every place
        self.order[self.place] = np.arange(self.place.size)


class _Search:
    """What does not change from block to block of queries.

    Args:
        vectors: ``[n, d]`` rows in the order of the layout.
        layout: The layout.
        k: Slots per query.
        excluded: Rows that queries must not get.
    """

    def __init__(
        self, vectors: "FloatArray", layout: _Layout, k: int, excluded: tuple[RowRanges, ...]
    ) -> None:
        self._vectors = torch.from_numpy(vectors)
        self._layout, self._k, self._excluded = layout, k, excluded
        self._empty = np.flatnonzero(~vectors.any(axis=1))
        longest = float(np.linalg.norm(vectors, axis=1).max(initial=0))
        self._error = rounding(vectors.shape[1]) * longest

    def answer(
        self, queries: "FloatArray", numbers: "Int64Array"
    ) -> tuple["FloatArray", npt.NDArray[np.int32]]:
        """Scores and rows ``[b, k]`` of a block of queries."""
        asked = torch.from_numpy(queries)
        products = torch.mm(self._vectors, asked.T).numpy()  # [n, b]
        products[self._empty] = -np.inf
        allowed = self._allowed(numbers)
        best = self._maxima(products, allowed)
        error = np.float32(self._error) * np.linalg.norm(queries, axis=1)
        last = max(0, len(best) - self._k)
        bound = np.partition(best, last, axis=0)[last] - error
        group, query = np.nonzero((best >= bound) & (best > -np.inf))
        sizes = allowed[group, query].astype(np.int64)
        row = span_indices(self._layout.bounds[group], sizes)
        pair = np.repeat(np.arange(group.size), sizes)
        floor = best[group, query] - error[query]
        near = products[self._layout.place[row], query[pair]] >= floor[pair]
        return self._ranked(asked, row[near], pair[near], query)

    def _allowed(self, numbers: "Int64Array") -> npt.NDArray[np.int32]:
        """``[groups, b]`` how many rows of each group a query may have, from its first."""
        layout = self._layout
        allowed = np.repeat(layout.sizes.astype(np.int32)[:, None], numbers.size, axis=1)
        for rule in self._excluded:
            lists = numbers if rule.lists is None else rule.lists[numbers]
            counts = np.diff(rule.offsets)[lists]
            which = span_indices(rule.offsets[lists], counts)
            query = np.repeat(np.arange(numbers.size), counts)
            kept = rule.stops[which] > rule.starts[which]
            first, query = rule.starts[which[kept]], query[kept]
            group = layout.group[first]
            left = (first - layout.bounds[group]).astype(np.int32)
            np.minimum.at(allowed, (group, query), left)
        return allowed

    def _maxima(self, products: "FloatArray", allowed: npt.NDArray[np.int32]) -> "FloatArray":
        """``[groups, b]`` the best product among the allowed rows of each group."""
        layout = self._layout
        group, query = np.nonzero(allowed < layout.sizes[:, None])
        left = allowed[group, query]
        order = np.argsort(left, kind="stable")
        rank, query, left = layout.rank[group[order]], query[order], left[order]
        until = np.searchsorted(left, np.arange(layout.counts.size + 1), side="right")
        kept = np.full(left.size, -np.inf, dtype=np.float32)
        best = np.full((layout.sizes.size, products.shape[1]), -np.inf, dtype=np.float32)
        for position, (start, count) in enumerate(zip(layout.starts, layout.counts, strict=False)):
            np.maximum(best[:count], products[start : start + count], out=best[:count])
            here = slice(until[position], until[position + 1])  # those that may look no further
            kept[here] = best[rank[here], query[here]]
        best[rank, query] = kept
        return best[layout.rank]

    def _ranked(
        self, queries: torch.Tensor, rows: "Int64Array", pairs: "Int64Array", query: "Int64Array"
    ) -> tuple["FloatArray", npt.NDArray[np.int32]]:
        """The best row of each pair of group and query, and the ``k`` best of each query."""
        owner, pair, row = (torch.from_numpy(each) for each in (query, pairs, rows))
        place = torch.from_numpy(self._layout.place[rows])
        keys = to_keys(pair_scores(queries, self._vectors, owner[pair], place), row)
        keys = first_of_each(pair, keys, len(owner), 1).squeeze(1)
        scores, found = from_keys(first_of_each(owner, keys, len(queries), self._k))
        return scores.numpy(), found.numpy().astype(np.int32)
