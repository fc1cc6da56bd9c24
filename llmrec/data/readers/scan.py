"""Open a file of rows lazily: CSV, TSV, JSONL or parquet, plain or gzipped.

Columns of CSV and TSV arrive as text (a missing field is null); ``columns.py`` gives them types.
Parquet and JSONL keep the types they declare. Rows stay in the order of the file. This module
knows no column by name; it turns every way in which a file can be broken into one sentence.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

from llmrec.errors import ConfigError, DataError

SEPARATORS = (",", "\t", ";", "|")
SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, eq=False)
class Table:
    """A file that has been opened but not read.

    Attributes:
        path: Where it is.
        columns: Its column names, in order.
        is_text: Whether the columns are untyped text (CSV, TSV).
        lazy: The scan.
        separator: The separator of a text file, else "".
    """

    path: Path
    columns: list[str]
    is_text: bool
    lazy: pl.LazyFrame
    separator: str = ""

    @property
    def source(self) -> str:
        """The file's name, as error messages give it."""
        return self.path.name

    def read(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read the named columns (None: all) with the streaming engine.

        Empty lines at the end of a text file are dropped; row ``i`` of the result is data row
        ``i + 1`` of the file.

        Raises:
            DataError: A row has too many fields, or the file is damaged; the message says where.
        """
        query = self.lazy.select(columns if columns is not None else self.columns)
        with _explained(self):
            # With projection pushdown, surplus fields of unselected columns would go unnoticed.
            flags = pl.QueryOptFlags(projection_pushdown=not self.is_text)
            frame = query.collect(engine="streaming", optimizations=flags)
        return _without_trailing_blanks(frame) if self.is_text else frame


def open_table(
    path: str | Path,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    quoted: bool = True,
) -> Table:
    """Open a file by its suffix; any unknown suffix is taken for separated text.

    Args:
        path: The file.
        separator: One character between the fields of a text file; None looks at the first line.
        header: Column names of a text file whose first line is already data.
        quoted: Whether a text file may quote fields with ``"``.

    Raises:
        DataError: The file is missing, empty, damaged, or has a column name twice.
        ConfigError: The separator is not one character.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}; name a file with one row per line.")
    if not path.stat().st_size:
        raise DataError(f"{path.name} is empty (0 bytes); nothing was read.")
    stem = path.name.removesuffix(".gz")
    if stem.endswith(".parquet"):
        return _typed(path, pl.scan_parquet(path))
    if stem.endswith(_JSON_SUFFIXES):
        return _typed(path, pl.scan_ndjson(path, infer_schema_length=None))
    return _text(path, separator, header, quoted)


def open_bytes(path: Path) -> IO[bytes] | gzip.GzipFile:
    """Open a plain or gzipped file for reading bytes."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


def find_table(folder: Path, name: str) -> Path | None:
    """The file ``name`` with any known suffix in ``folder``, or None."""
    for suffix in SUFFIXES:
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    return None


def _typed(path: Path, lazy: pl.LazyFrame) -> Table:
    table = Table(path, [], is_text=False, lazy=lazy)
    with _explained(table):
        return Table(path, lazy.collect_schema().names(), is_text=False, lazy=lazy)


def _text(path: Path, separator: str | None, header: Sequence[str] | None, quoted: bool) -> Table:
    if separator is not None and len(separator.encode()) != 1:
        raise ConfigError(
            f"{path.name}: the separator must be one character, not {separator!r}; "
            "files of MovieLens with '::' are read by read_movielens."
        )
    first = _first_line(path)
    cut = separator if separator is not None else _guess_separator(path, first)
    quote = '"' if quoted else None
    fields = _fields(path, first, cut) if quoted else first.split(cut)
    names = [name.strip() for name in fields] if header is None else list(header)
    if len(names) != len(fields):
        raise DataError(
            f"{path.name} has {len(fields)} fields in its first line (separator {cut!r}) but "
            f"header names {len(names)}: {names}; name every field, or pass the right separator."
        )
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{path.name} has the column {twice[0]!r} more than once; rename one.")
    lazy = pl.scan_csv(
        path,
        separator=cut,
        quote_char=quote,
        has_header=header is None,
        new_columns=names,
        infer_schema=False,
    )
    return Table(path, names, is_text=True, lazy=lazy, separator=cut)


def _first_line(path: Path) -> str:
    try:
        with open_bytes(path) as stream:
            line = stream.readline(1_000_000)
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text; convert it first.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {error}; get a whole copy.") from None


def _fields(path: Path, line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise DataError(
            f"{path.name} has no header that can be read: {error}; is it a table with one row per "
            "line?"
        ) from None


def _guess_separator(path: Path, line: str) -> str:
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return "\t"
    return max(SEPARATORS, key=line.count)  # the first of the list, a comma, where none occurs


def _without_trailing_blanks(frame: pl.DataFrame) -> pl.DataFrame:
    if not frame.width or not frame.height or any(v is not None for v in frame.row(-1)):
        return frame
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    last = filled[-1] if filled.len() else -1
    return frame.head(int(last) + 1)


@contextmanager
def _explained(table: Table) -> Iterator[None]:
    """Turn the errors of the parser into sentences about the file."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise DataError(_explain(table, str(error))) from None


def _explain(table: Table, message: str) -> str:
    name = table.source
    if "more fields than defined" in message and (found := _first_ragged_row(table)):
        row, fields = found
        return (
            f"{name} row {row}: found {fields} fields where the header has "
            f"{len(table.columns)} (separator {table.separator!r}); quote the field that contains "
            "the separator, or pass the right separator."
        )
    if "utf-8" in message.lower():
        return f"{name} is not UTF-8 text; convert it first (for instance from latin-1)."
    if "end of file" in message:
        return f"{name} is cut off ({message.strip()}); get a whole copy."
    first = message.strip().splitlines()[0]
    return f"{name} cannot be read: {first}; the file may be damaged or have another format."


def _first_ragged_row(table: Table) -> tuple[int, int] | None:
    """Data row and number of fields of the first row that is too long; a slow path for errors."""
    with suppress(OSError, EOFError, zlib.error, csv.Error), open_bytes(table.path) as stream:
        lines = (line.decode("utf-8-sig", errors="replace") for line in stream)
        for row, fields in enumerate(csv.reader(lines, delimiter=table.separator)):
            if len(fields) > len(table.columns):
                return row, len(fields)
    return None
