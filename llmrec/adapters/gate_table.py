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
_MEAN = "CASE w.name WHEN '' THEN 'everybody' ELSE 'group ' || quote(w.name) END"
_WEIGHTS = (
    ("the gate of user", "w.user", "gates w", "refresh it"),
    (
        "an earlier gate of user", "g.user", "earlier w JOIN gates g ON g.id = w.id",
        "it cannot be rolled back to, and goes when later ones come",
    ),
    ("the profile of user", "w.user", "profiles w", "put it again"),
    ("the mean of", _MEAN, "priors w", "fix means again"),
    ("centroid", "w.id", "centroids w", "cluster users again"),
)  # fmt: skip
"""Where weights stand: what they are, whose, the tables, and what mends them."""


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

    def put(
        self,
        users: Sequence[UserId],
        gates: npt.ArrayLike,
        source: str,
        over: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.bool_]:
        """Write gates, all or none; a user who has some gets a new version.

        Args:
            users: Different ids.
            gates: ``[n, gates, blocks]``.
            source: Where they come from.
            over: ``[n]`` versions as :meth:`versions_now` gave them before the gates were computed;
                a user who has another by now (forgotten, or given a gate, meanwhile) is left out.
                None writes whatever is there.

        Returns:
            ``[n]`` whose gates were written.

        Raises:
            DataError: Shapes do not fit, a weight is not finite, an id is not valid or repeated.
        """
        keys = [user_key(user) for user in users]
        if len(set(keys)) < len(keys):
            raise DataError("a user is named twice; give each user one row of gates.")
        stored = self._form.checked(gates, [f"user {key}" for key in keys])
        with self._database.transaction() as connection:
            centroids = self._clusters.read(connection)
            ours = np.ones(len(keys), dtype=bool)
            if over is not None:
                ours = self._versions_of(connection, keys) == np.asarray(over)
            rows = np.flatnonzero(ours)
            for start in range(0, rows.size, _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                names = [keys[row] for row in part.tolist()]
                self._put(connection, names, stored[part], source, centroids)
        return ours

    def versions_now(self, users: Sequence[UserId]) -> npt.NDArray[np.int64]:
        """``[n]`` version of every user's present gate, 0 where there is none."""
        with self._database.connection() as connection:
            return self._versions_of(connection, [user_key(user) for user in users])

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
            UnknownIdError: The user, or the version, is not there, or goes in this moment.
        """
        rows = {row.version: row for row in self.versions(user)}
        if not rows:
            raise UnknownIdError(f"the store has no gate of user {user!r}.")
        if version not in rows:
            raise UnknownIdError(
                f"version {version} of user {user!r} is not kept; there are "
                f"{', '.join(map(str, rows))}."
            )
        newest = max(rows)
        if not self.put([user], rows[version].gate[None], f"rollback to {version}", [newest]).all():
            raise UnknownIdError(
                f"user {user!r} was forgotten, or got another gate, in this moment; look again."
            )
        return newest + 1

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
        """What is wrong with the file of gates and of all else that is not an adapter.

        First its structure; where that is whole, weights with too few or too many bytes.
        """
        found = self._database.damage()
        size, odd = self._form.size, "typeof({0}) != 'blob' OR length({0}) != ?"
        with self._database.connection() as connection:
            for what, column, tables, remedy in () if found else _WEIGHTS:
                query = (
                    f"SELECT {column}, length(w.gate) FROM {tables} WHERE {odd.format('w.gate')}"
                )
                found += [
                    f"{what} {whose} has {length} bytes in place of {size}; {remedy}."
                    for whose, length in connection.execute(query, (size,))
                ]
        return found

    def delete(self, connection: sqlite3.Connection, user: UserId) -> bool:
        """Remove a user and all versions in a transaction; returns whether there was one."""
        key = user_key(user)
        old = self._gates_of(connection, [key])
        connection.execute(
            "DELETE FROM earlier WHERE id = (SELECT id FROM gates WHERE user = ?)", (key,)
        )
        connection.execute("DELETE FROM gates WHERE user = ?", (key,))
        for gate in old.values():
            if gate is None:
                self._sum_anew(connection)
            else:
                add_to_sums(connection, -1, -gate.astype(np.float64))
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
        whole = {key: gate for key, gate in old.items() if gate is not None}
        self._keep_earlier(connection, list(whole))
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
        if len(whole) < len(old):
            self._sum_anew(connection)
            return
        change = stored.astype(np.float64).sum(axis=0)
        for gate in whole.values():
            change -= gate
        add_to_sums(connection, len(keys) - len(old), change)

    def _sum_anew(self, connection: sqlite3.Connection) -> None:
        """After a damaged gate, of which nobody knows what it had added to the sums."""
        connection.execute("DELETE FROM sums")
        count, total = 0, np.zeros(self._form.shape)
        for (blob,) in connection.execute("SELECT gate FROM gates"):
            if self._form.fits(blob):
                count, total = count + 1, total + self._form.decode(blob)
        add_to_sums(connection, count, total)

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

    def _gates_of(
        self, connection: sqlite3.Connection, keys: Sequence[str]
    ) -> dict[str, Array | None]:
        """Gates of those who have one; None for a damaged one, which must not stand in the way."""
        form = self._form
        return {
            key: form.decode(blob) if form.fits(blob) else None
            for key, blob in self._values(connection, "gate", keys)
        }

    def _versions_of(
        self, connection: sqlite3.Connection, keys: Sequence[str]
    ) -> npt.NDArray[np.int64]:
        found = dict(self._values(connection, "version", keys))
        return np.array([found.get(key, 0) for key in keys], dtype=np.int64)

    def _values(
        self, connection: sqlite3.Connection, column: str, keys: Sequence[str]
    ) -> Iterator[tuple[str, Any]]:
        """Keys and values of those users who have a gate."""
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            query = f"SELECT user, {column} FROM gates WHERE user IN ({','.join('?' * len(part))})"
            yield from connection.execute(query, part)

    def _row(self, row: tuple[Any, ...]) -> GateRow:
        return GateRow(user_of(row[0]), self._form.decode(row[1]), *row[2:])
