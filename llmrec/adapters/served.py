"""Which weights serve a user: their own, their cluster's, or the first fallback that there is.

The order for users without weights is that of reclora.md 5.2: a profile, the mean of their group,
the mean of everybody, even weights (one adapter that all share).
"""

from collections.abc import Iterator
from typing import NamedTuple

from llmrec.adapters.clusters import Clusters
from llmrec.adapters.gate_format import Array
from llmrec.adapters.gate_table import GateTable
from llmrec.adapters.issued import Found, Origin
from llmrec.adapters.priors import Priors
from llmrec.adapters.user_keys import UserId, user_key, user_of

FOUND: tuple[Found, ...] = ("user", "centroid", "profile", "group", "prior", "even")
FALLBACKS: tuple[Found, ...] = ("profile", "group", "prior", "even")
"""What serves a user without gate weights, in this order."""


class Served(NamedTuple):
    """The weights that serve a user.

    Attributes:
        weights: ``[gates, blocks]``.
        origin: Whose they are.
        version: Version of the user's gate, 0 for somebody without one.
    """

    weights: Array
    origin: Origin
    version: int


class ServedWeights:
    """Looks weights up, by user or by what a name stands for.

    Args:
        gates: Weights of users.
        clusters: Centroids.
        priors: Weights for those without any.
        even: ``[gates, blocks]``, the last resort.
    """

    def __init__(self, gates: GateTable, clusters: Clusters, priors: Priors, even: Array) -> None:
        self._gates, self._clusters, self._priors, self._even = gates, clusters, priors, even

    def of(self, user: UserId, exact: bool = False) -> Served:
        """What serves a user; ``exact`` leaves clusters aside."""
        found = self._gates.get_with_centroid(user)
        if found is None:
            return self._fallback(user)
        row, centroid = found
        if centroid is None or exact:
            return Served(row.gate, Origin("user", user_key(user)), row.version)
        return Served(centroid, Origin("centroid", str(row.centroid)), row.version)

    def candidates(self, origin: Origin) -> Iterator[tuple[Array, int]]:
        """Weights and versions that a name with this origin may stand for, the newest first."""
        found, whose = origin
        if found == "user":
            for row in self._gates.versions(user_of(whose)):
                yield row.gate, row.version
            return
        weights = self._unowned(found, whose)
        if weights is not None:
            yield weights, 0

    def _unowned(self, found: Found, whose: str) -> Array | None:
        if found == "centroid":
            return self._clusters.get(int(whose))
        if found == "profile":
            return self._priors.profile(whose)
        return self._even if found == "even" else self._priors.group(whose)

    def _fallback(self, user: UserId) -> Served:
        fallback = self._priors.of(user)
        if fallback is None:
            return Served(self._even, Origin("even", ""), 0)
        return Served(fallback.gate, Origin(fallback.kind, fallback.whose), 0)
