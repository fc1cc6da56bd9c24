"""A record as a row of a table, and back.

Log-probabilities of the best tokens become float16 (11 bits: an error of at most 1 part in 2,048,
and 6e-8 near 0); everything else comes back as it was. Arrays are written byte plane by byte plane,
first bytes first, which the compression of parquet likes better than numbers. Texts may hold parts
of characters that are not valid Unicode; they are kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.inference.signature import SignatureRecord

PREFIX = "signature/"
"""Marks the columns of the record beside those of the examples."""

_ARRAYS: dict[str, tuple[str, npt.DTypeLike]] = {
    "topk_logprobs": ("<f2", np.float32),
    "topk_valid": ("bits", np.bool_),
    "topk_ids": ("<i4", np.int32),
    "actual_logprob": ("<f4", np.float32),
    "actual_rank": ("<i4", np.int32),
    "rank_censored": ("bits", np.bool_),
    "tail_logmass": ("<f4", np.float32),
    "row_mean": ("<f4", np.float32),
    "row_std": ("<f4", np.float32),
    "weighted_mean": ("<f4", np.float32),
    "weighted_std": ("<f4", np.float32),
}
_WIDE = ("topk_logprobs", "topk_valid", "topk_ids")
SCALARS = {
    "has_eos": pl.Boolean,
    "temperature": pl.Float64,
    "top_p": pl.Float64,
    "top_k": pl.Int64,
}
SCHEMA: dict[str, Any] = {
    f"{PREFIX}{name}": kind
    for name, kind in {
        "positions": pl.Int64,
        "k": pl.Int64,
        **dict.fromkeys(_ARRAYS, pl.Binary),
        **SCALARS,
        "tokens": pl.Binary,
        "token_ends": pl.Binary,
        "text": pl.Binary,
        "text_is_tokens": pl.Boolean,
    }.items()
}
SHARED = ("mode", "kind", "vocab_size", "fingerprint")
"""What all records of a shard have in common; not repeated in its rows."""


def rows_of(records: Sequence[SignatureRecord]) -> pl.DataFrame:
    """A table with the columns of :data:`SCHEMA`, one row per record."""
    rows = [_row(record) for record in records]
    columns = {name: [row[name.removeprefix(PREFIX)] for row in rows] for name in SCHEMA}
    return pl.DataFrame(columns, schema=SCHEMA)


def records_of(rows: pl.DataFrame, shared: Mapping[str, Any]) -> list[SignatureRecord]:
    """The records of a table.

    Args:
        rows: With the columns of :data:`SCHEMA`.
        shared: Values of the fields that :data:`SHARED` names.
    """
    columns = [rows[name].to_list() for name in SCHEMA]
    names = [name.removeprefix(PREFIX) for name in SCHEMA]
    return [
        _record(dict(zip(names, row, strict=True)), shared) for row in zip(*columns, strict=True)
    ]


def _row(record: SignatureRecord) -> dict[str, Any]:
    row: dict[str, Any] = {"positions": len(record), "k": record.k}
    for name, (form, _) in _ARRAYS.items():
        value = getattr(record, name)
        row[name] = None if value is None else _packed(value, form)
    row |= {name: getattr(record, name) for name in SCALARS}
    tokens = None if record.tokens is None else [_bytes(token) for token in record.tokens]
    joined = None if tokens is None else b"".join(tokens)
    text = None if record.text is None else _bytes(record.text)
    same = text is not None and text == joined
    ends = None if tokens is None else np.cumsum([len(token) for token in tokens])
    return row | {
        "tokens": joined,
        "token_ends": None if ends is None else _packed(ends, "<i4"),
        "text": None if same else text,
        "text_is_tokens": same,
    }


def _record(values: dict[str, Any], shared: Mapping[str, Any]) -> SignatureRecord:
    n, k = values.pop("positions"), values.pop("k")
    for name, (form, dtype) in _ARRAYS.items():
        if values[name] is not None:
            shape = (n, k) if name in _WIDE else (n,)
            values[name] = _unpacked(values[name], form, dtype, shape)
    joined, ends, text = values.pop("tokens"), values.pop("token_ends"), values.pop("text")
    if values.pop("text_is_tokens"):
        text = joined
    tokens = None
    if joined is not None:
        stops = _unpacked(ends, "<i4", np.int64, (n,)).tolist()
        starts = [0, *stops]
        tokens = tuple(_text(joined[a:b]) for a, b in zip(starts, stops, strict=False))
    return SignatureRecord(
        **values, **shared, tokens=tokens, text=None if text is None else _text(text)
    )


def _packed(values: npt.NDArray[Any], form: str) -> bytes:
    if form == "bits":
        return np.packbits(values, axis=None).tobytes()
    numbers = np.ascontiguousarray(values.astype(form))
    return numbers.reshape(-1).view(np.uint8).reshape(numbers.size, -1).T.tobytes()


def _unpacked(
    data: bytes, form: str, dtype: npt.DTypeLike, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    size = int(np.prod(shape))
    raw = np.frombuffer(data, dtype=np.uint8)
    if form == "bits":
        return np.unpackbits(raw, count=size).astype(np.bool_).reshape(shape)
    width = np.dtype(form).itemsize
    numbers = np.ascontiguousarray(raw.reshape(width, size).T).view(form)
    return numbers.reshape(shape).astype(dtype)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
