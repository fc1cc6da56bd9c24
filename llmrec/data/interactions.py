"""What happened: one row per event, in one canonical form.

Columns: ``user_id`` and ``item_id`` (all integers or all strings), then where the source has them
``timestamp`` (Int64, Unix seconds), ``rating`` (Float64), ``label`` (Int8, 1 liked, 0 not liked,
null not said), ``kind`` (String), ``dwell`` (Float64, seconds), ``session_id``, and any further
column untouched. Rows are ordered by user, then timestamp; events with equal timestamps, and all
events of data without a clock, keep the order of the source. This module reads no files.
"""

from typing import Any, Literal, NoReturn

import numpy as np
import polars as pl

from llmrec.data.vocabulary import as_id_series
from llmrec.errors import DataError, nearest_name

REQUIRED = ("user_id", "item_id")
Duplicates = Literal["error", "drop", "keep"]


class Interactions:
    """An immutable, canonical table of events.

    Args:
        frame: The events; see the module's contract for the columns.
        duplicates: What to do with events equal in user, item and timestamp: ``"error"``,
            ``"drop"`` all but the first, or ``"keep"``. Data without a clock may repeat items.
        source: What the data is called in error messages, for instance a file name.

    Raises:
        DataError: A required column is missing, there is no row, an id or a timestamp is missing,
            a column cannot be read as its type, a label is neither 0 nor 1, or there are
            duplicates.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        duplicates: Duplicates = "error",
        source: str = "interactions",
    ) -> None:
        _require_columns(frame, source)
        if not frame.height:
            raise DataError(f"{source} has no rows; there is nothing to learn from.")
        typed = _with_types(frame, source)
        _require_values(typed, source)
        keys = ["user_id", "timestamp"] if "timestamp" in typed.columns else ["user_id"]
        ordered = typed.sort(keys, maintain_order=True)
        if duplicates != "keep" and "timestamp" in typed.columns:
            doubled = _later_duplicates(ordered)
            if duplicates == "error" and doubled.any():
                _refuse_duplicates(typed, ordered.filter(doubled).row(0, named=True), source)
            ordered = ordered.filter(~doubled)
        self._frame = ordered

    @property
    def frame(self) -> pl.DataFrame:
        """The canonical table."""
        return self._frame

    @property
    def has_timestamps(self) -> bool:
        """Whether the events carry a clock, not only an order."""
        return "timestamp" in self._frame.columns

    def __len__(self) -> int:
        return self._frame.height

    def filter(self, predicate: pl.Expr) -> "Interactions":
        """Keep the events for which ``predicate`` holds.

        Raises:
            DataError: No event is left.
        """
        return Interactions(self._frame.filter(predicate), "keep", "the filtered interactions")

    def k_core(self, k: int) -> "Interactions":
        """Drop users and items with fewer than ``k`` events until none is left to drop.

        Raises:
            DataError: Nothing survives.
        """
        frame = self._frame
        while True:
            enough = (pl.len().over("user_id") >= k) & (pl.len().over("item_id") >= k)
            kept = frame.filter(enough)
            if kept.height == frame.height:
                break
            frame = kept
        if not frame.height:
            raise DataError(f"no user and item is left in the {k}-core; choose a smaller k.")
        return Interactions(frame, "keep")


def _require_columns(frame: pl.DataFrame, source: str) -> None:
    for column in REQUIRED:
        if column not in frame.columns:
            close = nearest_name(column, frame.columns) if frame.columns else ""
            only = (
                f" The whole header was read as one column ({frame.columns[0]!r}): "
                "is the separator right?"
                if frame.width == 1
                else ""
            )
            raise DataError(
                f"{source} has no column {column!r}{close}; rename the column, "
                f"or name it when reading.{only}"
            )


def _with_types(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    columns = [as_id_series(frame[c], c.removesuffix("_id")).alias(c) for c in REQUIRED]
    if "timestamp" in frame.columns:
        columns.append(_as_seconds(frame["timestamp"], source))
    numbers = [name for name in ("rating", "dwell") if name in frame.columns]
    columns += [_cast(frame[name], pl.Float64, source) for name in numbers]
    if "label" in frame.columns:
        columns.append(_as_labels(frame["label"], source))
    known = {c.name for c in columns}
    rest = [c for c in frame.iter_columns() if c.name not in known]
    return pl.DataFrame([*columns, *rest])


def _as_seconds(series: pl.Series, source: str) -> pl.Series:
    if isinstance(series.dtype, pl.Datetime | pl.Date):
        return series.cast(pl.Datetime("us")).dt.epoch("s")
    if series.dtype.is_float():
        series = series.floor()
    return _cast(series, pl.Int64, source)


def _as_labels(series: pl.Series, source: str) -> pl.Series:
    """Labels as Int8; cast at once, 0.9 would become 0 and a rating of 5 a label."""
    numbers = _cast(series, pl.Float64, source)
    wrong = ~numbers.is_in([0.0, 1.0])
    if wrong.any():  # nulls are ignored
        row = int(wrong.fill_null(False).arg_max() or 0)
        raise DataError(
            f"{source} row {row + 1}, column label: found {series[row]!r}; labels are 1 (liked) or "
            "0 (not liked): make them so, and leave the cell empty where nothing was said."
        )
    return numbers.cast(pl.Int8)


def _cast(series: pl.Series, dtype: type[pl.DataType], source: str) -> pl.Series:
    try:
        result = series.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:  # of lists and the like, not even nulls are made
        result = pl.repeat(None, series.len(), dtype=dtype, eager=True)
    failed = result.is_null() & series.is_not_null()
    if failed.any():
        row = int(failed.arg_max() or 0)
        found = series.slice(row, 1).to_list()[0]
        hint = (
            "expected Unix seconds or a datetime column"
            if series.name == "timestamp"
            else f"expected a {dtype.__name__} value"
        )
        raise DataError(f"{source} row {row + 1}, column {series.name}: found {found!r}; {hint}.")
    return result


def _require_values(frame: pl.DataFrame, source: str) -> None:
    for column in ("user_id", "item_id", "timestamp"):
        if column in frame.columns and frame[column].null_count():
            row = int(frame[column].is_null().arg_max() or 0)
            raise DataError(
                f"{source} row {row + 1}, column {column}: the value is missing; drop or fill it."
            )


def _later_duplicates(ordered: pl.DataFrame) -> pl.Series:
    """Mask of the events that repeat an earlier one, in a frame ordered by user and timestamp.

    Only events that share user and timestamp with a neighbour can repeat, and they are few: a
    comparison of neighbours spares hashing all rows, which large logs cannot afford.
    """
    user, time = ordered["user_id"], ordered["timestamp"]
    ties = ((user == user.shift(1)) & (time == time.shift(1))).fill_null(False)
    near = ties | ties.shift(-1).fill_null(False)
    first = ordered.filter(near).select(
        pl.struct("user_id", "item_id", "timestamp").is_first_distinct()
    )
    doubled = np.zeros(ordered.height, dtype=bool)
    doubled[near.to_numpy()] = ~first.to_series().to_numpy()
    return pl.Series(doubled)


def _refuse_duplicates(frame: pl.DataFrame, event: dict[str, Any], source: str) -> NoReturn:
    keys = ("user_id", "item_id", "timestamp")
    same = pl.all_horizontal(pl.col(key) == event[key] for key in keys)
    rows = frame.select(same.arg_true() + 1).to_series()
    raise DataError(
        f"{source} has the same event more than once: rows {rows[0]} and {rows[1]} are user "
        f"{event['user_id']!r}, item {event['item_id']!r}, timestamp {event['timestamp']}; "
        'pass duplicates="drop" or duplicates="keep".'
    )
