"""Gate weights of users: one row each, with version, source and time, and a few earlier ones.

Versions count from 1 and never go back: rolling back writes the old weights as a new version.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llmrec.adapters.clusters import Clusters
from llmrec.adapters.database import Database
from llmrec.adapters.gate_format import Array, GateFormat
from llmrec.adapters.priors import add_to_sums
from llmrec.adapters.user_keys import UserId, user_key, user_of
from llmrec.errors import DataError, UnknownIdError

_AT_ONCE = 20_000
_KEYS_PER_QUERY = 500
_FIELDS = "g.user, g.gate, g.version, g.source, g.time, g.centroid"


class GateRow(NamedTuple):
    """What is stored of a user.

    Attributes:
        user: The id.
        gate: ``[gates, blocks]`` float32.
        version: Counts the user's gates from 1.
        source: Where they come from.
        time: Unix seconds of writing.
        centroid: Number of the cluster, or None.
    """

    user: UserId
    gate: Array
    version: int
    source: str
    time: int
    centroid: int | None


class GateTable:
    """Gate weights by user.

    Args:
        database: Where.
        form: Shape and precision.
        keep: Earlier versions kept of each user.
    """

    def __init__(self, database: Database, form: GateFormat, keep: int = 0) -> None:
        self._database, self._form, self._keep = database, form, keep
        self._clusters = Clusters(database, form)

    def __len__(self) -> int:
        with self._database.connection() as connection:
            return int(connection.execute("SELECT count(*) FROM gates").fetchone()[0])

    def put(self, users: Sequence[UserId], gates: npt.ArrayLike, source: str) -> None:
        """Write gates, all or none; a user who has some gets a new version.

        Args:
            users: Different ids.
            gates: ``[n, gates, blocks]``.
            source: Where they come from.

        Raises:
            DataError: Shapes do not fit, a weight is not finite, an id is not valid or repeated.
        """
        keys = [user_key(user) for user in users]
        if len(set(keys)) < len(keys):
            raise DataError("a user is named twice; give each user one row of gates.")
        stored = self._form.checked(gates, [f"user {key}" for key in keys])
        with self._database.transaction() as connection:
            centroids = self._clusters.read(connection)
            for start in range(0, len(keys), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                self._put(connection, keys[part], stored[part], source, centroids)

    def get(self, user: UserId) -> GateRow | None:
        """One user's gate, or None."""
        found = self.get_with_centroid(user)
        return None if found is None else found[0]

    def get_with_centroid(self, user: UserId) -> tuple[GateRow, Array | None] | None:
        """One user's gate and the centroid that stands for it, read together; or None."""
        with self._database.connection() as connection:
            row = connection.execute(
                f"SELECT {_FIELDS}, c.gate FROM gates g LEFT JOIN centroids c "
                "ON c.id = g.centroid WHERE g.user = ?",
                (user_key(user),),
            ).fetchone()
        if row is None:
            return None
        return self._row(row[:6]), None if row[6] is None else self._form.decode(row[6])

    def versions(self, user: UserId) -> list[GateRow]:
        """The present gate and the earlier ones that are kept, newest first; or none."""
        key = user_key(user)
        query = (
            f"SELECT {_FIELDS} FROM gates g WHERE g.user = ? UNION ALL "
            "SELECT g.user, e.gate, e.version, e.source, e.time, NULL FROM gates g "
            "JOIN earlier e ON e.id = g.id WHERE g.user = ? ORDER BY 3 DESC"
        )
        with self._database.connection() as connection:
            return [self._row(row) for row in connection.execute(query, (key, key)).fetchall()]

    def rollback(self, user: UserId, version: int) -> int:
        """Serve an earlier version again, under a new number.

        Args:
            user: The id.
            version: One of :meth:`versions`.

        Returns:
            The new version.

        Raises:
            UnknownIdError: The user, or the version, is not there.
        """
        rows = {row.version: row for row in self.versions(user)}
        if not rows:
            raise UnknownIdError(f"the store has no gate of user {user!r}.")
        if version not in rows:
            raise UnknownIdError(
                f"version {version} of user {user!r} is not kept; there are "
                f"{', '.join(map(str, rows))}."
            )
        self.put([user], rows[version].gate[None], f"rollback to {version}")
        return max(rows) + 1

    def rows(self, limit: int | None = None) -> Iterator[GateRow]:
        """Rows in the order in which users came; read in parts, so that nobody waits for them."""
        last, left = 0, -1 if limit is None else limit
        while left:
            size = _KEYS_PER_QUERY if left < 0 else min(left, _KEYS_PER_QUERY)
            with self._database.connection() as connection:
                found = connection.execute(
                    f"SELECT {_FIELDS}, g.id FROM gates g WHERE g.id > ? ORDER BY g.id LIMIT ?",
                    (last, size),
                ).fetchall()
            if not found:
                return
            yield from (self._row(row[:6]) for row in found)
            last, left = found[-1][6], left - len(found) if left > 0 else left

    def sample(self, most: int) -> Array:
        """``[n, gates, blocks]`` of at most ``most`` users, evenly spread over the order."""
        with self._database.connection() as connection:
            ids = [row[0] for row in connection.execute("SELECT id FROM gates ORDER BY id")]
            step = max(1, -(-len(ids) // most))
            query = "SELECT gate FROM gates WHERE id = ?"
            rows = [connection.execute(query, (n,)).fetchone() for n in ids[::step]]
        found = [self._form.decode(row[0]) for row in rows if row is not None]
        return np.stack(found) if found else self._form.none()

    def damage(self) -> list[str]:
        """What is wrong with the file of gates and of all else that is not an adapter."""
        return self._database.damage()

    def delete(self, connection: sqlite3.Connection, user: UserId) -> bool:
        """Remove a user and all versions in a transaction; returns whether there was one."""
        key = user_key(user)
        old = self._gates_of(connection, [key])
        connection.execute(
            "DELETE FROM earlier WHERE id = (SELECT id FROM gates WHERE user = ?)", (key,)
        )
        connection.execute("DELETE FROM gates WHERE user = ?", (key,))
        if old:
            add_to_sums(connection, -1, -old[key].astype(np.float64))
        return bool(old)

    def _put(
        self,
        connection: sqlite3.Connection,
        keys: Sequence[str],
        stored: npt.NDArray[Any],
        source: str,
        centroids: Array,
    ) -> None:
        old = self._gates_of(connection, keys)
        self._keep_earlier(connection, list(old))
        nearest = self._clusters.nearest(stored.astype(np.float32), centroids)
        now = int(time.time())
        rows = [
            (key, gate.tobytes(), 1, source, now, number)
            for key, gate, number in zip(keys, stored, nearest, strict=True)
        ]
        connection.executemany(
            "INSERT INTO gates (user, gate, version, source, time, centroid) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (user) DO UPDATE SET gate = excluded.gate, "
            "version = version + 1, source = excluded.source, time = excluded.time, "
            "centroid = excluded.centroid",
            rows,
        )
        change = stored.astype(np.float64).sum(axis=0)
        for gate in old.values():
            change -= gate
        add_to_sums(connection, len(keys) - len(old), change)

    def _keep_earlier(self, connection: sqlite3.Connection, keys: Sequence[str]) -> None:
        if not self._keep:
            return
        connection.executemany(
            "INSERT INTO earlier (id, version, source, time, gate) "
            "SELECT id, version, source, time, gate FROM gates WHERE user = ?",
            [(key,) for key in keys],
        )
        connection.executemany(
            "DELETE FROM earlier WHERE id = (SELECT id FROM gates WHERE user = ?) "
            "AND version <= (SELECT version FROM gates WHERE user = ?) - ?",
            [(key, key, self._keep) for key in keys],
        )

    def _gates_of(self, connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            rows = connection.execute(f"SELECT user, gate FROM gates WHERE user IN ({marks})", part)
            found |= {key: self._form.decode(blob) for key, blob in rows}
        return found

    def _row(self, row: tuple[Any, ...]) -> GateRow:
        return GateRow(user_of(row[0]), self._form.decode(row[1]), *row[2:])
