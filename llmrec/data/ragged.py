"""Arithmetic on ragged arrays: rows of different length stored flat, with offsets.

Row ``i`` of a ragged array is ``values[offsets[i]:offsets[i + 1]]``. Nothing here loops over rows.
"""

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


def offsets_of(lengths: npt.ArrayLike) -> Int64Array:
    """Turn row lengths ``[n]`` into offsets ``[n + 1]``.

    >>> offsets_of([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.zeros(lengths.size + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def span_indices(starts: npt.ArrayLike, lengths: npt.ArrayLike) -> Int64Array:
    """Concatenate the ranges ``starts[i] .. starts[i] + lengths[i]``.

    >>> span_indices([5, 1], [2, 3]).tolist()
    [5, 6, 1, 2, 3]
    """
    starts = np.asarray(starts, dtype=np.int64)
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def row_of_each(offsets: Int64Array) -> Int64Array:
    """Row number of every flat value.

    >>> row_of_each(offsets_of([2, 0, 3])).tolist()
    [0, 0, 2, 2, 2]
    """
    return np.repeat(np.arange(offsets.size - 1), np.diff(offsets))


def position_of_each(offsets: Int64Array) -> Int64Array:
    """Position of every flat value within its row.

    >>> position_of_each(offsets_of([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def smaller_before(values: npt.NDArray[np.int64], offsets: Int64Array) -> Int64Array:
    """For every flat value, how many of its row are strictly smaller; rows ascend.

    >>> smaller_before(np.array([3, 3, 5, 1, 2]), offsets_of([3, 2])).tolist()
    [0, 0, 2, 0, 1]
    """
    new_value = np.ones(values.size, dtype=bool)
    new_value[1:] = np.diff(values) != 0
    new_value[offsets[:-1][np.diff(offsets) > 0]] = True
    first = np.maximum.accumulate(np.where(new_value, np.arange(values.size), 0))
    return np.asarray(first - np.repeat(offsets[:-1], np.diff(offsets)), dtype=np.int64)
