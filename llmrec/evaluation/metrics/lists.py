"""Metrics of what was recommended, whether or not it was right.

Lists are ``[cases, k]`` item codes, 1-based, best first; code 0 marks an empty place at the end of
a list. An item may occur once in a list.
"""

import re

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.ragged import offsets_of
from llmrec.errors import DataError

Lists = npt.NDArray[np.int32]
Values = npt.NDArray[np.float64]


def coverage(lists: Lists, items: int) -> float:
    """Share of the catalogue that occurs in at least one list: distinct items / items.

    Args:
        lists: ``[cases, k]``.
        items: Size of the catalogue.

    >>> coverage(np.array([[1, 2], [2, 3]], dtype=np.int32), 10)
    0.3
    """
    return int(np.count_nonzero(np.bincount(lists.ravel(), minlength=items + 1)[1:])) / items


def novelty(lists: Lists, item_users: npt.ArrayLike, users: int) -> Values:
    """Mean self-information of the recommended items, in bits.

    ``mean over the list of log2(users / users who had the item)`` (Zhou et al. 2010, "Solving the
    apparent diversity-accuracy dilemma"). An item nobody had counts as one that one user had.

    Args:
        lists: ``[cases, k]``.
        item_users: ``[items]`` number of training users of every item.
        users: Number of training users.

    Returns:
        ``[cases]``; NaN for an empty list.

    >>> novelty(np.array([[1, 2]], dtype=np.int32), [8, 2], 8).tolist()
    [1.0]
    """
    had = np.maximum(np.asarray(item_users, dtype=np.float64), 1.0)
    bits = np.concatenate([[0.0], np.log2(max(users, 1) / had)])
    return _mean(bits[lists].sum(axis=1), np.count_nonzero(lists, axis=1))


def intra_list_diversity(lists: Lists, vectors: object) -> Values:
    """Mean cosine distance over all pairs of items in a list.

    ``1 - (|sum of v|^2 - sum of |v|^2) / (m (m - 1))`` for unit vectors ``v`` of the ``m`` items,
    which is the mean over ordered pairs of ``1 - cos`` (Ziegler et al. 2005) without forming pairs.

    Args:
        lists: ``[cases, k]``.
        vectors: ``[items + 1, d]`` SciPy sparse or dense matrix; row ``c`` is the unit vector of
            code ``c``, or zeros for an item without features (distance 1 to all others).

    Returns:
        ``[cases]``; NaN for lists of fewer than two items.

    >>> vectors = np.array([[0, 0], [1, 0], [1, 0], [0, 1]])
    >>> intra_list_diversity(np.array([[1, 2], [1, 3]], dtype=np.int32), vectors).tolist()
    [0.0, 1.0]
    """
    from scipy import sparse

    features = sparse.csr_array(vectors)
    lengths = np.count_nonzero(lists, axis=1)
    codes = lists[lists > 0]
    shape = (len(lists), features.shape[0])
    chosen = sparse.csr_array((np.ones(codes.size), codes, offsets_of(lengths)), shape=shape)
    sums = chosen @ features
    squares = np.asarray(chosen @ features.multiply(features).sum(axis=1)).ravel()
    together = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
    return 1 - _mean(together - squares, lengths * (lengths - 1))


def require_categories(catalog: Catalog) -> None:
    """Refuse a catalog that does not say what its items are like.

    Raises:
        DataError: It has no column ``category``.
    """
    if "category" not in catalog.frame.columns:
        raise DataError(
            "intra_list_diversity needs a column 'category' in the catalog; leave the metric out."
        )


def category_vectors(catalog: Catalog) -> object:
    """Unit vectors of the items' categories, as a SciPy sparse matrix ``[items + 1, categories]``.

    The column ``category`` is split at ``|`` and ``,``, or holds lists of names. Items without a
    category get zeros.

    Raises:
        DataError: The catalog has no column ``category``.
    """
    from scipy import sparse

    require_categories(catalog)
    parts = _category_parts(catalog.frame["category"])
    names = [sorted({part for part in map(_clean, row) if part}) for row in parts]
    flat = pl.Series("name", [name for row in names for name in row], dtype=pl.String)
    codes = flat.rank("dense").cast(pl.Int64).to_numpy() - 1
    lengths = np.array([0, *(len(row) for row in names)])
    values = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    shape = (lengths.size, int(codes.max(initial=-1)) + 1)
    return sparse.csr_array((values, codes, offsets_of(lengths)), shape=shape)


def _category_parts(column: pl.Series) -> list[list[str]]:
    if isinstance(column.dtype, pl.List):
        rows = column.cast(pl.List(pl.String)).to_list()
        return [[part for part in row or [] if part is not None] for row in rows]
    texts = column.cast(pl.String).fill_null("").to_list()
    return [re.split(r"[|,]", text) for text in texts]


def _clean(part: str) -> str:
    return part.strip().strip("'\"").strip()


def _mean(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> Values:
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
