"""Requests in JSONL or parquet files, one per line or row.

The fields are those of :mod:`llmrec.inference.requests`, in parquet as columns, with ``decoding``
an object or a struct. What is left out has its default; in parquet, null is the same as left out.
A field of another name or type is refused with its row, counted from 1. Empty lines are passed
over.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import TypeAdapter, ValidationError

from llmrec.errors import ConfigError, DataError, nearest_name
from llmrec.inference.request_keys import Request
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest

Kind = Literal["generate", "score"]
_TYPES: dict[str, type[Request]] = {"generate": GenerateRequest, "score": ScoreRequest}


def read_requests(path: str | Path, kind: Kind) -> list[Request]:
    """Read requests of one kind.

    Args:
        path: A file that ends in ``.jsonl`` or ``.parquet``.
        kind: ``"generate"`` or ``"score"``.

    Raises:
        ConfigError: ``kind`` is not known, or the file's name has another ending.
        DataError: The file is missing or damaged, or a row is no such request.
    """
    if kind not in _TYPES:
        raise ConfigError(f"there is no kind of request {kind!r}{nearest_name(kind, _TYPES)}.")
    readers = {".jsonl": _json_lines, ".parquet": _parquet_rows}
    source = Path(path)
    if source.suffix not in readers:
        raise ConfigError(f"{source} ends in {source.suffix!r}; expected .jsonl or .parquet.")
    adapter: TypeAdapter[Request] = TypeAdapter(_TYPES[kind])
    found = []
    for row, text in readers[source.suffix](source):
        try:
            found.append(adapter.validate_json(text, strict=True, extra="forbid"))
        except ValidationError as error:
            raise DataError(f"{source}, row {row}: {_sentence(error)}") from None
    return found


def request_to_json(request: Request) -> str:
    """A request as one line; any text survives, also one that UTF-8 has no bytes for."""
    return json.dumps(asdict(request))


def request_from_json(text: str) -> Request:
    """Read what :func:`request_to_json` wrote."""
    fields = json.loads(text)
    if "decoding" in fields:
        decoding = fields.pop("decoding")
        return GenerateRequest(
            **fields, decoding=Decoding(**{**decoding, "stop": tuple(decoding["stop"])})
        )
    continuations = fields.pop("continuations")
    return ScoreRequest(
        **fields, continuations=None if continuations is None else tuple(continuations)
    )


def _json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as stream:
            for row, line in enumerate(stream, start=1):
                if line.strip():
                    yield row, line
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _parquet_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is no readable parquet file ({error}).") from error
    for row, values in enumerate(frame.iter_rows(named=True), start=1):
        yield row, json.dumps(_given(values), default=str).encode()


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """A row without its nulls."""
    return {
        name: _given(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    said = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{where}: {said}." if where else f"{said}."
