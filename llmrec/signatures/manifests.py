"""The description beside a saved detector: what it is, and the hashes of its files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmrec.errors import ArtifactError
from llmrec.storage import file_sha256, read_json


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path from there."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def checked_manifest(
    path: Path, model: str, version: int, required: Iterable[str], kind: str, absent: str
) -> dict[str, Any]:
    """Read a manifest, and compare its ``sha256`` with the files beside it.

    Args:
        path: The manifest.
        model: What its ``model`` must be.
        version: What its ``format`` must be.
        required: Further keys that must be there.
        kind: What it should describe, for messages, such as ``a LOS-Net``.
        absent: What is said of a directory without one, such as ``is not a saved LOS-Net``.

    Raises:
        ArtifactError: The directory is missing, incomplete, changed, or of another kind.
    """
    folder = path.parent
    if not path.is_file():
        raise ArtifactError(f"{folder} {absent}: it has no {path.name}.")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("model") != model:
        raise ArtifactError(f"{path} does not describe {kind}.")
    if manifest.get("format") != version:
        raise ArtifactError(
            f"{folder}: format {manifest.get('format')} is not {version}; it was written by llmrec "
            f"{manifest.get('llmrec')}."
        )
    missing = sorted({*required, "sha256"} - manifest.keys())
    if missing:
        raise ArtifactError(f"{path} is incomplete: {', '.join(missing)}.")
    for name, expected in manifest["sha256"].items():
        file = folder / name
        inside = folder.resolve() in file.resolve().parents
        if not inside or not file.is_file() or file_sha256(file) != expected:
            raise ArtifactError(
                f"{file} is missing or does not match its hash in {path.name}; it was changed."
            )
    return manifest
