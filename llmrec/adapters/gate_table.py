"""Gate weights of users: one row each, with version, source and time, and what sums them up."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llmrec.adapters.database import Database
from llmrec.adapters.user_keys import UserId, user_key, user_of
from llmrec.errors import DataError

Array = npt.NDArray[np.float32]

_AT_ONCE = 20_000
_KEYS_PER_QUERY = 500


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
        shape: Gates and their width.
        dtype: How weights are stored, ``float16`` or ``float32``.
    """

    def __init__(self, database: Database, shape: tuple[int, int], dtype: str) -> None:
        self._database, self._shape, self._dtype = database, shape, np.dtype(dtype)

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
        values = np.asarray(gates)
        if values.shape != (len(users), *self._shape):
            raise DataError(
                f"gates of {len(users)} users must have shape {[len(users), *self._shape]}, "
                f"found {list(values.shape)}."
            )
        keys = [user_key(user) for user in users]
        if len(set(keys)) < len(keys):
            raise DataError("a user is named twice; give each user one row of gates.")
        stored = values.astype(self._dtype)
        finite = np.isfinite(stored.reshape(len(keys), -1)).all(axis=1)
        if not finite.all():
            raise DataError(
                f"the gate of user {users[int(np.argmin(finite))]!r} is not finite in {self._dtype}"
            )
        with self._database.transaction() as connection:
            centroids = self._centroids(connection)
            for start in range(0, len(keys), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                self._put(connection, keys[part], stored[part], source, centroids)

    def get(self, user: UserId) -> GateRow | None:
        """One user's gate, or None."""
        with self._database.connection() as connection:
            row = connection.execute(
                "SELECT user, gate, version, source, time, centroid FROM gates WHERE user = ?",
                (user_key(user),),
            ).fetchone()
        return None if row is None else self._row(row)

    def rows(self, limit: int | None = None) -> Iterator[GateRow]:
        """Rows in the order in which users came."""
        with self._database.connection() as connection:
            found = connection.execute(
                "SELECT user, gate, version, source, time, centroid FROM gates ORDER BY id LIMIT ?",
                (-1 if limit is None else limit,),
            )
            for row in found:
                yield self._row(row)

    def delete(self, connection: sqlite3.Connection, user: UserId) -> bool:
        """Remove a user inside a transaction; returns whether there was one."""
        key = user_key(user)
        old = self._gates_of(connection, [key])
        connection.execute("DELETE FROM gates WHERE user = ?", (key,))
        if old:
            self._add_to_sums(connection, -1, -old[key].astype(np.float64))
        return bool(old)

    def mean(self) -> Array | None:
        """Mean over all users, or None where there is nobody."""
        with self._database.connection() as connection:
            row = connection.execute("SELECT users, gate FROM sums").fetchone()
        if row is None or row[0] == 0:
            return None
        total: Array = np.frombuffer(row[1]).reshape(self._shape) / row[0]
        return total.astype(np.float32)

    def prior(self) -> Array | None:
        """What strangers get: the mean when :meth:`fix_prior` was last called, or None."""
        with self._database.connection() as connection:
            row = connection.execute("SELECT gate FROM prior").fetchone()
        return None if row is None else self._decode(row[0])

    def fix_prior(self) -> Array | None:
        """Take the present mean as what strangers get."""
        mean = self.mean()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM prior")
            if mean is not None:
                connection.execute("INSERT INTO prior VALUES (0, ?)", (self._encode(mean),))
        return self.prior()

    def centroids(self) -> Array:
        """``[C, gates, blocks]``; none where users are not clustered."""
        with self._database.connection() as connection:
            return self._centroids(connection)

    def cluster(self, count: int, seed: int = 0, sample: int = 200_000) -> None:
        """Cluster users by k-means and give everyone a centroid; 0 removes the clusters.

        Args:
            count: Centroids.
            seed: Of k-means and of the sample.
            sample: Most users that the centroids are computed from.

        Raises:
            DataError: There are fewer users than centroids.
        """
        if count > len(self):
            raise DataError(f"{len(self)} users cannot be put into {count} clusters.")
        found = _k_means(self._sample(sample, seed), count, seed) if count else None
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM centroids")
            if found is None:
                connection.execute("UPDATE gates SET centroid = NULL")
                return
            rows = [(n, self._encode(c)) for n, c in enumerate(found.reshape(-1, *self._shape))]
            connection.executemany("INSERT INTO centroids VALUES (?, ?)", rows)
            self._assign_all(connection, self._centroids(connection))

    def _put(
        self,
        connection: sqlite3.Connection,
        keys: Sequence[str],
        stored: npt.NDArray[np.generic],
        source: str,
        centroids: Array,
    ) -> None:
        old = self._gates_of(connection, keys)
        nearest = _nearest(stored.astype(np.float32), centroids)
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
        self._add_to_sums(connection, len(keys) - len(old), change)

    def _add_to_sums(
        self, connection: sqlite3.Connection, users: int, change: npt.NDArray[np.float64]
    ) -> None:
        row = connection.execute("SELECT users, gate FROM sums").fetchone()
        count, total = (0, np.zeros(self._shape)) if row is None else row
        if row is not None:
            total = np.frombuffer(total).reshape(self._shape)
        connection.execute("DELETE FROM sums")
        new = (count + users, (total + change).tobytes())
        connection.execute("INSERT INTO sums VALUES (?, ?)", new)

    def _gates_of(self, connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            rows = connection.execute(f"SELECT user, gate FROM gates WHERE user IN ({marks})", part)
            found |= {key: self._decode(blob) for key, blob in rows}
        return found

    def _centroids(self, connection: sqlite3.Connection) -> Array:
        rows = connection.execute("SELECT gate FROM centroids ORDER BY id").fetchall()
        return np.stack([self._decode(row[0]) for row in rows]) if rows else _none(self._shape)

    def _assign_all(self, connection: sqlite3.Connection, centroids: Array) -> None:
        cursor = connection.execute("SELECT id, gate FROM gates")
        while rows := cursor.fetchmany(_AT_ONCE):
            gates = np.stack([self._decode(blob) for _, blob in rows])
            numbers = zip(_nearest(gates, centroids), (row[0] for row in rows), strict=True)
            connection.executemany("UPDATE gates SET centroid = ? WHERE id = ?", list(numbers))

    def _sample(self, size: int, seed: int) -> Array:
        with self._database.connection() as connection:
            ids = np.array([row[0] for row in connection.execute("SELECT id FROM gates")])
            if ids.size > size:
                ids = np.sort(np.random.default_rng(seed).choice(ids, size, replace=False))
            query = "SELECT gate FROM gates WHERE id = ?"
            blobs = [connection.execute(query, (int(i),)).fetchone()[0] for i in ids]
        return np.stack([self._decode(blob) for blob in blobs]).reshape(len(blobs), -1)

    def _row(self, row: tuple[str, bytes, int, str, int, int | None]) -> GateRow:
        return GateRow(user_of(row[0]), self._decode(row[1]), *row[2:])

    def _encode(self, gate: Array) -> bytes:
        return gate.astype(self._dtype).tobytes()

    def _decode(self, blob: bytes) -> Array:
        return np.frombuffer(blob, dtype=self._dtype).reshape(self._shape).astype(np.float32)


def _none(shape: tuple[int, int]) -> Array:
    return np.empty((0, *shape), dtype=np.float32)


def _k_means(values: Array, count: int, seed: int) -> Array:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=4096)
    return np.asarray(model.fit(values).cluster_centers_, dtype=np.float32)


def _nearest(gates: Array, centroids: Array) -> list[int | None]:
    """Number of the nearest centroid of every gate; None where there are no centroids."""
    if not len(centroids):
        return [None] * len(gates)
    flat, centres = gates.reshape(len(gates), -1), centroids.reshape(len(centroids), -1)
    distance = (centres**2).sum(axis=1) - 2 * flat @ centres.T
    return [int(number) for number in distance.argmin(axis=1)]
