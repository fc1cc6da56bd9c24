"""Exact nearest neighbours by inner product, in blocks.

Rows that are equal bit by bit are searched once and answered in the order of their numbers. A row
without direction (all zeros) is nobody's neighbour, and a query of zeros has none. Meant for up to
a few hundred thousand rows; :mod:`llmrec.retrieval.faiss_index` goes beyond. The index stores no
ids: rows are counted from 0 in the order in which they were given.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.ragged import offsets_of
from llmrec.errors import ConfigError, DataError, shorten
from llmrec.retrieval.blocked import first_of_each, from_keys, to_keys, top_products

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

_CELLS_AT_ONCE = 1 << 24


class ExactIndex:
    """The ``k`` rows with the largest inner product, found by looking at all of them.

    The result does not depend on how queries are batched; ties go to the smaller row.

    Args:
        vectors: ``[n, d]`` finite numbers; kept as float32, without copying where they are that.
        device: Where to compute: ``"cpu"``, ``"cuda"``.

    Raises:
        DataError: The array is not two-dimensional or holds NaN or infinity.
    """

    def __init__(self, vectors: npt.ArrayLike, device: str = "cpu") -> None:
        values = as_matrix(vectors, "vectors")
        self._length, self._dim = len(values), int(values.shape[1])
        self._device = device
        kept = np.flatnonzero(values.any(axis=1))
        first, self._group_offsets, self._members = _equal_rows(values, kept)
        distinct = values if first.size == len(values) else values[first]
        self._distinct = torch.from_numpy(distinct).to(device)

    def __len__(self) -> int:
        return self._length

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    def search(self, queries: npt.ArrayLike, k: int) -> "tuple[FloatArray, npt.NDArray[np.int64]]":
        """Find the ``k`` best rows of every query.

        Args:
            queries: ``[q, d]`` finite numbers.
            k: How many, at least 1.

        Returns:
            Scores ``[q, k]`` float32, best first, and rows ``[q, k]`` int64; -inf and -1 where
            there are fewer than ``k``.

        Raises:
            DataError: The queries have another dimension than the rows, or are not finite.
            ConfigError: ``k`` is below 1.
        """
        values = as_queries(queries, self._dim)
        check_k(k)
        scores = np.full((len(values), k), -np.inf, dtype=np.float32)
        rows = np.full((len(values), k), -1, dtype=np.int64)
        asked = np.flatnonzero(values.any(axis=1))
        if not asked.size or not len(self._distinct):
            return scores, rows
        chosen = values if asked.size == len(values) else values[asked]
        found = self._search(torch.from_numpy(chosen).to(self._device), k)
        width = found[0].shape[1]
        scores[asked, :width], rows[asked, :width] = (part.cpu().numpy() for part in found)
        return scores, rows

    def _search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        scores, rows = top_products(queries, self._distinct, min(k, len(self._distinct)))
        if len(self._distinct) == self._length:
            return scores, rows
        k = min(k, int(self._members.size))
        step = max(1, _CELLS_AT_ONCE // int(self._members.size))
        keys = [
            self._with_duplicates(scores[start : start + step], rows[start : start + step], k)
            for start in range(0, len(rows), step)
        ]
        return from_keys(torch.cat(keys))

    def _with_duplicates(self, scores: Tensor, rows: Tensor, k: int) -> Tensor:
        """Replace distinct rows by all rows equal to them; keys ``[b, k]``."""
        offsets, members = (torch.from_numpy(a) for a in (self._group_offsets, self._members))
        offsets, members = offsets.to(rows.device), members.to(rows.device)
        counts = (offsets[1:] - offsets[:-1]).clamp(max=k)[rows].flatten()
        ends = counts.cumsum(0)
        entry = torch.repeat_interleave(counts)
        place = torch.arange(len(entry), device=rows.device) - (ends - counts)[entry]
        row = members[offsets[rows.flatten()[entry]] + place]
        keys = to_keys(scores.flatten()[entry], row)
        return first_of_each(entry // rows.shape[1], keys, len(rows), k)


def as_matrix(values: npt.ArrayLike, name: str) -> "FloatArray":
    """Return a finite, contiguous float32 matrix.

    Raises:
        DataError: It is not two-dimensional, not numeric, or holds NaN or infinity.
    """
    try:
        with np.errstate(over="ignore"):  # too large for float32 is infinity, refused below
            matrix = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be a table of numbers: {error}.") from None
    if np.ndim(values) != 2:
        raise DataError(f"{name} must have two axes [rows, dimension], not {np.shape(values)}.")
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise DataError(
            f"{name} hold NaN or infinity in {bad.size} of {len(matrix)} rows: row "
            f"{shorten(bad.tolist())}; embed those rows again or set them to zero."
        )
    return matrix


def as_queries(queries: npt.ArrayLike, dim: int) -> "FloatArray":
    """Return finite float32 queries of the index's dimension.

    Raises:
        DataError: They have another dimension or are not finite.
    """
    matrix = as_matrix(queries, "queries")
    if matrix.shape[1] != dim:
        raise DataError(
            f"queries have {matrix.shape[1]} dimensions, the index has {dim}; embed both with the "
            "same encoder."
        )
    return matrix


def check_k(k: int) -> None:
    """Refuse a number of neighbours below 1."""
    if k < 1:
        raise ConfigError(f"k is {k}; ask for at least one neighbour.")


def _equal_rows(values: "FloatArray", kept: npt.NDArray[np.int64]) -> tuple[Any, Any, Any]:
    """Group rows that are equal bit by bit.

    Returns:
        The first row of every group (increasing), offsets ``[groups + 1]`` and the members of the
        groups, increasing within a group.
    """
    bits = (values[kept] + 0.0).view(np.dtype((np.void, 4 * values.shape[1]))).ravel()
    _, first, group = np.unique(bits, return_index=True, return_inverse=True)
    order = np.argsort(first)  # groups in the order of their first rows
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    group = rank[group]
    members = kept[np.argsort(group, kind="stable")]
    return kept[first[order]], offsets_of(np.bincount(group, minlength=order.size)), members
