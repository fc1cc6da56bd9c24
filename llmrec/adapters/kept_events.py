"""Events that came after the training, kept with the gates that were computed from them.

A trained model knows the events of its training only. Whoever refreshes gates day by day brings
the new events of one day; those of earlier days are here, so that no gate forgets them.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from llmrec.adapters.database import Database
from llmrec.adapters.user_keys import UserId, user_key, user_of

_KEYS_PER_QUERY = 500
_COLUMNS = ("item_id", "timestamp", "rating", "label")


class KeptEvents:
    """Events by user.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __len__(self) -> int:
        with self._database.connection() as connection:
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])

    def waiting(self) -> list[UserId]:
        """Users with events that no gate was computed from yet."""
        with self._database.connection() as connection:
            rows = connection.execute("SELECT DISTINCT user FROM events WHERE NOT read").fetchall()
        return [user_of(row[0]) for row in rows]

    def of(self, users: Iterable[UserId]) -> list[dict[str, Any]]:
        """Events of some users, in the order in which they were kept.

        Returns:
            Rows with ``user_id``, ``item_id``, ``timestamp``, ``rating``, ``label`` (None where
            an event has none) and ``read``: whether a gate was computed from it.
        """
        keys = [user_key(user) for user in users]
        found: list[tuple[Any, ...]] = []
        with self._database.connection() as connection:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                part = keys[start : start + _KEYS_PER_QUERY]
                query = (
                    "SELECT id, user, item, time, rating, label, read FROM events "
                    f"WHERE user IN ({','.join('?' * len(part))})"
                )
                found += connection.execute(query, part).fetchall()
        names = ("user_id", *_COLUMNS, "read")
        return [
            dict(zip(names, (user_of(key), *rest), strict=True))
            for _, key, *rest in sorted(found, key=lambda row: row[0])
        ]

    def add(self, events: pl.DataFrame, read: Sequence[UserId]) -> None:
        """Keep events, and note whose gates are up to date with all that is kept of them.

        Args:
            events: ``user_id``, ``item_id`` and, where there are any, ``timestamp``, ``rating`` and
                ``label``.
            read: Users whose gates were computed from all their events.
        """
        keys, there = [user_key(user) for user in events["user_id"].to_list()], events.columns
        columns = [events[n].to_list() if n in there else [None] * len(keys) for n in _COLUMNS]
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO events (user, item, time, rating, label, read) "
                "VALUES (?, ?, ?, ?, ?, 0)",
                zip(keys, *columns, strict=True),
            )
            connection.executemany(
                "UPDATE events SET read = 1 WHERE user = ? AND NOT read",
                [(user_key(user),) for user in read],
            )

    def has(self, user: UserId) -> bool:
        """Whether events of a user are kept."""
        query = "SELECT 1 FROM events WHERE user = ? LIMIT 1"
        with self._database.connection() as connection:
            return connection.execute(query, (user_key(user),)).fetchone() is not None

    def delete(self, connection: sqlite3.Connection, key: str) -> bool:
        """Remove a user's events in a transaction; whether there were any."""
        return connection.execute("DELETE FROM events WHERE user = ?", (key,)).rowcount > 0
