"""Check data before anything is learned from it: findings by file, row and column.

``validate`` never stops at the first problem, never changes the data, and lists at most a few
rows per rule, with the whole count. What it cannot read at all is a finding too.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from llmrec.data import rules
from llmrec.data.dataset import Dataset
from llmrec.data.findings import Finding
from llmrec.data.readers.scan import find_table, open_table
from llmrec.data.readers.tables import SEQUENCE
from llmrec.errors import DataError

Kind = Literal["interactions", "sequences", "items", "users"]
_KINDS: tuple[Kind, ...] = ("interactions", "sequences", "items", "users")
_REQUIRED: dict[Kind, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id"),
    "sequences": ("user_id", SEQUENCE),
    "items": ("item_id",),
    "users": ("user_id",),
}
_EVENT_RULES = (
    rules.missing_values,
    rules.surrounding_blanks,
    rules.timestamps,
    rules.values,
    rules.duplicate_events,
    rules.order_in_time,
    rules.short_users,
)
_ORDER = {"error": 0, "warning": 1, "info": 2}


class _Part(NamedTuple):
    file: str
    frame: pl.DataFrame
    separator: str = ""


def validate(data: str | Path | Dataset | pl.DataFrame, limit: int = 5) -> list[Finding]:
    """Check a file, a uniform folder, a data set or a frame.

    Args:
        data: What to check. A frame or file counts as events, sequences, items or users by its
            columns.
        limit: Most rows to list per rule and column; every finding tells the whole count.

    Returns:
        Findings, errors first.

    Raises:
        DataError: A path does not exist.

    >>> events = pl.DataFrame({"user_id": [1, 1], "item_id": [7, None], "timestamp": [10**9] * 2})
    >>> [(f.severity, f.row, f.column) for f in validate(events)]
    [('error', 2, 'item_id'), ('info', 1, 'user_id')]
    """
    if isinstance(data, Dataset):
        found = _check_all(_of_dataset(data), limit)
    elif isinstance(data, pl.DataFrame):
        found = _check_all({kind_of(data): _Part("frame", data)}, limit)
    else:
        found = _check_path(Path(data), limit)
    return sorted(found, key=lambda finding: _ORDER[finding.severity])


def kind_of(frame: pl.DataFrame) -> Kind:
    """What a table is about, by its columns; a table of events if nothing fits."""
    columns = set(frame.columns)
    if SEQUENCE in columns:
        return "sequences"
    if "item_id" in columns and not columns & {"user_id", "timestamp", "rating"}:
        return "items"
    if "user_id" in columns and not columns & {"item_id", "timestamp", "rating"}:
        return "users"
    return "interactions"


def _of_dataset(dataset: Dataset) -> dict[Kind, _Part]:
    parts: dict[Kind, _Part] = {
        "interactions": _Part(f"{dataset.name} interactions", dataset.interactions.frame),
        "items": _Part(f"{dataset.name} items", dataset.catalog.frame),
    }
    if dataset.users is not None:
        parts["users"] = _Part(f"{dataset.name} users", dataset.users)
    return parts


def _check_path(path: Path, limit: int) -> list[Finding]:
    if not path.exists():
        raise DataError(f"{path} does not exist; name a file or a folder of a data set.")
    files = [find_table(path, kind) for kind in _KINDS] if path.is_dir() else [path]
    if path.is_dir() and files[0] is None and files[1] is None:
        message = "the folder has neither interactions nor sequences"
        return [Finding("error", path.name, None, None, message, "add interactions.csv")]
    found: list[Finding] = []
    parts: dict[Kind, _Part] = {}
    for file in (file for file in files if file is not None):
        try:
            part = _read(file)
        except DataError as error:
            fix = "correct the file and check again"
            found.append(Finding("error", file.name, None, None, str(error).rstrip("."), fix))
            continue
        if part.frame.height:
            parts[_named_kind(file) or kind_of(part.frame)] = part
        else:
            fix = "add rows, or remove the file"
            found.append(Finding("error", file.name, None, None, "the file has no rows", fix))
    return found + _check_all(parts, limit)


def _read(file: Path) -> _Part:
    atomic = file.suffix in (".inter", ".item", ".user")
    table = open_table(file, "\t", quoted=False) if atomic else open_table(file)
    frame = table.read()
    if atomic:
        frame.columns = [column.rpartition(":")[0] or column for column in frame.columns]
    return _Part(file.name, frame, table.separator)


def _named_kind(file: Path) -> Kind | None:
    stem = file.name.split(".")[0]
    return next((kind for kind in _KINDS if kind == stem), None)


def _check_all(parts: dict[Kind, _Part], limit: int) -> list[Finding]:
    found: list[Finding] = []
    for kind, part in parts.items():
        found += _check_table(kind, part, limit)
    if "items" not in parts:
        return found
    items = parts["items"]
    if "interactions" in parts:
        events = parts["interactions"]
        return found + rules.across(events.frame, events.file, items.frame, items.file, limit)
    sequences = parts.get("sequences")
    if sequences is None or not {"user_id", SEQUENCE} <= set(sequences.frame.columns):
        return found
    frame = _events(sequences.frame)
    numbers = frame["row"]
    return found + rules.across(frame, sequences.file, items.frame, items.file, limit, numbers)


def _check_table(kind: Kind, part: _Part, limit: int) -> list[Finding]:
    file, frame = part.file, part.frame
    required = _REQUIRED[kind]
    found = rules.missing_columns(frame, file, required, part.separator)
    if kind == "sequences" and found:
        return found
    keys = frame.select(column for column in required if column in frame.columns)
    if kind == "interactions":
        for rule in _EVENT_RULES:
            found += rule(frame, file, limit)
    else:
        found += rules.missing_values(keys, file, limit)
        found += rules.surrounding_blanks(keys, file, limit)
        found += rules.repeated_keys(keys, file, limit, required[0])
    if kind == "items":
        found += rules.no_texts(frame, file)
        found += rules.item_texts(frame, file, limit)
    if kind == "sequences":
        found += rules.sequences(frame, file, limit, SEQUENCE)
    for column in keys.columns:
        found += rules.mixed_ids(keys, file, limit, column)
        found += rules.large_ids(keys, file, limit, column)
    return found


def _events(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per event, with the row of the sequence it is from."""
    items = rules.sequence_items(frame[SEQUENCE]).alias("item_id")
    return frame.select("user_id", items).with_row_index("row", 1).explode("item_id")
