"""Forgetting a user in a store: weights, events, names, files, and means with the user in them."""

from llmrec.adapters.adapter_files import AdapterFiles
from llmrec.adapters.clusters import Clusters
from llmrec.adapters.database import Database
from llmrec.adapters.gate_table import GateTable
from llmrec.adapters.issued import PERSONAL, IssuedNames, Origin
from llmrec.adapters.kept_events import KeptEvents
from llmrec.adapters.priors import Priors
from llmrec.adapters.store_answers import Forgotten
from llmrec.adapters.user_keys import UserId, user_key


def forget(
    database: Database,
    gates: GateTable,
    priors: Priors,
    events: KeptEvents,
    clusters: Clusters,
    issued: IssuedNames,
    files: AdapterFiles,
    user: UserId,
) -> Forgotten:
    """See :meth:`llmrec.adapters.store.AdapterStore.forget`; the parts are the store's.

    A fixed mean over few is not far from each of them, and over one it is that one. So means with
    the user in them are fixed anew, and names and adapters of the old ones go. A centroid that
    stood for the user alone becomes the mean over those who are left.
    """
    key = user_key(user)
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
        in_use = files.in_use(void)
        files.remove(void)
        database.rewrite()
    return Forgotten(known, tuple(void), tuple(in_use))
