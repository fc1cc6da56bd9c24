"""What a check of data found, row by row, with a bound on how much is said of one thing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        severity: ``"error"`` stops a reader, ``"warning"`` is likely a mistake, ``"info"`` is not.
        file: The file (or table) it is in.
        row: Data row from 1 (the header is not counted), or None if it is about the whole.
        column: The column, or None.
        message: What was found.
        fix: What to do.
    """

    severity: Severity
    file: str
    row: int | None
    column: str | None
    message: str
    fix: str

    def __str__(self) -> str:
        where = self.file
        where += f" row {self.row}" if self.row is not None else ""
        where += f", column {self.column}" if self.column is not None else ""
        return f"{self.severity}: {where}: {self.message}; {self.fix}."


@dataclass(frozen=True)
class Rule:
    """The fixed words of a check.

    Attributes:
        severity: See :class:`Finding`.
        what: What is found; ``{value}`` is replaced by the value at the row.
        fix: What to do.
        unit: What is counted when there are more rows than are listed.
    """

    severity: Severity
    what: str
    fix: str
    unit: str = "rows"


def report_rows(
    rule: Rule,
    file: str,
    column: str | None,
    wrong: pl.Series,
    limit: int,
    value: Callable[[int], object] | None = None,
    numbers: pl.Series | None = None,
) -> list[Finding]:
    """Findings for the first rows where ``wrong`` is true; each tells the whole count.

    Args:
        rule: What is checked.
        file: The file's name.
        column: The column's name.
        wrong: ``[rows]`` boolean; null counts as false.
        limit: Most findings to return.
        value: From row number (0-based) to the value to show.
        numbers: ``[rows]`` the row to name for each, where it is not its place in the table.
    """
    rows = wrong.fill_null(False).arg_true()
    more = f" ({rows.len()} {rule.unit} in all)" if rows.len() > 1 else ""
    return [
        Finding(
            rule.severity,
            file,
            row + 1 if numbers is None else int(numbers[row]),
            column,
            rule.what.format(value=shown(value(row) if value is not None else "")) + more,
            rule.fix,
        )
        for row in rows.head(limit).to_list()
    ]


def shown(value: object, most: int = 60) -> str:
    """A value for a message: quoted, on one line, cut to ``most`` characters.

    >>> shown("a" * 70, 5)
    "'aaaaa...'"
    """
    if not isinstance(value, str):
        return repr(value)
    return repr(value if len(value) <= most else value[:most] + "...")
