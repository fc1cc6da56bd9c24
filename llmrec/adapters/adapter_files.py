"""Materialised adapters on disk: bounded in bytes and age, least recently used first out.

A folder's name is a hash of what is in it. Folders appear whole by a rename and are registered
after that, so that a kill or a full disk leaves at most a folder that the next opening removes.
A file that differs from its hash is removed and made again. Pinned and leased adapters stay; if
their files are lost, an entry without bytes and hash keeps the pin and the lease for the next ones.
"""

import hashlib
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from llmrec.adapters.database import Database
from llmrec.adapters.materialise import CONFIG, WEIGHTS, PlainLora
from llmrec.errors import StorageError
from llmrec.storage import atomic_directory, file_sha256

_SLACK = 4096  # configuration and the beginning of safetensors' header
_SLACK_PER_TENSOR = 256

COUNTED = ("found", "made", "evicted", "expired", "damaged")
"""What :attr:`AdapterFiles.counts` counts."""

Stamp = tuple[tuple[int, int, int], ...]


class FileState(NamedTuple):
    """What is registered of an adapter: bytes, hash and error."""

    bytes: int
    sha256: str
    error: float


class AdapterFiles:
    """The folder of adapters.

    Args:
        folder: Where they lie.
        database: Where they are registered.
        budget: Most bytes of all adapters together.
        ttl: Seconds after which an adapter that nobody asked for goes; None keeps it.
        clock: Nanoseconds, for telling which was used last.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        budget: int,
        ttl: float | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder, self._database, self._clock = folder, database, clock
        self.budget, self.ttl = budget, ttl
        self._verified: dict[str, Stamp] = {}
        self.counts: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def get(
        self,
        name: str,
        make: Callable[[], PlainLora],
        lease: float = 0.0,
        allowed: Callable[[], bool] = lambda: True,
        counted: bool = True,
    ) -> tuple[Path, FileState] | None:
        """A whole adapter, made if it is missing or damaged.

        Args:
            name: Its name.
            make: Makes it.
            lease: Seconds for which it is not evicted.
            allowed: Asked last, when no other process can write: whether it may still be made.
            counted: Whether finding it counts: False for the second look of one request.

        Returns:
            Its folder and what is registered, or None where it may not be made any more.

        Raises:
            StorageError: It does not fit beside pinned and leased ones, or the disk is full.
        """
        state = self._held(name, lease)
        if state is not None:
            self.counts["found"] += counted
            return self.folder / name, state
        adapter = make()
        with self._database.making():
            state = self._held(name, lease)  # another writer may have made it meanwhile
            if state is None:
                if not allowed():
                    return None
                return self.folder / name, self._write(name, adapter, lease)
        self.counts["found"] += counted
        return self.folder / name, state

    def names(self) -> dict[str, int]:
        """Adapters with files and their bytes, the most recently used last."""
        with self._database.connection() as connection:
            query = "SELECT name, bytes FROM adapters WHERE sha256 != '' ORDER BY used"
            return dict(connection.execute(query))

    def total_bytes(self) -> int:
        """Bytes of all registered adapters."""
        return sum(self.names().values())

    def in_use(self, names: list[str]) -> list[str]:
        """Which of these are pinned or leased."""
        query = "SELECT 1 FROM adapters WHERE name = ? AND (leased_until > ? OR pinned)"
        with self._database.connection() as connection:
            now = self._clock()
            return [n for n in names if connection.execute(query, (n, now)).fetchone()]

    def remove(self, names: list[str]) -> None:
        """Delete adapters that are neither pinned nor leased."""
        with self._database.making():
            self._evict(names)

    def strike(self, connection: sqlite3.Connection, names: list[str]) -> None:
        """Let adapters be registered no more, in use or not; :meth:`remove_strays` does the rest.

        Args:
            connection: In a transaction, under the lock of :meth:`Database.making`.
            names: Their names.
        """
        connection.executemany("DELETE FROM adapters WHERE name = ?", [(name,) for name in names])

    def remove_strays(self) -> None:
        """Remove folders that are not registered, under the lock of :meth:`Database.making`."""
        known = self.names()
        for path in self.folder.iterdir():
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed writer left, entries without a folder, and what is too old."""
        with self._database.making():
            self.remove_strays()
            self._lose([name for name in self.names() if not (self.folder / name).is_dir()])
            self._expire()

    def shrink(self) -> None:
        """Evict what is too old or beyond the budget, where it is not in use."""
        with self._database.making():
            self._expire()
            self._make_room(0)

    def damaged(self) -> list[str]:
        """Read every adapter and remove those that differ from their hash; their names.

        They are made again when somebody asks for them, and are pinned then if they were.
        """
        found = []
        for name in self.names():
            self._verified.pop(name, None)
            if self._registered(name) is not None and not self._is_whole(name):
                found.append(name)
        with self._database.making():  # look again: another process may have mended one meanwhile
            found = [n for n in found if self._registered(n) is not None and not self._is_whole(n)]
            self._lose(found)
        self.counts["damaged"] += len(found)
        return found

    def _held(self, name: str, lease: float) -> FileState | None:
        """Take a lease first, then look: what is leased cannot be evicted in between."""
        now = self._clock()
        until = now + int(lease * 1e9) if lease else 0
        with self._database.transaction() as connection:
            there = connection.execute(
                "UPDATE adapters SET used = ?, leased_until = max(leased_until, ?) WHERE name = ?",
                (now, until, name),
            ).rowcount
        if not there:
            return None
        return self._registered(name) if self._is_whole(name) else None

    def _registered(self, name: str) -> FileState | None:
        with self._database.connection() as connection:
            row = connection.execute(
                "SELECT bytes, sha256, error FROM adapters WHERE name = ? AND sha256 != ''", (name,)
            ).fetchone()
        return None if row is None else FileState(*row)

    def _is_whole(self, name: str) -> bool:
        """Hashes are computed when files are first met, and when their times or sizes change."""
        state = self._registered(name)
        if state is None:
            return False
        try:
            stamp = _stamp(self.folder / name)
            if self._verified.get(name) == stamp:
                return True
            whole = _hash_of(self.folder / name) == state.sha256
        except OSError:
            return False
        if whole:
            self._verified[name] = stamp
        return whole

    def _write(self, name: str, adapter: PlainLora, lease: float) -> FileState:
        if self._registered(name) is not None:
            self.counts["damaged"] += 1
            self._lose([name])
        size = _SLACK + _SLACK_PER_TENSOR * len(adapter.tensors)
        size += sum(t.numel() * t.element_size() for t in adapter.tensors.values())
        self._expire()
        self._make_room(size)
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)  # of a writer that was killed
        with atomic_directory(target, CONFIG) as temporary:
            adapter.write(temporary)
        size = sum(file.stat().st_size for file in target.iterdir())
        state = FileState(size, _hash_of(target), adapter.error)
        self._verified[name] = _stamp(target)
        now = self._clock()
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO adapters (name, bytes, sha256, error, used, leased_until) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "bytes = excluded.bytes, sha256 = excluded.sha256, error = excluded.error, "
                "used = excluded.used, leased_until = max(leased_until, excluded.leased_until)",
                (name, *state, now, now + int(lease * 1e9) if lease else 0),
            )
        self.counts["made"] += 1
        return state

    def _lose(self, names: list[str]) -> None:
        """Remove files, and entries that are neither pinned nor leased."""
        for name in names:
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE adapters SET bytes = 0, sha256 = '' WHERE name = ?", (name,)
                )
            self._remove_folder(name)
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM adapters WHERE sha256 = '' AND NOT pinned AND leased_until <= ?",
                (self._clock(),),
            )

    def _make_room(self, size: int) -> None:
        """Evict the least recently used until ``size`` bytes fit; nobody, if they cannot."""
        now = self._clock()
        with self._database.connection() as connection:
            total, free = connection.execute(
                "SELECT coalesce(sum(bytes), 0), coalesce(sum(CASE WHEN leased_until <= ? AND "
                "NOT pinned THEN bytes END), 0) FROM adapters",
                (now,),
            ).fetchone()
            if size and total - free + size > self.budget:
                raise StorageError(
                    f"an adapter of {size:,} bytes does not fit into the budget of "
                    f"{self.budget:,}, of which {total - free:,} are pinned or being served; "
                    "raise the budget, or unpin some."
                )
            gone = []
            candidates = connection.execute(
                "SELECT name, bytes FROM adapters WHERE leased_until <= ? AND NOT pinned "
                "AND sha256 != '' ORDER BY used",
                (now,),
            )
            while total + size > self.budget and (row := candidates.fetchone()):
                gone.append(row[0])
                total -= row[1]
            candidates.close()
        self._evict(gone)

    def _expire(self) -> None:
        if self.ttl is None:
            return
        query = "SELECT name FROM adapters WHERE used < ? AND sha256 != ''"
        with self._database.connection() as connection:
            rows = connection.execute(query, (self._clock() - int(self.ttl * 1e9),)).fetchall()
        self._evict([row[0] for row in rows], "expired")

    def _evict(self, names: list[str], counted: str = "evicted") -> None:
        """Delete adapters unless somebody took a lease meanwhile."""
        for name in names:
            with self._database.transaction() as connection:
                gone = connection.execute(
                    "DELETE FROM adapters WHERE name = ? AND leased_until <= ? AND NOT pinned",
                    (name, self._clock()),
                ).rowcount
            if gone:
                self._remove_folder(name)
                self.counts[counted] += 1

    def _remove_folder(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self._verified.pop(name, None)


def _stamp(folder: Path) -> Stamp:
    stats = [(folder / name).stat() for name in (CONFIG, WEIGHTS)]
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


def _hash_of(folder: Path) -> str:
    hashes = "".join(file_sha256(folder / name) for name in (CONFIG, WEIGHTS))
    return hashlib.sha256(hashes.encode()).hexdigest()
