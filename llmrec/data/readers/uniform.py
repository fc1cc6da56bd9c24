"""The uniform folder: a data set as ``interactions`` (or ``sequences``), ``items`` and ``users``.

Reading accepts any format of ``tables.py`` under these names; ``items`` and ``users`` may be
absent. Writing adds ``dataset.json`` with the types and the fingerprint, so that what is read
back equals what was written; a folder whose fingerprint no longer fits is refused.
"""

from pathlib import Path
from typing import Any, Literal

import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.interactions import Duplicates, Interactions
from llmrec.data.readers.columns import IdType, cast_text
from llmrec.data.readers.scan import find_table, open_table
from llmrec.data.readers.tables import (
    read_catalog,
    read_interactions,
    read_sequences,
    read_users,
)
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.storage import atomic_directory, read_json, write_json

MANIFEST = "dataset.json"
FileFormat = Literal["csv.gz", "parquet"]
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_CSV_TYPES: dict[str, pl.DataType] = {
    str(dtype()): dtype() for dtype in (*_INTEGERS, pl.Float32, pl.Float64, pl.Boolean, pl.String)
}

_INSTEAD_OF = {
    "duplicates": "drop the repeated rows from the file",
    "time_format": "write Unix seconds into the file",
    "id_type": "correct the odd ids in the files",
    "columns": "rename the column in the file",
    "separator": "write the file with commas",
    "header": "put a line with the names of the columns first",
}


def read_uniform_folder(
    folder: str | Path,
    name: str | None = None,
    *,
    catalog: Literal["full", "interacting"] = "full",
    id_type: IdType = "auto",
    duplicates: Duplicates = "error",
) -> Dataset:
    """Read a folder in the uniform layout.

    Args:
        folder: Holds ``interactions.*`` or ``sequences.*`` and perhaps ``items.*``, ``users.*``.
        name: Name of the data set; None takes the folder's.
        catalog: ``"interacting"`` leaves out items without any event.
        id_type: ``"auto"``, ``"integer"`` or ``"string"``, for ids of text files.
        duplicates: What to do with equal events; see :class:`Interactions`.

    Raises:
        DataError: A file is missing or not as it must be.
        ArtifactError: The folder was written by :func:`write_uniform_folder` and changed since.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; a data set is a folder with interactions.csv.")
    if (folder / MANIFEST).is_file():
        dataset = _read_written(folder, name)
    else:
        try:
            dataset = _read_plain(folder, name or folder.name, id_type, duplicates)
        except DataError as error:
            raise DataError(f"{error}{_words_for_folders(str(error))}") from None
    if catalog == "full":
        return dataset
    kept = dataset.catalog.restrict(dataset.interactions.frame["item_id"])
    return Dataset(dataset.name, dataset.interactions, kept, dataset.users)


def write_uniform_folder(
    dataset: Dataset, folder: str | Path, file_format: FileFormat = "csv.gz"
) -> None:
    """Write a data set so that reading it back gives the same fingerprint.

    Args:
        dataset: The data set.
        folder: The destination; replaced as a whole if it is a folder of this kind.
        file_format: ``"csv.gz"``, or ``"parquet"`` for large data and nested columns.

    Raises:
        DataError: A column's type cannot be written as CSV.
        ArtifactError: ``folder`` exists and is something else.
    """
    if file_format not in ("csv.gz", "parquet"):
        raise ConfigError(f"file_format must be 'csv.gz' or 'parquet', not {file_format!r}.")
    tables = _tables(dataset)
    if file_format == "csv.gz":
        _require_csv_types(tables)
    manifest = {
        "llmrec_dataset": 1,
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "has_timestamps": dataset.has_timestamps,
        "columns": {
            table: {c: str(t) for c, t in frame.schema.items()} for table, frame in tables.items()
        },
    }
    with atomic_directory(folder, MANIFEST) as temporary:
        for table, frame in tables.items():
            path = temporary / f"{table}.{file_format}"
            if file_format == "parquet":
                frame.write_parquet(path)
            else:
                frame.write_csv(path, compression="gzip", check_extension=False)
        write_json(temporary / MANIFEST, manifest)


def _tables(dataset: Dataset) -> dict[str, pl.DataFrame]:
    tables = {"interactions": dataset.interactions.frame, "items": dataset.catalog.frame}
    return tables if dataset.users is None else {**tables, "users": dataset.users}


def _require_csv_types(tables: dict[str, pl.DataFrame]) -> None:
    for table, frame in tables.items():
        for column, dtype in frame.schema.items():
            if str(dtype) not in _CSV_TYPES:
                raise DataError(
                    f"{table}, column {column}: {dtype} cannot be written as CSV without loss; "
                    'pass file_format="parquet".'
                )


def _words_for_folders(message: str) -> str:
    """What to do in place of an option: who reads a folder by its name can give none."""
    for option, instead in _INSTEAD_OF.items():
        if f"{option}=" in message:
            return (
                f" A folder read by its name takes no such option: {instead}, or read the file "
                "with read_interactions, which takes it, and write the data set into another "
                "folder with write_uniform_folder."
            )
    return ""


def _read_plain(folder: Path, name: str, id_type: IdType, duplicates: Duplicates) -> Dataset:
    events = find_table(folder, "interactions")
    sequences = find_table(folder, "sequences")
    if events is not None:
        interactions = read_interactions(
            events, id_type=id_type, extra="all", duplicates=duplicates
        )
    elif sequences is not None:
        interactions = read_sequences(sequences, id_type=id_type)
    else:
        raise DataError(f"{folder} has neither interactions.csv nor sequences.csv (or .gz, ...).")
    items = find_table(folder, "items")
    users = find_table(folder, "users")
    return Dataset(
        name,
        interactions,
        None if items is None else read_catalog(items, id_type=id_type),
        None if users is None else read_users(users, id_type=id_type),
    )


def _read_written(folder: Path, name: str | None) -> Dataset:
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("llmrec_dataset") != 1:
        raise ArtifactError(f"{folder / MANIFEST} was not written by this version of llmrec.")
    frames = {
        table: _read_as(folder, table, columns) for table, columns in manifest["columns"].items()
    }
    dataset = Dataset(
        name or manifest["name"],
        Interactions(frames["interactions"], "keep", f"{folder.name}/interactions"),
        Catalog(frames["items"], f"{folder.name}/items"),
        frames.get("users"),
    )
    if dataset.fingerprint != manifest["fingerprint"]:
        raise ArtifactError(
            f"{folder} has changed since it was written: its fingerprint is {dataset.fingerprint}, "
            f"{MANIFEST} says {manifest['fingerprint']}; get a whole copy or prepare it again."
        )
    return dataset


def _read_as(folder: Path, table: str, columns: dict[str, Any]) -> pl.DataFrame:
    path = find_table(folder, table)
    if path is None:
        raise ArtifactError(f"{folder} is incomplete: {table} is missing; get a whole copy.")
    opened = open_table(path, separator=",")
    if opened.columns != list(columns):
        raise ArtifactError(f"{path} has the columns {opened.columns}, expected {list(columns)}.")
    frame = opened.read()
    if not opened.is_text:
        return frame
    return pl.DataFrame(
        [cast_text(frame[c], _CSV_TYPES[t], opened.source) for c, t in columns.items()]
    )
