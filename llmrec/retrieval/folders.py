"""Directories of data files and one JSON manifest with their hashes.

Fitted encoders, vectors and indexes are stored in this form. Loading checks the kind and the hashes
and runs no code from the directory.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from llmrec.errors import ArtifactError
from llmrec.storage import atomic_directory, file_sha256, read_json

ARRAYS = "arrays.safetensors"
_FORMAT = 1


def write_folder(
    directory: str | Path,
    manifest: str,
    facts: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write arrays and facts atomically.

    Args:
        directory: The destination.
        manifest: Name of the JSON file, which also marks directories of this kind.
        facts: JSON values.
        arrays: Arrays by name.

    Raises:
        ArtifactError: The destination is a directory of another kind.
        StorageError: The disk is full or writing there is not allowed.
    """
    with atomic_directory(directory, manifest) as folder:
        save_file(dict(arrays), folder / ARRAYS)
        seal(folder, manifest, facts)


def seal(folder: Path, manifest: str, facts: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose data files are complete."""
    hashes = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
    content = {"format": _FORMAT, **facts, "sha256": hashes}
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / manifest).write_text(text + "\n", encoding="utf-8")


def read_folder(
    directory: str | Path, manifest: str
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read what :func:`write_folder` wrote: facts and arrays.

    Raises:
        ArtifactError: The directory is of another kind or format, or was changed.
    """
    facts = open_folder(directory, manifest)
    return facts, load_file(Path(directory) / ARRAYS)


def open_folder(directory: str | Path, manifest: str) -> dict[str, Any]:
    """Check the files of a directory against its manifest and return the facts.

    Raises:
        ArtifactError: The directory is of another kind or format, or was changed.
    """
    folder = Path(directory)
    if not (folder / manifest).is_file():
        raise ArtifactError(f"{folder} has no {manifest}; it was not written by llmrec.")
    facts = read_json(folder / manifest)
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise ArtifactError(f"{folder / manifest} is not of format {_FORMAT}.")
    for name, expected in facts.get("sha256", {}).items():
        file = folder / Path(name).name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing.")
        if file_sha256(file) != expected:
            raise ArtifactError(f"{file} does not match the hash in {manifest}; it was changed.")
    return facts
