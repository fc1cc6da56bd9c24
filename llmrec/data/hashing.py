"""Hashes of tables and arrays that depend on the values alone.

Neither the chunking of a frame nor the machine's memory layout changes a hash. Floats are hashed
by their bits, so -0.0 and 0.0 differ; NaN is one value, because its spare bits differ by processor
and are lost in text.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa


def hash_frame(frame: pl.DataFrame) -> str:
    """Hexadecimal SHA-256 of a frame: column names, types and values in row order."""
    digest = hashlib.sha256()
    for series in frame.iter_columns():
        digest.update(f"{series.name}:{series.dtype}:{hash_series(series)};".encode())
    return digest.hexdigest()


def hash_series(series: pl.Series) -> str:
    """Hexadecimal SHA-256 of a series: type, length, nulls and values."""
    digest = hashlib.sha256(f"{series.dtype}:{series.len()}".encode())
    if series.null_count():
        digest.update(np.packbits(series.is_null().to_numpy()).tobytes())
    if series.dtype == pl.String:
        _update_with_strings(digest, series)
    elif series.dtype.is_numeric() or series.dtype == pl.Boolean:
        values = series.fill_null(False if series.dtype == pl.Boolean else 0)
        values = values.fill_nan(math.nan) if series.dtype.is_float() else values
        digest.update(np.ascontiguousarray(values.to_numpy()).data)
    else:
        digest.update(json.dumps(series.to_list(), default=str).encode())
    return digest.hexdigest()


def hash_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Hexadecimal SHA-256 of named arrays: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON value with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _update_with_strings(digest: "hashlib._Hash", series: pl.Series) -> None:
    filled = series.fill_null("")
    digest.update(np.ascontiguousarray(filled.str.len_bytes().to_numpy()).data)
    text = filled.rechunk().to_arrow().cast(pa.large_binary())
    if not len(text):
        return
    _, offsets, data = text.buffers()
    span = np.frombuffer(offsets, dtype=np.int64)[[text.offset, text.offset + len(text)]]
    if data is not None:  # None when every string is empty
        digest.update(memoryview(data)[span[0] : span[1]])
