"""Users served by the centroid of their cluster, so that disk is bounded by the centroids.

Centroids come from k-means on a sample of weights; afterwards every user, and every new gate,
joins the nearest one.
"""

import sqlite3

import numpy as np
import numpy.typing as npt

from llmrec.adapters.database import Database
from llmrec.adapters.gate_format import Array, GateFormat
from llmrec.errors import ConfigError, DataError

_AT_ONCE = 10_000
_BATCH = 4096  # of k-means


def fit_centroids(gates: Array, count: int, seed: int = 0) -> Array:
    """Centroids of gate weights by k-means: ``[count, gates, blocks]``.

    Args:
        gates: ``[n, gates, blocks]``.
        count: Centroids.
        seed: Of k-means.

    Raises:
        DataError: There are fewer users than centroids.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if len(gates) < count:
        raise DataError(f"{len(gates)} users cannot be put into {count} clusters.")
    if len(gates) <= _BATCH:  # of few rows, batches would be drawn with replacement
        model = KMeans(count, random_state=seed, n_init=3)
    else:
        model = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=_BATCH)
    centres = model.fit(gates.reshape(len(gates), -1)).cluster_centers_
    return np.asarray(centres, dtype=np.float32).reshape(-1, *gates.shape[1:])


def nearest_centroids(gates: Array, centroids: Array) -> npt.NDArray[np.int64]:
    """``[n]`` the nearest of ``[C, gates, blocks]`` centroids, of equal ones the first."""
    flat, centres = gates.reshape(len(gates), -1), centroids.reshape(len(centroids), -1)
    distance: Array = (centres**2).sum(axis=1) - 2 * flat @ centres.T
    return np.asarray(distance.argmin(axis=1))


class Clusters:
    """Centroids of gate weights.

    Args:
        database: Where.
        form: Shape and precision of weights.
    """

    def __init__(self, database: Database, form: GateFormat) -> None:
        self._database, self._form = database, form

    def all(self) -> Array:
        """``[C, gates, blocks]``; none where users are not clustered."""
        with self._database.connection() as connection:
            return self.read(connection)

    def get(self, number: int) -> Array | None:
        """One centroid."""
        with self._database.connection() as connection:
            row = connection.execute(
                "SELECT gate FROM centroids WHERE id = ?", (number,)
            ).fetchone()
        return None if row is None else self._form.decode(row[0])

    def read(self, connection: sqlite3.Connection) -> Array:
        """As :meth:`all`, inside a transaction."""
        rows = connection.execute("SELECT gate FROM centroids ORDER BY id").fetchall()
        return np.stack([self._form.decode(row[0]) for row in rows]) if rows else self._form.none()

    def make(self, count: int, seed: int = 0, sample: int = 100_000) -> None:
        """Cluster users by k-means and give everyone a centroid; 0 removes the clusters.

        Args:
            count: Centroids.
            seed: Of k-means and of the sample.
            sample: Most users that the centroids are computed from.

        Raises:
            ConfigError: ``count`` is negative.
            DataError: There are fewer users than centroids.
        """
        if count < 0:
            raise ConfigError(f"there cannot be {count} clusters; 0 removes them.")
        found = self._k_means(count, seed, sample) if count else self._form.none()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM centroids")
            rows = [(number, self._form.encode(each)) for number, each in enumerate(found)]
            connection.executemany("INSERT INTO centroids VALUES (?, ?)", rows)
            self._assign_all(connection, self.read(connection))

    def without_users(self, connection: sqlite3.Connection, mean: Array | None) -> list[int]:
        """Let centroids that stand for nobody be the mean over those who are left, if any are.

        Args:
            connection: In a transaction.
            mean: ``[gates, blocks]``; None, where nobody is left, ends all clusters.

        Returns:
            Numbers of the centroids that changed or went.
        """
        query = "SELECT id FROM centroids"
        if mean is not None:  # a NULL among the others would make NOT IN true of nothing
            query += " WHERE id NOT IN (SELECT centroid FROM gates WHERE centroid IS NOT NULL)"
        numbers = [row[0] for row in connection.execute(query).fetchall()]
        if mean is None:
            connection.execute("DELETE FROM centroids")
        else:
            rows = [(self._form.encode(mean), number) for number in numbers]
            connection.executemany("UPDATE centroids SET gate = ? WHERE id = ?", rows)
        return numbers

    def nearest(self, gates: Array, centroids: Array) -> list[int | None]:
        """Number of the nearest centroid of every gate; None where there are no centroids."""
        if not len(centroids):
            return [None] * len(gates)
        return [int(number) for number in nearest_centroids(gates, centroids)]

    def _assign_all(self, connection: sqlite3.Connection, centroids: Array) -> None:
        if not len(centroids):
            connection.execute("UPDATE gates SET centroid = NULL WHERE centroid IS NOT NULL")
            return
        last = 0
        while rows := connection.execute(
            "SELECT id, gate FROM gates WHERE id > ? ORDER BY id LIMIT ?", (last, _AT_ONCE)
        ).fetchall():
            gates = np.stack([self._form.decode(blob) for _, blob in rows])
            numbers = zip(self.nearest(gates, centroids), (row[0] for row in rows), strict=True)
            connection.executemany("UPDATE gates SET centroid = ? WHERE id = ?", list(numbers))
            last = rows[-1][0]

    def _k_means(self, count: int, seed: int, sample: int) -> Array:
        with self._database.connection() as connection:
            ids = np.array([row[0] for row in connection.execute("SELECT id FROM gates")])
            if ids.size > sample:
                ids = np.sort(np.random.default_rng(seed).choice(ids, sample, replace=False))
            values = np.empty((ids.size, *self._form.shape), dtype=np.float32)
            used = 0
            for number in ids.tolist():
                row = connection.execute(
                    "SELECT gate FROM gates WHERE id = ?", (number,)
                ).fetchone()
                if row is not None:  # forgotten a moment ago
                    values[used] = self._form.decode(row[0])
                    used += 1
        return fit_centroids(values[:used], count, seed)
