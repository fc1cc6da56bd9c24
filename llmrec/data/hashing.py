"""Hashes of tables and arrays that depend on the values alone.

Neither the chunking of a frame nor the machine's memory layout changes a hash. Floats are hashed
by their bits, so -0.0 and 0.0 differ; NaN is one value, because its spare bits differ by processor
and are lost in text. Decimals and 128-bit integers, of which NumPy has no arrays, are hashed as
text.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from llmrec.errors import DataError

_WITHOUT_ARRAY = ("Int128", "UInt128")  # by name: older versions of polars do not have both


def hash_frame(frame: pl.DataFrame) -> str:
    """Hexadecimal SHA-256 of a frame: column names, types and values in row order."""
    digest = hashlib.sha256()
    for series in frame.iter_columns():
        digest.update(f"{series.name}:{series.dtype}:{hash_series(series)};".encode())
    return digest.hexdigest()


def hash_series(series: pl.Series) -> str:
    """Hexadecimal SHA-256 of a series: type, length, nulls and values.

    Raises:
        DataError: The series holds Python objects.
    """
    digest = hashlib.sha256(f"{series.dtype}:{series.len()}".encode())
    if series.null_count():
        digest.update(np.packbits(series.is_null().to_numpy()).tobytes())
    if series.dtype == pl.String:
        _update_with_strings(digest, series)
    elif _fits_an_array(series.dtype):
        values = series.fill_null(False if series.dtype == pl.Boolean else 0)
        values = values.fill_nan(math.nan) if series.dtype.is_float() else values
        digest.update(np.ascontiguousarray(values.to_numpy()).data)
    else:
        digest.update(json.dumps(series.to_list(), default=_exact_text).encode())
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


def _fits_an_array(dtype: pl.DataType) -> bool:
    """Whether NumPy holds the values themselves; of others it would hold addresses."""
    if dtype.is_decimal() or str(dtype) in _WITHOUT_ARRAY:
        return False
    return dtype.is_numeric() or dtype == pl.Boolean


def _exact_text(value: object) -> str:
    if isinstance(value, bytes | date | time | timedelta | Decimal):
        return str(value)
    raise DataError(
        f"a column holds Python objects ({type(value).__name__}), whose text need not tell them "
        "apart; make it a column of text or numbers."
    )


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
