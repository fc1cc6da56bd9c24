"""Exact top-k of inner products, block by block, at the speed of the matrix product.

The score of a pair is its dot product summed in float64 and rounded to float32; pairs with equal
scores are ordered by the smaller row. That order is a function of the two vectors alone, so it
depends neither on the size of the blocks nor on the number of threads.

How it stays fast: a block of float32 products is reduced to the maxima of groups of columns, one
vectorised pass. The k-th best maximum so far, less the rounding error that float32 may have made,
is a bound below which nothing can matter; only groups above it are opened, and only what is above
it is scored again in float64. Where more values than expected lie within the rounding error (many
equal scores), all products of that query are formed in float64 instead.

This module forms no matrix larger than one block and knows nothing of duplicates, ids or files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

QUERY_BLOCK = 512
GROUPS = 256  # column groups of a block, at least; each keeps its maximum
GROUP_SIZE = 32
_SLACK = 64  # groups within the rounding error of the bound before a query counts as crowded
_MOST_BY_GROUPS = 512  # above this k all products are formed in float64
_VALUES_AT_ONCE = 1 << 24  # float64 values formed at a time when pairs are scored again
_CELLS_AT_ONCE = 1 << 22  # float64 products formed at a time
_ROW_BITS = 32
_LOW = (1 << _ROW_BITS) - 1
_EMPTY = -(1 << 63)


def top_products(queries: Tensor, vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the ``k`` largest inner products of every query.

    Args:
        queries: ``[q, d]`` float32.
        vectors: ``[n, d]`` float32 on the same device, ``n >= k >= 1``.
        k: How many.

    Returns:
        Scores ``[q, k]`` float32, best first, and rows ``[q, k]`` int64.
    """
    if k > _MOST_BY_GROUPS or 2 * k > len(vectors):
        return from_keys(_all_in_float64(queries, vectors, k))
    longest = float(vectors.norm(dim=1).max())
    keys = torch.empty((len(queries), k), dtype=torch.int64, device=queries.device)
    with _full_float32():
        for start in range(0, len(queries), QUERY_BLOCK):
            block = slice(start, start + QUERY_BLOCK)
            keys[block] = _by_groups(queries[block], vectors, k, longest)
    return from_keys(keys)


def to_keys(scores: Tensor, rows: Tensor) -> Tensor:
    """Pack scores (float32) and rows (below 2^32) into int64 that sort by score, then by row.

    The larger key has the higher score or, at equal scores, the smaller row.
    """
    bits = (scores + 0.0).view(torch.int32)  # -0.0 and 0.0 are one score
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)
    return (ordered << _ROW_BITS) | (_LOW - rows)


def from_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack :func:`to_keys`; an empty key gives ``(-inf, -1)``."""
    ordered = (keys >> _ROW_BITS).to(torch.int32)
    scores = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    empty = keys == _EMPTY
    rows = (_LOW - (keys & _LOW)).masked_fill(empty, -1)
    return scores.masked_fill(empty, -torch.inf), rows


def first_of_each(owner: Tensor, keys: Tensor, owners: int, k: int) -> Tensor:
    """Sort flat keys by their owner and keep the ``k`` largest of each.

    Args:
        owner: ``[m]`` int64 from 0 to ``owners - 1``.
        keys: ``[m]`` of :func:`to_keys`.
        owners: How many owners there are.
        k: How many to keep.

    Returns:
        ``[owners, k]`` keys, largest first, empty where an owner has fewer.
    """
    order = keys.argsort(descending=True)
    order = order[owner[order].argsort(stable=True)]
    owner, keys = owner[order], keys[order]
    counts = torch.bincount(owner, minlength=owners)
    place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    kept = place < k
    best = torch.full((owners, k), _EMPTY, dtype=torch.int64, device=keys.device)
    best[owner[kept], place[kept]] = keys[kept]
    return best


@dataclass(frozen=True)
class _Pairs:
    """Pairs that may be among the best, with their float32 products; all ``[m]``."""

    query: Tensor
    row: Tensor
    product: Tensor

    def where(self, mask: Tensor) -> "_Pairs":
        return _Pairs(self.query[mask], self.row[mask], self.product[mask])


def _by_groups(queries: Tensor, vectors: Tensor, k: int, longest: float) -> Tensor:
    """Keys ``[b, k]`` of one block of queries."""
    error = rounding(queries.shape[1]) * longest * queries.norm(dim=1)
    groups = max(GROUPS, 4 * k)
    products = queries.new_empty(len(queries) * groups * GROUP_SIZE)
    best = queries.new_full((len(queries), k), -torch.inf)
    crowded = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
    found: list[_Pairs] = []
    for start in range(0, len(vectors), groups * GROUP_SIZE):
        block = vectors[start : start + groups * GROUP_SIZE]
        out = products[: len(queries) * len(block)].view(len(queries), len(block))
        torch.mm(queries, block.T, out=out)
        maxima = _group_maxima(out, groups)
        best = torch.cat([best, maxima], dim=1).topk(k, sorted=False).values
        bound = best.amin(dim=1) - error
        open_groups = maxima >= bound[:, None]
        crowded |= open_groups.sum(dim=1) > k + _SLACK
        open_groups &= ~crowded[:, None]
        found.append(_open(out, open_groups, bound, start))
    pairs = _join(found)
    pairs = pairs.where((pairs.product >= bound[pairs.query]) & ~crowded[pairs.query])
    keys = to_keys(pair_scores(queries, vectors, pairs.query, pairs.row), pairs.row)
    keys = first_of_each(pairs.query, keys, len(queries), k)
    if crowded.any():
        keys[crowded] = _all_in_float64(queries[crowded], vectors, k)
    return keys


def _group_maxima(products: Tensor, groups: int) -> Tensor:
    """Maxima ``[b, groups]`` of every ``groups``-th column: neighbours fall in different groups."""
    columns = products.shape[1]
    groups = min(groups, columns)
    whole = columns // groups
    opened = products[:, : whole * groups].view(len(products), whole, groups)
    maxima: Tensor = opened.amax(dim=1)
    rest = columns - whole * groups
    if rest:
        maxima[:, :rest] = torch.maximum(maxima[:, :rest], products[:, whole * groups :])
    return maxima


def _open(products: Tensor, open_groups: Tensor, bound: Tensor, start: int) -> _Pairs:
    """The pairs above the bound inside the open groups of a block that begins at ``start``."""
    query, group = open_groups.nonzero(as_tuple=True)
    columns, groups = products.shape[1], open_groups.shape[1]
    steps = torch.arange(0, columns, groups, device=products.device)
    column = group[:, None] + steps
    inside = column < columns
    column = column.clamp_(max=columns - 1)
    flat = products.view(-1)[query[:, None] * columns + column]
    entry, step = (inside & (flat >= bound[query][:, None])).nonzero(as_tuple=True)
    return _Pairs(query[entry], start + column[entry, step], flat[entry, step])


def _join(found: list[_Pairs]) -> _Pairs:
    parts = zip(*((pairs.query, pairs.row, pairs.product) for pairs in found), strict=True)
    return _Pairs(*(torch.cat(part) for part in parts))


def rounding(dim: int) -> float:
    """By how much two float32 products may differ and yet stand in the wrong order, at length 1.

    ``|fl(x.y) - x.y| <= d 2^-24 |x||y|`` to first order (Higham 2002, section 3.1), here twice, and
    rounding to float32 may lift a pair by one more step.
    """
    return 2.0**-23 * (dim + 2)


def pair_scores(queries: Tensor, vectors: Tensor, query: Tensor, row: Tensor) -> Tensor:
    """Scores ``[m]`` of pairs ``[m]``, summed in float64, in pieces of bounded memory."""
    scores = queries.new_empty(len(query))
    step = max(1, _VALUES_AT_ONCE // queries.shape[1])
    for start in range(0, len(scores), step):
        piece = slice(start, start + step)
        left = queries[query[piece]].double()
        scores[piece] = left.mul_(vectors[row[piece]]).sum(dim=1).float()
    return scores


def _all_in_float64(queries: Tensor, vectors: Tensor, k: int) -> Tensor:
    """Keys ``[b, k]`` with every product formed in float64: slower, for any number of ties."""
    width = max(GROUPS * GROUP_SIZE, 2 * k)
    step = max(1, _CELLS_AT_ONCE // min(width, len(vectors)))
    pieces = range(0, len(queries), step)
    return torch.cat([_piece_in_float64(queries[i : i + step], vectors, k, width) for i in pieces])


def _piece_in_float64(queries: Tensor, vectors: Tensor, k: int, width: int) -> Tensor:
    best = torch.full((len(queries), k), _EMPTY, dtype=torch.int64, device=queries.device)
    for start in range(0, len(vectors), width):
        block = vectors[start : start + width]
        scores = (queries.double() @ block.double().T).float()
        rows = torch.arange(start, start + len(block), device=queries.device)
        best = torch.cat([best, to_keys(scores, rows)], dim=1).topk(k, sorted=False).values
    return best.sort(dim=1, descending=True).values


@contextmanager
def _full_float32() -> Iterator[None]:
    """Keep matrix products in float32: the bound counts on its rounding error."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
