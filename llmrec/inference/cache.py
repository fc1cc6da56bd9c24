"""Answers on disk, found by a hash of their question; many processes may share one file.

One SQLite file in write-ahead mode: what was committed survives a kill, and nothing is ever half
there. The bytes of all entries stay below a bound; those not used for longest go first. Entries
carry owners (stored as hashes), so that everything a person's data went into can be removed.
Neither prompts nor API keys are stored. A network file system that does not lock files is no place
for it.

The cache stores results and knows nothing about models; see
:class:`~llmrec.inference.cached_model.CachedModel`.
"""

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from llmrec.errors import ArtifactError, ConfigError, StorageError
from llmrec.inference.result_bytes import VERSION, Result, result_from_bytes, result_to_bytes

APPLICATION_ID = 0x6C6C6D72
"""Marks the file as a response cache of this library (``llmr``)."""

_LAYOUT = 1
_BUSY_SECONDS = 60.0
_KEPT_SHARE = 0.9  # evicting a little more than needed makes the next evictions rare
_KEYS_PER_QUERY = 500

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
  key TEXT PRIMARY KEY, version INTEGER NOT NULL, value TEXT NOT NULL, arrays BLOB NOT NULL,
  bytes INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON entries (used, bytes);
CREATE TABLE IF NOT EXISTS owners (
  owner TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_by_key ON owners (key);
CREATE TABLE IF NOT EXISTS totals (bytes INTEGER NOT NULL);
INSERT INTO totals SELECT 0 WHERE NOT EXISTS (SELECT * FROM totals);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON entries BEGIN
  UPDATE totals SET bytes = bytes + NEW.bytes; END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON entries BEGIN
  UPDATE totals SET bytes = bytes - OLD.bytes;
  DELETE FROM owners WHERE key = OLD.key; END;
"""


class CacheSize(NamedTuple):
    """How much a cache holds: entries, and the bytes of their keys and values."""

    entries: int
    bytes: int


class ResponseCache:
    """A file of results.

    Args:
        path: The file; it is made where it is missing, readable by its user alone.
        max_bytes: Bound on the bytes of entries. The file is somewhat larger and does not shrink
            when entries go; their room is used again. :meth:`forget` makes it small.
        clock: Nanoseconds, for telling which entry was used last.

    Raises:
        ConfigError: ``max_bytes`` is not positive.
        ArtifactError: The file is something else, or of a newer version of this library.
        StorageError: It cannot be read or written.
    """

    def __init__(
        self,
        path: str | Path,
        max_bytes: int = 4 << 30,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if max_bytes < 1:
            raise ConfigError(f"max_bytes is {max_bytes}; expected a number of bytes above 0.")
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._clock = clock
        self._local = threading.local()
        with self._connection():
            pass

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker process opens the file itself: SQLite connections do not travel
        return type(self), (self._path, self._max_bytes, self._clock)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def get(self, keys: Iterable[str], owner: str | None = None) -> dict[str, Result]:
        """Look up results.

        Args:
            keys: Which.
            owner: Whoever asks becomes an owner of what is found, too.

        Returns:
            What there is, by key.

        Raises:
            ArtifactError: A stored result is damaged.
        """
        with self._connection() as connection:
            rows = list(_rows(connection, "key, value, arrays", list(dict.fromkeys(keys))))
            if rows:
                with _transaction(connection):
                    now = self._clock()
                    used = [(now + i, row[0]) for i, row in enumerate(rows)]
                    connection.executemany("UPDATE entries SET used = ? WHERE key = ?", used)
                    _own(connection, owner, [row[0] for row in rows])
        try:
            return {key: result_from_bytes(value, arrays) for key, value, arrays in rows}
        except ArtifactError as error:
            raise ArtifactError(f"{self._path}: {error}") from error

    def known(self, keys: Iterable[str]) -> set[str]:
        """Which keys are there; this does not count as using them."""
        with self._connection() as connection:
            return {row[0] for row in _rows(connection, "key", list(dict.fromkeys(keys)))}

    def put(self, results: Mapping[str, Result], owner: str | None = None) -> None:
        """Store results by key, all or none; one that is there already is kept.

        A result larger than the whole bound is left out.

        Args:
            results: What to store.
            owner: Whose data went into them.

        Raises:
            StorageError: The disk is full, or the file may not be written.
        """
        rows = []
        for place, (key, result) in enumerate(results.items()):
            value, arrays = result_to_bytes(result)
            size = len(key) + len(value) + len(arrays)
            if size <= self._max_bytes:
                rows.append((key, VERSION, value, arrays, size, self._clock() + place))
        if not rows:
            return
        with self._connection() as connection, _transaction(connection):
            keys = [row[0] for row in rows]
            connection.executemany(
                "DELETE FROM entries WHERE key = ? AND version != ?", [(k, VERSION) for k in keys]
            )
            connection.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
            _own(connection, owner, keys)
            self._evict(connection)

    def forget(self, owner: str) -> int:
        """Remove every entry of an owner, also those that others own as well, and their traces.

        The file is rewritten, so that nothing of them stays in free pages or in the log.

        Args:
            owner: Whose.

        Returns:
            How many entries went.

        Raises:
            StorageError: They were removed, but another process keeps the file busy, so that it
                could not be rewritten.
        """
        with self._connection() as connection:
            with _transaction(connection):
                gone = connection.execute(
                    "DELETE FROM entries WHERE key IN (SELECT key FROM owners WHERE owner = ?)",
                    (_hashed(owner),),
                ).rowcount
            self._rewrite(connection)
        return gone

    def size(self) -> CacheSize:
        """How much there is."""
        with self._connection() as connection:
            count = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
            return CacheSize(count, connection.execute("SELECT bytes FROM totals").fetchone()[0])

    def _evict(self, connection: sqlite3.Connection) -> None:
        total = connection.execute("SELECT bytes FROM totals").fetchone()[0]
        if total <= self._max_bytes:
            return
        excess = total - int(self._max_bytes * _KEPT_SHARE)
        connection.execute(
            "DELETE FROM entries WHERE key IN (SELECT key FROM (SELECT key, bytes, "
            "sum(bytes) OVER (ORDER BY used, key) AS so_far FROM entries) "
            "WHERE so_far - bytes < ?)",
            (excess,),
        )

    def _rewrite(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            busy = True
        if busy:
            raise StorageError(
                f"the entries were removed from {self._path}, but another process is using it, so "
                "traces may be left in the file; run forget again when it is done."
            )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection; what SQLite reports becomes a sentence."""
        try:
            # a connection must not be used by a process that was forked off
            if getattr(self._local, "process", None) != os.getpid():
                self._local.connection = _open(self._path)
                self._local.process = os.getpid()
            yield self._local.connection
        except (sqlite3.Error, OSError) as error:
            raise _sentence(self._path, error) from error


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # answers may tell about people: nobody else on the machine needs to read them
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        _check_layout(path, connection)
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # what goes is overwritten
        with _transaction(connection):
            _check_layout(path, connection)
            for statement in _statements(_TABLES):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_LAYOUT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_layout(path: Path, connection: sqlite3.Connection) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not tables:
        return
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ArtifactError(f"{path} is a database of something else; choose another file.")
    layout = connection.execute("PRAGMA user_version").fetchone()[0]
    if layout != _LAYOUT:
        raise ArtifactError(
            f"{path} has layout {layout}, this version of llmrec reads {_LAYOUT}; choose another "
            "file, or delete it: it holds nothing but answers that can be asked for again."
        )


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead mode; SQLite does not wait by itself while another process does it."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _rows(
    connection: sqlite3.Connection, columns: str, keys: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        marks = ", ".join("?" * len(part))
        yield from connection.execute(
            f"SELECT {columns} FROM entries WHERE version = ? AND key IN ({marks})",
            [VERSION, *part],
        )


def _own(connection: sqlite3.Connection, owner: str | None, keys: Sequence[str]) -> None:
    if owner is not None:
        rows = [(_hashed(owner), key) for key in keys]
        connection.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", rows)


def _hashed(owner: str) -> str:
    return hashlib.sha256(f"owner:{owner}".encode(errors="surrogatepass")).hexdigest()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _is_busy(error: sqlite3.Error) -> bool:
    codes = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


def _sentence(path: Path, error: Exception) -> ArtifactError | StorageError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return ArtifactError(
            f"{path} is no response cache, or is damaged ({error}); choose another file, or delete "
            "it: a cache holds nothing but answers that can be asked for again."
        )
    if isinstance(error, sqlite3.Error) and _is_busy(error):
        return StorageError(f"{path} was busy for {_BUSY_SECONDS:g} seconds; try again.")
    return StorageError(f"{path} cannot be used as a response cache: {error}.")
