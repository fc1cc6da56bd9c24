"""How the verbs speak: JSON for machines, plain lines and tables for people.

Colour appears only on a terminal and never when ``NO_COLOR`` is set; progress only on a terminal.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def print_json(value: Any) -> None:
    """Print one JSON value; NaN and infinity, which JSON does not have, become null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether a person is looking at ``stream`` (stderr by default)."""
    return bool((stream or sys.stderr).isatty())


def styled(text: str, colour: str, stream: IO[str] | None = None) -> str:
    """Colour a text for ``stream`` (stdout by default) where that is welcome."""
    target = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not is_terminal(target):
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def mark(good: bool) -> str:
    """A tick or a cross, in letters where the terminal cannot show the sign."""
    sign, letters, colour = ("✓", "ok", "green") if good else ("✗", "--", "red")
    try:
        sign.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        sign = letters
    return styled(sign, colour)


def progress(text: str) -> None:
    """Say on a terminal what is going on; say nothing into a file or a pipe."""
    if is_terminal():
        print(styled(text, "dim", sys.stderr), file=sys.stderr, flush=True)


@contextmanager
def stage(text: str, quiet: bool = False) -> Iterator[None]:
    """Print a line with the elapsed time when the block ends."""
    start = time.perf_counter()
    progress(f"{text} ...")
    yield
    if not quiet:
        print(f"  {text}: {time.perf_counter() - start:.1f} s", flush=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print left-aligned columns; numbers are right-aligned."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]
    for line in [list(header), *cells]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(padded).rstrip())


def printable(text: object) -> str:
    """A text from the data without the control characters that could steer a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in str(text))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
