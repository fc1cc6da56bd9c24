"""What models and stores tell of themselves in JSON files, as rows of the report's tables.

Values are shown as they were stored. A file may lack any of them, or hold something else in its
place: that is shown as a dash, and a row without any value is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from llmrec.evaluation.display import count, percent, plain

Form = Literal["count", "percent", "number", "small", "bytes"]
_NOTHING = "–"


class Figure(NamedTuple):
    """A figure of a table: where in the file it stands, and how it is written.

    Attributes:
        name: Its name.
        note: What it means, or empty.
        path: Dotted path in the file.
        form: ``number`` has two decimals, ``small`` two digits that are not zero.
    """

    name: str
    note: str
    path: str
    form: Form


@dataclass(frozen=True)
class ToldFigure:
    """One figure, a value for every file."""

    name: str
    note: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ToldTable:
    """Figures one below another, a column for every file."""

    heading: str
    rows: tuple[ToldFigure, ...]


def told_table(
    heading: str, figures: Sequence[Figure], files: Sequence[Mapping[str, Any]]
) -> ToldTable:
    """The table of some figures; those that no file has are left out."""
    rows = [
        ToldFigure(
            one.name,
            one.note,
            tuple(written(value_at(values, one.path), one.form) for values in files),
        )
        for one in figures
    ]
    return ToldTable(heading, tuple(row for row in rows if set(row.values) != {_NOTHING}))


def written(value: object, form: Form) -> str:
    """A number as text, or a dash."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return _NOTHING
    if form == "count":
        return count(round(value))
    if form == "bytes":
        return f"{count(round(value))} B" if value < 2**20 else f"{value / 2**20:,.1f} MiB"
    if form == "percent":
        return percent(value)
    return f"{value:.2f}" if form == "number" else f"{value:.2g}"


def value_at(values: object, path: str) -> Any:
    """The value at a dotted path, or None."""
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def objects(values: object) -> list[Mapping[str, Any]]:
    """The JSON objects of a list; nothing where it is none."""
    rows = values if isinstance(values, list) else []
    return [row for row in rows if isinstance(row, dict)]


def texts(values: object, limit: int = 90) -> tuple[str, ...]:
    """The values of a list as plain lines; nothing where it is none."""
    return tuple(plain(value, limit) for value in values) if isinstance(values, list) else ()
