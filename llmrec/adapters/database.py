"""The SQLite file of an adapter store: connections, transactions and the lock between writers.

Write-ahead mode: what was committed survives a kill, and readers never wait. A connection belongs
to a thread. Deleted content is overwritten; :meth:`Database.rewrite` leaves no trace of it.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from llmrec.errors import ArtifactError, StorageError

APPLICATION_ID = 0x6C6C6D61
"""Marks the file as an adapter store of this library (``llma``)."""

_LAYOUT = 2
_PAGE = 32_768  # gates of 2 KB fill such pages to over 95 %; with 4 KB half would be empty
_BUSY_SECONDS = 60.0

_TABLES = """
CREATE TABLE IF NOT EXISTS gates (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL UNIQUE, gate BLOB NOT NULL,
  version INTEGER NOT NULL, source TEXT NOT NULL, time INTEGER NOT NULL, centroid INTEGER);
CREATE TABLE IF NOT EXISTS earlier (
  id INTEGER NOT NULL, version INTEGER NOT NULL, source TEXT NOT NULL, time INTEGER NOT NULL,
  gate BLOB NOT NULL, PRIMARY KEY (id, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sums (users INTEGER NOT NULL, gate BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS centroids (id INTEGER PRIMARY KEY, gate BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS priors (
  name TEXT PRIMARY KEY, users INTEGER NOT NULL, gate BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (user TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS former (
  user TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (user, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS profiles (user TEXT PRIMARY KEY, gate BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS adapters (
  name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, error REAL NOT NULL,
  used INTEGER NOT NULL, leased_until INTEGER NOT NULL DEFAULT 0,
  pinned INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS adapters_by_use ON adapters (used);
CREATE TABLE IF NOT EXISTS pins (
  user TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (user, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pins_by_name ON pins (name);
CREATE TABLE IF NOT EXISTS issued (
  name TEXT NOT NULL, found TEXT NOT NULL, whose TEXT NOT NULL,
  PRIMARY KEY (name, found, whose)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS issued_by_user ON issued (whose);
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL, item NOT NULL, time INTEGER, rating REAL,
  label INTEGER, read INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_user ON events (user);
CREATE TABLE IF NOT EXISTS forgetting (
  who TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
"""


class Database:
    """One SQLite file.

    Args:
        path: The file; it is made where it is missing, readable by its user alone.

    Raises:
        ArtifactError: The file is something else.
        StorageError: It cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        with self.connection():
            pass

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection; what SQLite refuses becomes a sentence."""
        try:
            if getattr(self._local, "pid", None) != os.getpid():  # connections survive no fork
                self._local.connection, self._local.pid = self._open(), os.getpid()
            yield self._local.connection
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"{self._path} cannot be used: {error}; free some space, wait for other writers, "
                "or check its permissions. What was committed before is unchanged."
            ) from error
        except sqlite3.DatabaseError as error:
            raise ArtifactError(f"{self._path} is not an adapter store: {error}.") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # a full disk has rolled back already
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def making(self) -> Iterator[None]:
        """Hold the lock on the folder of adapters; one process and thread at a time."""
        lock = self._path.with_name("lock.sqlite")
        with ExitStack() as held:
            try:
                connection = sqlite3.connect(lock, timeout=_BUSY_SECONDS, isolation_level=None)
                held.enter_context(closing(connection))
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                raise StorageError(
                    f"{lock} cannot be locked: {error}; wait for the other writer, or check the "
                    "folder's permissions and the space left."
                ) from error
            except sqlite3.DatabaseError as error:
                raise StorageError(
                    f"{lock} cannot be locked: {error}. The file is damaged and holds nothing; "
                    "delete it while nobody uses the store."
                ) from error
            yield

    def damage(self) -> list[str]:
        """What is wrong with the structure of the file, in SQLite's words; nothing if it is whole.

        Values have no hash: one that changed where a number may stand is not found.
        """
        with self.connection() as connection:
            rows = connection.execute("PRAGMA integrity_check").fetchall()
        return [row[0] for row in rows if row[0] != "ok"]

    def rewrite(self) -> None:
        """Write the file anew, so that nothing deleted stays in free pages or in the log.

        Raises:
            StorageError: Another process keeps the file busy, or there is no room for a second
                copy; nobody is served what was deleted, but its bytes may still be in the log.
        """
        with self.connection() as connection:
            self._empty_log(connection)
            connection.execute("VACUUM")
            self._empty_log(connection)

    def close(self) -> None:
        """Close this thread's connection and empty the log; the next use opens another one."""
        with self.connection() as connection:
            self._empty_log(connection)
            connection.close()
            self._local.pid = None

    def tidy(self) -> None:
        """Empty the log if nobody reads just now; else it is emptied later."""
        with self.connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _empty_log(self, connection: sqlite3.Connection) -> None:
        """Move all of the log into the file; SQLite tells in a column that it could not."""
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StorageError(
                f"{self._path} is being read by another process or thread, so its log still holds "
                "what was deleted; let the reader end, and do the same again."
            )

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check whose file it is before anything in it is touched."""
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        known = (found, layout) == (APPLICATION_ID, _LAYOUT)
        if not known and (found, layout, tables) != (0, 0, 0):
            raise ArtifactError(
                f"{self._path} is not an adapter store of layout {_LAYOUT} (application id "
                f"{found:#x}, layout {layout})."
            )
        connection.execute(f"PRAGMA page_size = {_PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        if not known:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_LAYOUT}")
        connection.executescript(_TABLES)  # stores made before a table was added get it now
