"""Options that the verbs of ``llmrec signatures`` share, and what they make of them."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llmrec.signatures.readers import BadLine, LogOptions
    from llmrec.signatures.records import SignatureSet

BAD_INPUT = 2
_SHOWN = 10

FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA", help="Stores, logs of raw responses, tables of token probabilities."
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", help="Table with id and label (1 is risk), maybe group and others."),
]
GroupOption = Annotated[
    str | None, typer.Option("--group", help="Field that says what must not be torn.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", help="Keep records with COLUMN=VALUE; may be given again."),
]
KOption = Annotated[int, typer.Option("--k", min=1, help="Log-probabilities per position.")]
ModeOption = Annotated[
    str,
    typer.Option(help="Of logged values: raw_logprobs, processed_logprobs or unknown."),
]


def log_options(k: int, mode: str) -> "LogOptions":
    """What logs do not say about themselves.

    Raises:
        ConfigError: There is no such mode.
    """
    from llmrec.errors import ConfigError, nearest_name
    from llmrec.signatures.readers import LogOptions

    modes = ("raw_logprobs", "processed_logprobs", "unknown")
    if mode not in modes:
        raise ConfigError(f"unknown mode {mode!r}{nearest_name(mode, modes)}.")
    return LogOptions(k=k, mode=mode)  # type: ignore[arg-type]


def read_data(
    paths: Sequence[Path],
    options: "LogOptions",
    group: str | None,
    labels: Path | None,
    where: Sequence[str] | None,
) -> "tuple[SignatureSet, tuple[BadLine, ...]]":
    """Records of files and folders, and the lines that could not be read.

    Raises:
        DataError: A file is missing, or nothing is left.
    """
    import polars as pl

    from llmrec.errors import ConfigError, DataError, nearest_name
    from llmrec.signatures.labels import with_labels
    from llmrec.signatures.readers import read_signatures

    read = read_signatures(list(paths), options=options, group=group)
    found = read.require_some()
    if labels is not None:
        found = with_labels(found, labels)
    for text in where or ():
        column, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--where {text!r} is not of the form COLUMN=VALUE.")
        if column not in found.examples.columns:
            raise ConfigError(f"no column {column!r}{nearest_name(column, found.examples.columns)}")
        found = found.where(pl.col(column).cast(pl.String) == value)
    if not len(found):
        raise DataError(f"no record is left with {' and '.join(where or ())}.")
    return found, read.bad


def say_bad_lines(bad: "Iterable[BadLine]", kept: int) -> None:
    """Name lines that could not be read, and what was done without them."""
    from llmrec.cli.terminal import printable

    lines = list(bad)
    for line in lines[:_SHOWN]:
        print(printable(line), file=sys.stderr)
    if len(lines) > _SHOWN:
        print(f"and {len(lines) - _SHOWN} more", file=sys.stderr)
    if lines:
        print(f"{len(lines)} lines were left out; {kept} records were kept.", file=sys.stderr)
