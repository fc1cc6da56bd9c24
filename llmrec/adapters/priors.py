"""What users without gate weights get: their profile's, their group's, or everybody's mean.

The order is that of reclora.md 5.2. Means are fixed rather than followed, so that the adapters
made of them keep their names; everybody's is fixed anew when the number of users has doubled.
When a user is forgotten, the means that the user was in are fixed anew over those who are left.
"""

import sqlite3
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llmrec.adapters.database import Database
from llmrec.adapters.gate_format import Array, GateFormat
from llmrec.adapters.user_keys import UserId, user_key
from llmrec.errors import DataError

_EVERYBODY = ""
_AT_ONCE = 2_000

Kind = Literal["profile", "group", "prior"]
Mean = tuple[int, npt.NDArray[np.float64]]
"""Number of users, and the mean ``[gates, blocks]`` of their weights."""


class Fallback(NamedTuple):
    """Weights for somebody who has none.

    Attributes:
        gate: ``[gates, blocks]``.
        kind: Where they come from.
        whose: The user's key for a profile, the group's name, or nothing.
    """

    gate: Array
    kind: Kind
    whose: str


class Priors:
    """Means, groups and profiles.

    Args:
        database: Where.
        form: Shape and precision of weights.
    """

    def __init__(self, database: Database, form: GateFormat) -> None:
        self._database, self._form = database, form

    def of(self, user: UserId) -> Fallback | None:
        """What serves a user who has no gate; None where nobody has one."""
        key = user_key(user)
        with self._database.connection() as connection:
            row = connection.execute("SELECT gate FROM profiles WHERE user = ?", (key,)).fetchone()
            if row is not None:
                return Fallback(self._form.decode(row[0]), "profile", key)
            row = connection.execute(
                "SELECT p.gate, p.name FROM members m JOIN priors p ON p.name = m.name "
                "WHERE m.user = ?",
                (key,),
            ).fetchone()
        if row is not None:
            return Fallback(self._form.decode(row[0]), "group", row[1])
        everybody = self.everybody()
        return None if everybody is None else Fallback(everybody, "prior", _EVERYBODY)

    def profile(self, key: str) -> Array | None:
        """The weights of a profile by the user's key."""
        with self._database.connection() as connection:
            row = connection.execute("SELECT gate FROM profiles WHERE user = ?", (key,)).fetchone()
        return None if row is None else self._form.decode(row[0])

    def group(self, name: str) -> Array | None:
        """The prior of a group."""
        with self._database.connection() as connection:
            row = connection.execute("SELECT gate FROM priors WHERE name = ?", (name,)).fetchone()
        return None if row is None else self._form.decode(row[0])

    def everybody(self) -> Array | None:
        """The fixed mean over all users, fixed now if there is none or users have doubled."""
        with self._database.connection() as connection:
            fixed = connection.execute(
                "SELECT users, gate FROM priors WHERE name = ?", (_EVERYBODY,)
            ).fetchone()
            row = connection.execute("SELECT users FROM sums").fetchone()
        users = 0 if row is None else row[0]
        if fixed is not None and users < 2 * fixed[0]:
            return self._form.decode(fixed[1])
        if not users:
            return None
        self._fix_everybody()
        return self.group(_EVERYBODY)

    def mean(self) -> Array | None:
        """Mean over all users with gates now, or None where there is nobody."""
        with self._database.connection() as connection:
            return self.present_mean(connection)

    def present_mean(self, connection: sqlite3.Connection) -> Array | None:
        """As :meth:`mean`, inside a transaction."""
        found = self._mean(connection)
        return None if found is None else found[1].astype(np.float32)

    def fix(self) -> None:
        """Take present means as what strangers get: everybody's, and those of groups."""
        self._fix_everybody()
        means = self._group_means()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM priors WHERE name != ?", (_EVERYBODY,))
            connection.executemany(
                "INSERT INTO priors VALUES (?, ?, ?)",
                [(name, users, self._form.encode(gate)) for name, (users, gate) in means.items()],
            )

    def fix_everybody_at(self, gate: npt.ArrayLike, users: int) -> None:
        """Take given weights as everybody's mean, until there are twice as many users.

        Args:
            gate: ``[gates, blocks]``.
            users: How many users they are the mean of.

        Raises:
            DataError: As :meth:`GateTable.put`.
        """
        stored = self._form.checked(np.asarray(gate)[None], ["the mean"])
        with self._database.transaction() as connection:
            self._replace(connection, _EVERYBODY, (max(users, 1), stored[0].astype(np.float64)))

    def put_profiles(self, users: Sequence[UserId], gates: npt.ArrayLike) -> None:
        """Weights made of what is known of people before their first event.

        Args:
            users: Different ids.
            gates: ``[n, gates, blocks]``.

        Raises:
            DataError: As :meth:`GateTable.put`.
        """
        keys = [user_key(user) for user in users]
        stored = self._form.checked(gates, [f"user {key}" for key in keys])
        rows = [(key, gate.tobytes()) for key, gate in zip(keys, stored, strict=True)]
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?)", rows)

    def put_groups(self, users: Sequence[UserId], groups: Sequence[str]) -> None:
        """Say which group people belong to, for instance by age or by what they signed up for.

        The mean of a group that somebody leaves stays as it was fixed; forgetting them reaches it.

        Raises:
            DataError: The lengths differ, or a group has no name.
        """
        if len(users) != len(groups):
            raise DataError(f"{len(users)} users were given with {len(groups)} groups.")
        if not all(isinstance(group, str) and group for group in groups):
            raise DataError("a group has no name; leave out users who belong to none.")
        rows = [(user_key(user), group) for user, group in zip(users, groups, strict=True)]
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO former SELECT user, name FROM members "
                "WHERE user = ? AND name != ?",
                rows,
            )
            connection.executemany("INSERT OR REPLACE INTO members VALUES (?, ?)", rows)

    def has(self, user: UserId) -> bool:
        """Whether a profile or a group of the user is stored."""
        query = "SELECT 1 FROM profiles WHERE user = ?1 UNION SELECT 1 FROM members WHERE user = ?1"
        with self._database.connection() as connection:
            return connection.execute(query, (user_key(user),)).fetchone() is not None

    def delete(self, connection: sqlite3.Connection, key: str) -> bool:
        """Remove a user's profile and memberships in a transaction; whether there was one."""
        deleted = 0
        for table in ("profiles", "members", "former"):
            deleted += connection.execute(f"DELETE FROM {table} WHERE user = ?", (key,)).rowcount
        return deleted > 0

    def means_with(self, connection: sqlite3.Connection, key: str) -> list[str]:
        """Names of the fixed means that a user with a gate may be in: everybody's, and groups'."""
        rows = connection.execute(
            "SELECT name FROM priors WHERE name = ?1 OR name IN (SELECT name FROM members "
            "WHERE user = ?2 UNION SELECT name FROM former WHERE user = ?2)",
            (_EVERYBODY, key),
        )
        return [row[0] for row in rows.fetchall()]

    def fix_again(self, connection: sqlite3.Connection, names: Sequence[str]) -> None:
        """Fix some means anew in a transaction; one that nobody is left in goes."""
        for name in names:
            everybody = name == _EVERYBODY
            found = self._mean(connection) if everybody else self._group_mean(connection, name)
            self._replace(connection, name, found)

    def _fix_everybody(self) -> None:
        with self._database.transaction() as connection:
            self._replace(connection, _EVERYBODY, self._mean(connection))

    def _replace(self, connection: sqlite3.Connection, name: str, found: Mean | None) -> None:
        connection.execute("DELETE FROM priors WHERE name = ?", (name,))
        if found is not None:
            row = (name, found[0], self._form.encode(found[1]))
            connection.execute("INSERT INTO priors VALUES (?, ?, ?)", row)

    def _mean(self, connection: sqlite3.Connection) -> Mean | None:
        row = connection.execute("SELECT users, gate FROM sums").fetchone()
        if row is None or row[0] == 0:
            return None
        return row[0], np.frombuffer(row[1]).reshape(self._form.shape) / row[0]

    def _group_mean(self, connection: sqlite3.Connection, name: str) -> Mean | None:
        users, total = 0, np.zeros(self._form.shape)
        query = "SELECT g.gate FROM members m JOIN gates g ON g.user = m.user WHERE m.name = ?"
        for (blob,) in connection.execute(query, (name,)):
            users, total = users + 1, total + self._form.decode(blob)
        return (users, total / users) if users else None

    def _group_means(self) -> dict[str, Mean]:
        found: dict[str, Mean] = {}
        last = ""
        while True:
            with self._database.connection() as connection:
                rows = connection.execute(
                    "SELECT m.user, m.name, g.gate FROM members m LEFT JOIN gates g "
                    "ON g.user = m.user WHERE m.user > ? ORDER BY m.user LIMIT ?",
                    (last, _AT_ONCE),
                ).fetchall()
            if not rows:
                return {name: (users, total / users) for name, (users, total) in found.items()}
            for _, name, blob in rows:
                if blob is not None:
                    users, total = found.get(name, (0, np.zeros(self._form.shape)))
                    found[name] = (users + 1, total + self._form.decode(blob))
            last = rows[-1][0]


def add_to_sums(
    connection: sqlite3.Connection, users: int, change: npt.NDArray[np.float64]
) -> None:
    """Keep the sum over all users: ``users`` more of them, ``change [gates, blocks]`` in total."""
    row = connection.execute("SELECT users, gate FROM sums").fetchone()
    count, total = (0, np.zeros(change.shape)) if row is None else row
    if row is not None:
        total = np.frombuffer(total).reshape(change.shape)
    left = total + change if count + users else np.zeros(change.shape)  # rounding is a trace, too
    connection.execute("DELETE FROM sums")
    connection.execute("INSERT INTO sums VALUES (?, ?)", (count + users, left.tobytes()))


def shrunk(gates: npt.ArrayLike, towards: Array, events: npt.ArrayLike, strength: float) -> Array:
    """Draw the weights of users with few events to the mean: ``l a + (1 - l) mean``.

    ``l = n / (n + strength)`` with ``n`` events (reclora.md 5.2).

    Args:
        gates: ``[n, gates, blocks]``.
        towards: ``[gates, blocks]``.
        events: ``[n]`` events of each user.
        strength: Events at which a user's own weights count half; 0 leaves them as they are.

    Raises:
        DataError: A number of events is negative, or there are not n of them.

    >>> shrunk([[[1.0, 0.0]]], np.array([[0.5, 0.5]], np.float32), [3], 1.0).tolist()
    [[[0.875, 0.125]]]
    """
    own, counts = np.asarray(gates, np.float32), np.asarray(events, np.float32)
    if counts.shape != own.shape[:1] or (counts < 0).any():
        raise DataError("events must be one number of events, 0 or more, for each row of gates.")
    if not strength:
        return own
    share = (counts / (counts + strength))[:, None, None]
    return np.asarray(share * own + (1 - share) * towards, np.float32)
