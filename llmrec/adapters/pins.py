"""Which adapters each user's pin keeps on disk, so that undoing it lets go of exactly these.

What serves a user changes (new gates, clusters, a mean instead of nothing), and with it the name
that was pinned; so names are noted. A name that several have pinned stays until the last lets go.
"""

import sqlite3
from collections.abc import Iterable

from llmrec.adapters.database import Database
from llmrec.adapters.user_keys import UserId, user_key


class Pins:
    """Pinned names by user.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: UserId, name: str) -> bool:
        """Keep an adapter whatever the budget and its age; False where it is not registered."""
        query = "UPDATE adapters SET pinned = 1 WHERE name = ?"
        with self._database.transaction() as connection:
            there = connection.execute(query, (name,)).rowcount > 0
            if there:
                row = (user_key(user), name)
                connection.execute("INSERT OR IGNORE INTO pins VALUES (?, ?)", row)
        return there

    def remove(self, user: UserId, names: Iterable[str] = ()) -> None:
        """Let go of what a user has pinned, where nobody else has.

        Args:
            user: The id.
            names: The user's in any case: stores had pins before it was noted whose they are.
        """
        with self._database.transaction() as connection:
            self._remove(connection, user_key(user), names)

    def has(self, user: UserId) -> bool:
        """Whether a user has pinned anything."""
        query = "SELECT 1 FROM pins WHERE user = ? LIMIT 1"
        with self._database.connection() as connection:
            return connection.execute(query, (user_key(user),)).fetchone() is not None

    def delete(self, connection: sqlite3.Connection, key: str, void: Iterable[str]) -> bool:
        """Remove a forgotten user's pins, and everybody's of void names, in a transaction.

        Returns:
            Whether the user had any.
        """
        had = self._remove(connection, key)
        connection.executemany("DELETE FROM pins WHERE name = ?", [(name,) for name in void])
        return had

    def _remove(self, connection: sqlite3.Connection, key: str, names: Iterable[str] = ()) -> bool:
        rows = connection.execute("SELECT name FROM pins WHERE user = ?", (key,)).fetchall()
        connection.execute("DELETE FROM pins WHERE user = ?", (key,))
        connection.executemany(
            "UPDATE adapters SET pinned = 0 WHERE name = ?1 "
            "AND NOT EXISTS (SELECT 1 FROM pins WHERE name = ?1)",
            [(name,) for name in {*names, *(row[0] for row in rows)}],
        )
        return bool(rows)
