"""Files that are either whole or absent.

Every artefact is written under a temporary name beside its destination and renamed when complete,
so that a full disk or a kill leaves the earlier version intact. This module knows nothing about
what is stored; it refuses to overwrite a directory it did not write (no ``marker`` file inside).
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from llmrec.errors import ArtifactError, LlmrecError, StorageError

_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
# safetensors and polars are written in Rust, which gives the number in the text only
_RUST_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_Made = TypeVar("_Made")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block ends without an error.

    Raises:
        StorageError: ``path`` is a directory or below a file, the disk is full or writing there is
            not allowed; ``path`` is unchanged.
    """
    path = Path(path)
    require_file(path)
    handle, name = _made_beside(
        path, lambda: tempfile.mkstemp(path.suffix, f".{path.name}.", path.parent)
    )
    os.close(handle)
    temporary = Path(name)
    with _refusals_in_one_sentence(path):
        try:
            yield temporary
            _flush(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path, marker: str) -> Iterator[Path]:
    """Yield a temporary directory that replaces ``path`` when the block ends without an error.

    Args:
        path: The destination. An existing directory is replaced only if it holds ``marker``.
        marker: A file the block must write, by which a directory of this kind is recognised.

    Raises:
        ArtifactError: ``path`` exists and is something else, or the block wrote no ``marker``.
        StorageError: ``path`` is below a file, the disk is full or writing there is not allowed;
            ``path`` is unchanged.
    """
    path = _followed(Path(path))
    require_place(path, marker)
    name = _made_beside(path, lambda: tempfile.mkdtemp(".tmp", f".{path.name}.", path.parent))
    temporary = Path(name)
    with _refusals_in_one_sentence(path):
        try:
            yield temporary
            if not (temporary / marker).is_file():
                raise ArtifactError(f"{path} would be incomplete: {marker} was not written.")
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush(file)
            temporary.chmod(0o755)
            _swap(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def require_place(path: str | Path, marker: str | None = None) -> None:
    """Refuse a destination before the work, not after it; nothing is written.

    Args:
        path: The destination.
        marker: As for :func:`atomic_directory`; None for a file, or to let that be seen later.

    Raises:
        ArtifactError: ``path`` exists and is something else.
        StorageError: A part of the way to ``path`` is a file.
    """
    path = _followed(Path(path))
    if path.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise ArtifactError(
            f"{path} is the folder you are in, or one above it, and would be replaced under your "
            "feet; name it from another folder."
        )
    if marker and path.exists() and not (path / marker).is_file() and any(_entries(path)):
        raise ArtifactError(
            f"{path} exists and is not a directory that llmrec wrote (it has no {marker}); "
            "choose another destination or remove it."
        )
    there = next(folder for folder in [path.parent, *path.parent.parents] if folder.exists())
    if not there.is_dir():
        raise StorageError(
            f"{path} cannot be written: {there} is a file, not a directory; choose another place."
        )


def _followed(path: Path) -> Path:
    """Where a link leads, which is what is to be replaced, and not the link."""
    return path.resolve() if path.is_symlink() else path


def require_finished(work: str | Path, result: str | Path) -> None:
    """Refuse to begin anew where that would throw away work that was broken off.

    Args:
        work: The directory in which work keeps what it goes on from.
        result: The file that is written last. Work that is older than it has come to an end.

    Raises:
        ArtifactError: Something in ``work`` is newer than ``result``, or there is no result.
    """
    work, result = Path(work), Path(result)
    kept = list(_entries(work)) if work.is_dir() else []
    if not kept:
        return
    newest = max(path.stat().st_mtime for path in kept)
    if not result.is_file() or result.stat().st_mtime < newest:
        raise ArtifactError(
            f"{work} holds work that was broken off; go on with it by --resume (resume=True), or "
            "remove that directory to begin anew."
        )


def require_file(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work; see :func:`require_place`.

    Raises:
        StorageError: ``path`` is a directory, or a part of the way to it is a file.
    """
    if Path(path).is_dir():
        raise StorageError(f"{path} is a directory; name a file to write.")
    require_place(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically; NaN and infinity are refused by ``json``."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: The file is missing or is not JSON; the message says which.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}.") from None


def file_sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _refusals_in_one_sentence(path: Path) -> Iterator[None]:
    """Turn a file system's refusal to write into an error that the user can act on."""
    try:
        yield
    except LlmrecError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        in_text = _RUST_OS_ERROR.search(str(error))
        if number is None and in_text is not None:
            number = int(in_text[1])
        if number not in _REFUSALS:
            raise
        raise _refusal(path, number) from error


def _refusal(path: Path, number: int) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {os.strerror(number)}; what was there before is "
        "unchanged. Free some space or choose another place."
    )


def _made_beside(path: Path, make: Callable[[], _Made]) -> _Made:
    """Make the folder that ``path`` is to lie in, and something in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make()
    except OSError as error:
        raise _refusal(path, error.errno or errno.EIO) from error


def _entries(path: Path) -> Iterator[Path]:
    return path.iterdir() if path.is_dir() else iter([path])


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _swap(temporary: Path, path: Path) -> None:
    """Move ``temporary`` to ``path``; a directory cannot be renamed over a non-empty one."""
    if not path.exists():
        temporary.rename(path)
        return
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)
