"""Read interactions, catalogs and sequences from one file each, in any of the common formats.

CSV, TSV, JSONL and parquet, plain or gzipped; only the columns that are needed are read. Text
files say nothing about types: ids become integers if all of them are (``id_type``), attributes
of items become numbers where every value is one, titles stay text. What a file must look like is
said by ``Interactions`` and ``Catalog``; this module only names columns and gives them types.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.interactions import Duplicates, Interactions
from llmrec.data.readers.columns import (
    IdType,
    infer,
    parse_ids,
    parse_number,
    parse_timestamps,
    renamed,
)
from llmrec.data.readers.scan import SEPARATORS, Table, open_table
from llmrec.errors import ConfigError, DataError, nearest_name, shorten

CANONICAL = (
    "user_id",
    "item_id",
    "timestamp",
    "rating",
    "label",
    "kind",
    "dwell",
    "session_id",
    "split",
)
SEQUENCE = "item_ids_in_time_order"
_IDS = ("user_id", "item_id", "session_id")
_NUMBERS: dict[str, type[pl.DataType]] = {
    "rating": pl.Float64,
    "dwell": pl.Float64,
    "label": pl.Float64,  # some write 1.0; Interactions refuses what is neither 0 nor 1
}


def read_interactions(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    time_format: str | None = None,
    id_type: IdType = "auto",
    extra: Sequence[str] | Literal["all"] = (),
    duplicates: Duplicates = "error",
) -> Interactions:
    """Read events, one row each.

    Args:
        path: A CSV, TSV, JSONL or parquet file, plain or ``.gz``.
        columns: Our name to the file's name, for instance ``{"user_id": "userId"}``; columns
            that already have our name need no entry.
        separator: Between fields of a text file; None looks at the first line.
        header: Names of the columns where the file has no header row.
        time_format: None for Unix seconds, a unit (``"ms"``), or a ``strptime`` format.
        id_type: ``"auto"``, ``"integer"`` or ``"string"``, for ids of text files.
        extra: Further columns to keep, or ``"all"``.
        duplicates: What to do with equal events; see :class:`Interactions`.

    Raises:
        DataError: The file, a column or a value is not as it must be; the message names file,
            row, column, value and what to do.
        ConfigError: ``columns`` names something that is not a column of ours.
    """
    table = open_table(path, separator, header)
    names = _names(table, columns or {}, required=("user_id", "item_id"))
    more = [c for c in table.columns if c not in names.values()] if extra == "all" else list(extra)
    _require(table, more)
    chosen = list(dict.fromkeys([*names.values(), *more]))
    raw = table.read(chosen)
    if not raw.height:
        raise DataError(f"{table.source} has a header but no rows; there is nothing to learn from.")
    parsed = [
        _parse(raw[theirs], ours, names, table, id_type, time_format).alias(ours)
        for ours, theirs in names.items()
    ]
    rest = [infer(raw[c]) if table.is_text else raw[c] for c in more if c not in names]
    return Interactions(pl.DataFrame([*parsed, *rest]), duplicates, table.source)


def read_catalog(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    id_type: IdType = "auto",
) -> Catalog:
    """Read items, one row each, with all their attributes.

    Args:
        path: As for :func:`read_interactions`.
        columns: Our name to the file's name, for instance ``{"item_id": "asin"}``.
        separator: Between fields of a text file; None looks at the first line.
        header: Names of the columns where the file has no header row.
        id_type: ``"auto"``, ``"integer"`` or ``"string"``, for ids of text files.

    Raises:
        DataError: The file cannot be read, has no ``item_id``, or has an item twice.
    """
    table, frame = read_attributes(path, "item_id", columns, separator, header, id_type)
    return Catalog(frame, table.source)


def read_users(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    id_type: IdType = "auto",
) -> pl.DataFrame:
    """Read users, one row each, with all their attributes; arguments as for a catalog.

    Raises:
        DataError: The file cannot be read, or has no ``user_id``.
    """
    return read_attributes(path, "user_id", columns, separator, header, id_type)[1]


def read_attributes(
    path: str | Path,
    key: str,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    id_type: IdType = "auto",
) -> tuple[Table, pl.DataFrame]:
    """Read a whole table about ``key`` (``item_id`` or ``user_id``), with inferred types."""
    table = open_table(path, separator, header)
    mapping = dict(columns or {})
    for ours, theirs in {key: mapping.get(key, key), **mapping}.items():
        _require(table, [theirs], ours)
    frame = table.read().rename({theirs: ours for ours, theirs in mapping.items()})
    if not frame.height:
        raise DataError(f"{table.source} has a header but no rows.")
    if table.is_text:
        ids = parse_ids(frame[key], id_type, table.source)
        rest = [infer(column) for column in frame.iter_columns() if column.name != key]
        frame = pl.DataFrame([ids, *rest])
    return table, frame


def read_sequences(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    id_type: IdType = "auto",
) -> Interactions:
    """Read one row per user: ``user_id`` and ``item_ids_in_time_order``, ids parted by blanks.

    The result has an order but no clock.

    Args:
        path: As for :func:`read_interactions`.
        columns: Our name to the file's name.
        separator: Between the two fields; None looks at the first line.
        header: Names of the columns where the file has no header row.
        id_type: ``"auto"``, ``"integer"`` or ``"string"``, for ids of text files.

    Raises:
        DataError: A column is missing, a user is there twice or has no item.
    """
    table = open_table(path, separator, header)
    mapping = dict(columns or {})
    theirs = [mapping.get(name, name) for name in ("user_id", SEQUENCE)]
    for ours, name in zip(("user_id", SEQUENCE), theirs, strict=True):
        _require(table, [name], ours)
    frame = table.read(theirs).rename(dict(zip(theirs, ("user_id", SEQUENCE), strict=True)))
    if not frame.height:
        raise DataError(f"{table.source} has a header but no rows.")
    lists = frame[SEQUENCE]
    if lists.dtype == pl.String:
        lists = lists.fill_null("").str.extract_all(r"\S+")
    users = frame["user_id"]
    users = parse_ids(users, id_type, table.source) if table.is_text else users
    _require_whole_sequences(users, lists, table)
    events = pl.DataFrame({"user_id": users, "item_id": lists}).explode("item_id")
    if lists.dtype == pl.List(pl.String) and table.is_text:
        items = parse_ids(events["item_id"], id_type, table.source)
        events = events.with_columns(items)
    return Interactions(events, "keep", table.source)


def _names(table: Table, columns: Mapping[str, str], required: Sequence[str]) -> dict[str, str]:
    """Our name to the file's name, for every column of ours that the file has."""
    for ours in columns:
        if ours not in CANONICAL:
            raise ConfigError(
                f"columns: {ours!r} is no column name{nearest_name(ours, CANONICAL)}."
            )
    for ours in dict.fromkeys([*required, *columns]):
        _require(table, [columns.get(ours, ours)], ours)
    there = [name for name in CANONICAL if columns.get(name, name) in table.columns]
    return {name: columns.get(name, name) for name in there}


def _require(table: Table, names: Sequence[str], ours: str = "") -> None:
    """Check that the file has the columns, with the likeliest reason where it has not."""
    for name in names:
        if name in table.columns:
            continue
        if len(table.columns) == 1 and table.is_text:
            whole = table.columns[0]
            better = max(SEPARATORS, key=whole.count)
            fix = (
                f"; pass separator={better!r}"
                if whole.count(better) and better != table.separator
                else "; pass the right separator"
            )
            raise DataError(
                f"{table.source} has no column {name!r}: with separator {table.separator!r} the "
                f"whole header is one column ({whole!r}){fix}."
            )
        meant = f" (for {ours})" if ours and ours != name else ""
        fix = f'pass columns={{"{ours or name}": "..."}} with the name the file uses'
        if table.is_text and all(c.replace(".", "", 1).isdigit() for c in table.columns):
            fix = "the first line looks like data: pass header=[...] with the column names"
        near = nearest_name(name, table.columns)
        raise DataError(f"{table.source} has no column {name!r}{meant}{near}; {fix}.")


def _parse(
    series: pl.Series,
    ours: str,
    names: Mapping[str, str],
    table: Table,
    id_type: IdType,
    time_format: str | None,
) -> pl.Series:
    shown = renamed(names, series, ours)
    if ours == "timestamp":
        return parse_timestamps(shown, time_format, table.source)
    if series.dtype != pl.String:
        return series
    if ours in _IDS:
        return parse_ids(shown, id_type, table.source) if table.is_text else series
    if ours in _NUMBERS:
        return parse_number(shown, _NUMBERS[ours], table.source)
    return series


def _require_whole_sequences(users: pl.Series, lists: pl.Series, table: Table) -> None:
    empty = lists.list.len().fill_null(0) == 0
    if empty.any():
        row = int(empty.arg_max() or 0)
        raise DataError(
            f"{table.source} row {row + 1}, column {SEQUENCE}: user {users[row]!r} has no item; "
            "drop the row."
        )
    if users.is_duplicated().any():
        twice = users.filter(users.is_duplicated()).unique(maintain_order=True)
        raise DataError(
            f"{table.source} has more than one row for user {shorten(twice)}; "
            "a file of sequences has one row per user."
        )
