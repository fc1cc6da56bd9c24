"""Forgetting a user in a store: weights, events, names, files, and means with the user in them.

What was removed is noted in the transaction that removes it, under a hash of the user, and crossed
out when no trace is left. So somebody whose forgetting was cut short (a kill, no room, a reader in
the way) can be forgotten again: the rest is done, and the whole answer is given.
"""

import hashlib
import json
import sqlite3
from dataclasses import asdict

from llmrec.adapters.adapter_files import AdapterFiles
from llmrec.adapters.clusters import Clusters
from llmrec.adapters.database import Database
from llmrec.adapters.gate_table import GateTable
from llmrec.adapters.issued import PERSONAL, IssuedNames, Origin
from llmrec.adapters.kept_events import KeptEvents
from llmrec.adapters.pins import Pins
from llmrec.adapters.priors import Priors
from llmrec.adapters.store_answers import Forgotten
from llmrec.adapters.user_keys import UserId, user_key


class HalfForgotten:
    """Users whose forgetting has begun and has not come to its end.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def has(self, user: UserId) -> bool:
        """Whether the user is one of them."""
        query = "SELECT 1 FROM forgetting WHERE who = ?"
        with self._database.connection() as connection:
            return connection.execute(query, (_who(user_key(user)),)).fetchone() is not None


def forget(
    database: Database,
    gates: GateTable,
    priors: Priors,
    events: KeptEvents,
    clusters: Clusters,
    issued: IssuedNames,
    pins: Pins,
    files: AdapterFiles,
    user: UserId,
) -> Forgotten:
    """See :meth:`llmrec.adapters.store.AdapterStore.forget`; the parts are the store's.

    A fixed mean over few is not far from each of them, and over one it is that one. So means with
    the user in them are fixed anew, and names and adapters of the old ones go. A centroid that
    stood for the user alone becomes the mean over those who are left.
    """
    key = user_key(user)
    who = _who(key)
    with database.making():
        with database.transaction() as connection:
            means = priors.means_with(connection, key)
            had_gate = gates.delete(connection, user)
            known = priors.delete(connection, key) or had_gate
            known = events.delete(connection, key) or known
            origins = [Origin(kind, key) for kind in PERSONAL]
            if had_gate:
                priors.fix_again(connection, means)
                origins += [Origin("group" if name else "prior", name) for name in means]
                empty = clusters.without_users(connection, priors.present_mean(connection))
                origins += [Origin("centroid", str(number)) for number in empty]
            void = issued.void(connection, origins)
            in_use = files.in_use(void)  # pinned by others, too
            known = pins.delete(connection, key, void) or known
            done = _noted(connection, who, Forgotten(known, tuple(void), tuple(in_use)))
            files.strike(connection, void)
        files.remove_strays()
        database.rewrite()
        with database.transaction() as connection:
            connection.execute("DELETE FROM forgetting WHERE who = ?", (who,))
        database.tidy()
    return done


def _who(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _noted(connection: sqlite3.Connection, who: str, found: Forgotten) -> Forgotten:
    """What was found now and in attempts before that did not come to an end; written down."""
    row = connection.execute("SELECT answer FROM forgetting WHERE who = ?", (who,)).fetchone()
    if row is not None:
        before = json.loads(row[0])
        found = Forgotten(
            found.known or before["known"],
            tuple(sorted({*found.removed, *before["removed"]})),
            tuple(sorted({*found.in_use, *before["in_use"]})),
        )
    answer = json.dumps(asdict(found))
    connection.execute("INSERT OR REPLACE INTO forgetting VALUES (?, ?)", (who, answer))
    return found
