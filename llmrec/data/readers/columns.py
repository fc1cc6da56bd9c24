"""Text to typed columns, with the row, the value and the fix in every error.

A number is accepted with blanks around it. A column of ids becomes integers only if every value
is written the one way an integer is written (no leading zeros, no sign), so that ``007`` stays
``007``. Values that are missing stay missing; whether that is allowed is for the caller to say.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import polars as pl

from llmrec.errors import ConfigError, DataError

IdType = Literal["auto", "integer", "string"]
TEXT_COLUMNS = frozenset({"title", "category", "brand", "description", "kind", "split"})
_INTEGER = r"^(?:0|-?[1-9]\d{0,17})$"
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_COMMON_FORMATS = (  # as polars has them, which writes %.f for fractions of a second
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%Y",
    "%m %d, %Y",
)


def parse_ids(series: pl.Series, id_type: IdType, source: str) -> pl.Series:
    """Turn text ids into integers or keep them as text.

    Args:
        series: A text column; blanks around the ids are removed.
        id_type: ``"auto"`` (integers if all are), ``"integer"`` or ``"string"``.
        source: The file's name for messages.

    Raises:
        DataError: ``id_type`` is ``"integer"`` and a value is not one.
        ConfigError: ``id_type`` is unknown.
    """
    if id_type not in ("auto", "integer", "string"):
        raise ConfigError(f"id_type must be 'auto', 'integer' or 'string', not {id_type!r}.")
    stripped = series.str.strip_chars()
    stripped = stripped.set(stripped == "", None)
    if id_type == "string":
        return stripped
    whole = stripped.str.contains(_INTEGER)
    if whole.all():  # nulls are ignored
        return stripped.cast(pl.Int64)
    if id_type == "auto":
        return stripped
    raise DataError(
        f"{_place(series, ~whole, source)}, expected an integer; "
        'pass id_type="string" to read all ids as text.'
    )


def parse_number(series: pl.Series, dtype: type[pl.DataType], source: str) -> pl.Series:
    """Turn text into numbers.

    Raises:
        DataError: A value is not a number of that type.
    """
    text = series.str.strip_chars()
    text = text.set(text == "", None)
    numbers = text.cast(dtype, strict=False)
    failed = numbers.is_null() & text.is_not_null()
    if failed.any():
        raise DataError(
            f"{_place(series, failed, source)}, expected a number ({dtype.__name__}); "
            "correct or drop the row."
        )
    return numbers


def parse_timestamps(series: pl.Series, time_format: str | None, source: str) -> pl.Series:
    """Turn a column into Unix seconds (Int64).

    Args:
        series: Text, numbers, dates or datetimes (without a zone they are taken for UTC).
        time_format: None for Unix seconds; ``"s"``, ``"ms"``, ``"us"`` or ``"ns"`` for numbers in
            that unit; else a ``strptime`` format for text. ``%z`` reads ``Z``, too.
        source: The file's name for messages.

    Raises:
        DataError: A value cannot be read; the message suggests a format where one fits.
    """
    if isinstance(series.dtype, pl.Datetime | pl.Date):
        return series.cast(pl.Datetime("us")).dt.epoch("s")
    if time_format is not None and time_format not in _UNITS:
        return _from_format(series, time_format, source)
    numbers = whole_numbers(series)
    failed = numbers.is_null() & series.is_not_null()
    if failed.any():
        raise DataError(f"{_place(series, failed, source)}, {_expected(series, failed)}.")
    return numbers // _UNITS[time_format or "s"]


def infer(series: pl.Series) -> pl.Series:
    """Integers if all values are, else numbers if all values are, else the text as it is."""
    if series.dtype != pl.String or series.name in TEXT_COLUMNS or not series.count():
        return series
    stripped = series.str.strip_chars()
    if stripped.str.contains(_INTEGER).all():
        return stripped.cast(pl.Int64)
    if stripped.str.contains(r"^-?0\d").any():  # 00501 is a code, not a number
        return series
    numbers = stripped.cast(pl.Float64, strict=False)
    return series if numbers.null_count() > series.null_count() else numbers


def cast_text(series: pl.Series, dtype: pl.DataType, source: str) -> pl.Series:
    """Give a text column the type that is on record for it.

    Raises:
        DataError: A value does not fit.
    """
    if dtype == pl.String:
        return series
    if dtype == pl.Boolean:
        return series.replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)
    return parse_number(series, type(dtype), source)


def renamed(columns: Mapping[str, str], series: pl.Series, name: str) -> pl.Series:
    """Name a column for error messages as the file does: ``userId (user_id)``."""
    theirs = columns.get(name, name)
    return series.alias(name if theirs == name else f"{theirs} ({name})")


def whole_numbers(series: pl.Series) -> pl.Series:
    """Integers exactly, fractions rounded down, anything else null."""
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        whole = text.cast(pl.Int64, strict=False)
        if whole.null_count() == series.null_count():
            return whole
        return whole.fill_null(_floor(text.cast(pl.Float64, strict=False)))
    return _floor(series) if series.dtype.is_float() else series.cast(pl.Int64, strict=False)


def _floor(series: pl.Series) -> pl.Series:
    return series.floor().cast(pl.Int64, strict=False)


def _from_format(series: pl.Series, time_format: str, source: str) -> pl.Series:
    if series.dtype != pl.String:
        raise DataError(
            f"{source}, column {series.name}: the values are {series.dtype}, not text, so "
            f"time_format={time_format!r} does not apply; leave it out or pass a unit like 'ms'."
        )
    times = _parsed(series, time_format)
    failed = times.is_null() & series.is_not_null()
    if failed.any():
        raise DataError(
            f"{_place(series, failed, source)}, expected the format {time_format!r}; "
            f"{_suggestion(series, failed)}."
        )
    return times.dt.epoch("s")


def _parsed(series: pl.Series, time_format: str) -> pl.Series:
    """Datetimes, null where the format does not fit; ``%#z`` is the ``%z`` that allows a Z."""
    lenient = re.sub(r"(?<!%)%z", "%#z", time_format)
    return series.str.strip_chars().str.strptime(pl.Datetime("us"), lenient, strict=False)


def _expected(series: pl.Series, failed: pl.Series) -> str:
    return f"expected Unix seconds; {_suggestion(series, failed)}"


def _suggestion(series: pl.Series, failed: pl.Series) -> str:
    value = str(series.filter(failed)[0]).strip()
    for candidate in _COMMON_FORMATS:
        try:  # polars alone would take 24 for a year of four digits
            datetime.strptime(value, candidate.replace("%.f", ".%f"))
        except ValueError:
            continue
        if not _parsed(pl.Series([value]), candidate).null_count():
            return f"pass time_format={candidate!r}"
    return "pass the right time_format=..., or correct the row"


def _place(series: pl.Series, failed: pl.Series, source: str) -> str:
    row = int(failed.fill_null(False).arg_max() or 0)
    return f"{source} row {row + 1}, column {series.name}: found {series[row]!r}"
