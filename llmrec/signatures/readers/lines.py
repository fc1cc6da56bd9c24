"""Lines of a file, plain or gzipped, one by one; what cannot be read is named, the rest is kept."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.errors import DataError, LlmrecError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.records import SignatureSet


@dataclass(frozen=True)
class BadLine:
    """A line that gave no record.

    Attributes:
        file: The file, as it was given.
        line: Its number, from 1.
        reason: A sentence.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}"


@dataclass(frozen=True)
class ReadSignatures:
    """What a file held.

    Attributes:
        set: The records that could be read.
        bad: The lines that could not.
    """

    set: SignatureSet
    bad: tuple[BadLine, ...] = ()

    def require_some(self) -> SignatureSet:
        """The records, if there are any.

        Raises:
            DataError: There is none; the sentence gives the first reason.
        """
        if not len(self.set):
            first = f" The first: {self.bad[0]}" if self.bad else ""
            raise DataError(f"no line could be read ({len(self.bad)} were refused).{first}")
        return self.set


@dataclass
class Gathered:
    """Records and rows as they are read, and what was refused.

    Attributes:
        strict: Raise at the first bad line.
    """

    strict: bool = False
    records: list[SignatureRecord] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def add(self, record: SignatureRecord, row: dict[str, Any]) -> None:
        """Keep a record.

        Raises:
            DataError: Its id was there before.
        """
        if row["id"] in self._ids:
            raise DataError(f"the id {row['id']!r} was there before; ids must be unique.")
        self._ids.add(row["id"])
        self.records.append(record)
        self.rows.append(row)

    def refuse(self, path: str | Path, line: int, reason: Exception | str) -> None:
        """Note a bad line.

        Raises:
            DataError: In strict mode.
        """
        found = BadLine(str(path), line, str(reason))
        if self.strict:
            raise DataError(str(found))
        self.bad.append(found)

    def result(self) -> ReadSignatures:
        """Everything that was read."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        columns = {name: [row.get(name) for row in self.rows] for name in names}
        ids = [str(name) for name in columns.pop("id", [])]
        groups = columns.pop("group", [])
        found = SignatureSet.of(
            self.records,
            [np.nan if label is None else label for label in columns.pop("label", [])],
            [name if group is None else group for name, group in zip(ids, groups, strict=True)],
            ids,
            **columns,
        )
        return ReadSignatures(found, tuple(self.bad))


def read_lines(
    path: str | Path,
    read: Callable[[str, int], Iterable[tuple[SignatureRecord, dict[str, Any]]]],
    strict: bool = False,
) -> ReadSignatures:
    """Read a file line by line.

    Args:
        path: A file of lines, plain or gzipped.
        read: Gives the records of a line and a row about each, from its text and its number; what
            it raises is the reason why a line is bad.
        strict: Raise at the first bad line, and keep nothing.

    Raises:
        DataError: The file is missing, or in strict mode a line is bad.
    """
    gathered = Gathered(strict)
    for number, line in text_lines(path, gathered):
        try:
            for record, row in read(line, number):
                gathered.add(record, row)
        except LlmrecError as error:
            gathered.refuse(path, number, error)
    return gathered.result()


def text_lines(path: str | Path, gathered: Gathered) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of every line that holds something.

    A line that is not UTF-8 is refused; where a gzipped file ends too early, what came before is
    kept and the place is named.

    Raises:
        DataError: The file is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is missing.")
    number = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        try:
            for number, raw in enumerate(stream, start=1):
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    gathered.refuse(path, number, f"byte {error.start + 1} is not UTF-8.")
                    continue
                if line.strip():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            reason = f"the compressed file is truncated or damaged from here on ({error})."
            gathered.refuse(path, number + 1, reason)


def group_of(text: str) -> str:
    """A short name for a question or a prompt, the same wherever it comes up."""
    return hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()[:16]
