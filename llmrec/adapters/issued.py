"""Which adapter names were handed out, and whose weights each stands for.

A name is a hash and tells nothing by itself, so whoever comes with one later (a server whose copy
went, for instance) is answered from here. Names of forgotten users are void.
"""

import sqlite3
from collections.abc import Iterable
from typing import Literal, NamedTuple

from llmrec.adapters.database import Database

Found = Literal["user", "centroid", "profile", "group", "prior", "even"]

PERSONAL: tuple[Found, ...] = ("user", "profile")
"""Kinds of weights that belong to one user."""


class Origin(NamedTuple):
    """What a name stands for.

    Attributes:
        found: The kind of weights.
        whose: Key of the user, name of the group, or number of the centroid, as text.
    """

    found: Found
    whose: str


class IssuedNames:
    """The register of names.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, origin: Origin) -> bool:
        """Remember a name; it may stand for several people's equal weights.

        Returns:
            Whether it stands: False for weights of somebody who was forgotten a moment ago.
        """
        if self.has(name, origin):
            return True
        known = "1"
        if origin.found in PERSONAL:
            table = {"user": "gates", "profile": "profiles"}[origin.found]
            known = f"EXISTS (SELECT 1 FROM {table} WHERE user = ?2)"
        with self._database.transaction() as connection:
            connection.execute(
                f"INSERT OR IGNORE INTO issued SELECT ?1, ?3, ?2 WHERE {known}",
                (name, origin.whose, origin.found),
            )
        return self.has(name, origin)

    def has(self, name: str, origin: Origin) -> bool:
        """Whether a name still stands for this."""
        query = "SELECT 1 FROM issued WHERE name = ? AND found = ? AND whose = ?"
        with self._database.connection() as connection:
            return connection.execute(query, (name, *origin)).fetchone() is not None

    def origins(self, name: str) -> list[Origin]:
        """What a name stands for; nothing where it was never issued, or is void."""
        with self._database.connection() as connection:
            rows = connection.execute("SELECT found, whose FROM issued WHERE name = ?", (name,))
            return [Origin(*row) for row in rows.fetchall()]

    def of_user(self, key: str) -> list[str]:
        """Names that stand for this user's weights, whoever else's they are."""
        query = "SELECT DISTINCT name FROM issued WHERE whose = ? AND found IN (?, ?)"
        with self._database.connection() as connection:
            return [row[0] for row in connection.execute(query, (key, *PERSONAL)).fetchall()]

    def personal(self) -> list[str]:
        """All names that stand for single users."""
        query = "SELECT DISTINCT name FROM issued WHERE found IN (?, ?)"
        with self._database.connection() as connection:
            return [row[0] for row in connection.execute(query, PERSONAL).fetchall()]

    def void(self, connection: sqlite3.Connection, origins: Iterable[Origin]) -> list[str]:
        """Let names stand for these no more, in a transaction; old versions included.

        Returns:
            The names that stand for nothing now.
        """
        names: set[str] = set()
        for origin in origins:
            these = "FROM issued WHERE found = ? AND whose = ?"
            names.update(row[0] for row in connection.execute(f"SELECT name {these}", origin))
            connection.execute(f"DELETE {these}", origin)
        query = "SELECT 1 FROM issued WHERE name = ?"
        return [n for n in sorted(names) if not connection.execute(query, (n,)).fetchone()]
