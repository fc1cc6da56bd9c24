"""Fetch one file from its official address: over HTTPS, bounded, whole or not at all.

Nothing is fetched unless a caller has made sure that the user accepts the licence.
"""

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from llmrec.errors import ConfigError, DataError
from llmrec.storage import atomic_file

_TIMEOUT_SECONDS = 60
_CHUNK = 1 << 20


def fetch(url: str, path: str | Path, *, md5: str | None = None, max_bytes: int) -> None:
    """Download ``url`` to ``path``.

    Args:
        url: An ``https`` address.
        path: The destination; an existing file is replaced only by a whole, checked one.
        md5: Expected hexadecimal MD5 of the content, or None.
        max_bytes: A larger answer is refused.

    Raises:
        DataError: The address cannot be reached, or what it gave is too large or fails the check.
        ConfigError: The address is not ``https``.
    """
    if not url.startswith("https://"):
        raise ConfigError(f"{url}: only https addresses are fetched.")
    with atomic_file(path) as temporary:
        try:
            digest = _stream(url, temporary, max_bytes)
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise DataError(
                f"{url} could not be downloaded: {reason}; check the connection, or download the "
                "file by hand and put it, as it is, into LLMREC_DATA_HOME."
            ) from None
        _require_equal(url, digest, md5)


def check_md5(path: str | Path, md5: str | None) -> None:
    """Check a file against its publisher's MD5; None checks nothing.

    Raises:
        DataError: They differ.
    """
    if md5 is not None:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        _require_equal(str(path), digest.hexdigest(), md5)


def _require_equal(source: str, digest: str, md5: str | None) -> None:
    if md5 is not None and digest != md5:
        raise DataError(
            f"{source}: the file's md5 is {digest}, expected {md5}; it is damaged or another "
            "edition, and was not used."
        )


def _stream(url: str, path: Path, max_bytes: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, path.open("wb") as sink:
        if not answer.geturl().startswith("https://"):
            raise DataError(f"{url} was redirected to an address without https; nothing was kept.")
        while chunk := answer.read(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise DataError(f"{url} is larger than {max_bytes:,} bytes; nothing was kept.")
            digest.update(chunk)
            sink.write(chunk)
    return digest.hexdigest()
