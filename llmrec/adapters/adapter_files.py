"""Materialised adapters on disk: bounded in bytes, least recently used first out, never changed.

A folder's name is a hash of what is in it. Folders appear whole by a rename and are registered
after that, so that a kill or a full disk leaves at most a folder that the next opening removes.
A file that differs from its hash is removed and made again. Pinned and leased adapters stay.
"""

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from llmrec.adapters.database import Database
from llmrec.adapters.materialise import CONFIG, WEIGHTS, PlainLora
from llmrec.errors import ArtifactError, StorageError
from llmrec.storage import atomic_directory, file_sha256

_SLACK = 4096  # header of safetensors and configuration, per adapter


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
        clock: Nanoseconds, for telling which was used last.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        budget: int,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder, self._database, self.budget, self._clock = folder, database, budget, clock
        self._verified: dict[str, tuple[int, int]] = {}
        self.counts: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def get(
        self, name: str, owner: str | None, make: Callable[[], PlainLora], lease: float = 0.0
    ) -> tuple[Path, FileState]:
        """A whole adapter, made if it is missing or damaged.

        Args:
            name: Its name.
            owner: Key of the user whose it is, or None for one that is nobody's.
            make: Makes it.
            lease: Seconds for which it is not evicted.

        Raises:
            StorageError: It does not fit beside pinned and leased ones, or the disk is full.
        """
        state = self._found(name)
        if state is None:
            with self._database.making():
                state = self._found(name)  # another writer may have made it meanwhile
                if state is None:
                    state = self._make(name, make())
        else:
            self.counts["found"] += 1
        self._use(name, owner, lease)
        return self.folder / name, state

    def names(self) -> dict[str, int]:
        """Registered adapters and their bytes, the most recently used last."""
        with self._database.connection() as connection:
            return dict(connection.execute("SELECT name, bytes FROM adapters ORDER BY used"))

    def total_bytes(self) -> int:
        """Bytes of all registered adapters."""
        return sum(self.names().values())

    def pin(self, name: str, pinned: bool) -> None:
        """Keep an adapter whatever the budget, or stop keeping it.

        Raises:
            ArtifactError: It is not there.
        """
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE adapters SET pinned = ? WHERE name = ?", (int(pinned), name)
            ).rowcount
        if not changed:
            raise ArtifactError(f"there is no adapter {name}; ask for it first, then pin it.")

    def owned_alone(self, key: str) -> list[str]:
        """Adapters that belong to this user and to nobody else, old versions included."""
        query = (
            "SELECT name FROM owners AS mine WHERE user = ? AND NOT EXISTS "
            "(SELECT 1 FROM owners WHERE name = mine.name AND user != mine.user)"
        )
        with self._database.connection() as connection:
            return [row[0] for row in connection.execute(query, (key,))]

    def leased(self, names: list[str]) -> list[str]:
        """Which of these are being served."""
        query = "SELECT 1 FROM adapters WHERE name = ? AND (leased_until > ? OR pinned)"
        with self._database.connection() as connection:
            now = self._clock()
            return [n for n in names if connection.execute(query, (n, now)).fetchone()]

    def remove(self, names: list[str]) -> None:
        """Delete adapters, in use or not."""
        for name in names:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM adapters WHERE name = ?", (name,))
                connection.execute("DELETE FROM owners WHERE name = ?", (name,))
            shutil.rmtree(self.folder / name, ignore_errors=True)
            self._verified.pop(name, None)

    def sweep(self) -> None:
        """Remove folders that a killed writer left, and entries without a folder."""
        with self._database.making():
            known = self.names()
            for path in self.folder.iterdir():
                if path.name not in known:
                    shutil.rmtree(path, ignore_errors=True)
            self.remove([name for name in known if not (self.folder / name).is_dir()])

    def _found(self, name: str) -> FileState | None:
        """What is registered, if the files are there and are those that were written."""
        with self._database.connection() as connection:
            row = connection.execute(
                "SELECT bytes, sha256, error FROM adapters WHERE name = ?", (name,)
            ).fetchone()
        if row is None:
            return None
        state = FileState(*row)
        if self._is_whole(name, state):
            return state
        self.counts["damaged"] += 1
        self._verified.pop(name, None)
        return None

    def _is_whole(self, name: str, state: FileState) -> bool:
        """Hashes are computed when a file is first met, and when its time or size changes."""
        try:
            seen = (self.folder / name / WEIGHTS).stat()
            if self._verified.get(name) == (seen.st_mtime_ns, seen.st_size):
                return (self.folder / name / CONFIG).is_file()
            whole = _hash_of(self.folder / name) == state.sha256
        except OSError:
            return False
        if whole:
            self._verified[name] = (seen.st_mtime_ns, seen.st_size)
        return whole

    def _make(self, name: str, adapter: PlainLora) -> FileState:
        size = _SLACK + sum(t.numel() * t.element_size() for t in adapter.tensors.values())
        self._make_room(size, name)
        target = self.folder / name
        with atomic_directory(target, CONFIG) as temporary:
            adapter.write(temporary)
        size = sum(file.stat().st_size for file in target.iterdir())
        state = FileState(size, _hash_of(target), adapter.error)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO adapters (name, bytes, sha256, error, used) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes, sha256 = excluded.sha256",
                (name, *state, self._clock()),
            )
        self.counts["made"] += 1
        return state

    def _make_room(self, size: int, name: str) -> None:
        with self._database.connection() as connection:
            rows = connection.execute(
                "SELECT name, bytes, leased_until > ? OR pinned FROM adapters WHERE name != ? "
                "ORDER BY used",
                (self._clock(), name),
            ).fetchall()
        total = size + sum(row[1] for row in rows)
        gone = []
        for other, other_bytes, kept in rows:
            if total <= self.budget:
                break
            if not kept:
                gone.append(other)
                total -= other_bytes
        if total > self.budget:
            held = sum(row[1] for row in rows if row[2])
            raise StorageError(
                f"an adapter of {size:,} bytes does not fit into the budget of {self.budget:,}, "
                f"of which {held:,} are pinned or being served; raise the budget, or unpin some."
            )
        self.remove(gone)
        self.counts["evicted"] += len(gone)

    def _use(self, name: str, owner: str | None, lease: float) -> None:
        now = self._clock()
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE adapters SET used = ?, leased_until = max(leased_until, ?) WHERE name = ?",
                (now, now + int(lease * 1e9) if lease else 0, name),
            )
            if owner is not None:
                connection.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (owner, name))


def _hash_of(folder: Path) -> str:
    hashes = "".join(file_sha256(folder / name) for name in (CONFIG, WEIGHTS))
    return hashlib.sha256(hashes.encode()).hexdigest()
