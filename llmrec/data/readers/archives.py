"""Unpack a zip archive from elsewhere without trusting it.

No entry may leave the destination, be a link, or repeat a name; the number of entries and the
unpacked bytes are bounded, counted while unpacking and not as the archive declares them. An
archive that breaks a rule leaves nothing behind.
"""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from llmrec.errors import DataError

MAX_BYTES = 8 * 1024**3
MAX_ENTRIES = 10_000
_CHUNK = 1 << 20


@contextmanager
def unpacked(path: str | Path, max_bytes: int = MAX_BYTES) -> Iterator[Path]:
    """Yield a temporary folder with the content of a zip file; it is removed afterwards.

    Raises:
        DataError: See :func:`extract_zip`.
    """
    with tempfile.TemporaryDirectory(prefix="llmrec-") as folder:
        extract_zip(path, folder, max_bytes)
        yield Path(folder)


def extract_zip(path: str | Path, folder: str | Path, max_bytes: int = MAX_BYTES) -> None:
    """Unpack a zip file into an empty or absent folder.

    Args:
        path: The archive.
        folder: The destination.
        max_bytes: Most bytes to write, all entries together.

    Raises:
        DataError: The archive is damaged, too large, or has an entry that is not a plain file
            inside the destination.
    """
    path, folder = Path(path), Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; unpack {path.name} somewhere else.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_entries(entries, path.name)
            left = max_bytes
            for entry in entries:
                left -= _extract(archive, entry, folder, left, path.name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        _empty(folder)
        raise DataError(f"{path.name} is not a whole zip archive: {error}.") from None
    except DataError:
        _empty(folder)
        raise


def _check_entries(entries: list[zipfile.ZipInfo], name: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise DataError(f"{name} has {len(entries)} entries; at most {MAX_ENTRIES} are unpacked.")
    seen: set[str] = set()
    for entry in entries:
        where = PurePosixPath(entry.filename.replace("\\", "/"))
        outside = where.is_absolute() or ".." in where.parts or ":" in where.parts[0]
        if outside or stat.S_ISLNK(entry.external_attr >> 16):
            raise DataError(
                f"{name} has the entry {entry.filename!r}, which points outside the archive; "
                "nothing was unpacked."
            )
        if str(where).lower() in seen:
            raise DataError(f"{name} has the entry {entry.filename!r} twice; nothing was unpacked.")
        seen.add(str(where).lower())


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int, name: str
) -> int:
    target = folder / PurePosixPath(entry.filename.replace("\\", "/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(entry) as source, target.open("wb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > left:
                raise DataError(f"{name} unpacks to more bytes than allowed; nothing was kept.")
            sink.write(chunk)
    return written


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        else:
            child.unlink()
