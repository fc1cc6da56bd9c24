"""Intent contrast (ICSRec, Qin et al. 2024) on the same anchors, without any text.

Coarse: sequences of different users that are followed by the same item share an intent. Fine: a
sequence belongs to the centroid of its cluster among all training sequences.
"""

import numpy as np
import torch
from torch import Tensor

from llmrec.recommenders.sasrec.windows import SequenceBatch
from llmrec.recommenders.sra_cl.contrast import Contrast
from llmrec.recommenders.sra_cl.events import Int64Array, TrainingEvents
from llmrec.recommenders.sra_cl.neighbor_states import NeighborStates
from llmrec.recommenders.sra_cl.objective import Anchors, Drawn, Objective, Step

_TRIES = 8  # draws of a partner before an anchor is left out
_FIRST_ROUNDS, _LATER_ROUNDS = 20, 5  # of k-means, from random rows and from earlier centroids
_CELLS_AT_ONCE = 1 << 24


class CoarseIntent(Objective):
    """A sequence against another user's sequence with the same next item.

    Anchors whose next item no other user has after a sequence are left out.

    Args:
        events: The training events.
        states: Where the partners' states come from.
        weight: Factor in the total loss.
        first_epoch: When it begins.
        temperature: Of its InfoNCE.
    """

    name = "coarse_intent"

    def __init__(
        self,
        events: TrainingEvents,
        states: NeighborStates,
        weight: float,
        first_epoch: int,
        temperature: float,
    ) -> None:
        super().__init__(weight, first_epoch, temperature)
        self._users = events.users
        self._states = states
        self._by_target = np.argsort(events.targets, kind="stable")
        counts = np.bincount(events.targets)
        self._first = np.cumsum(counts) - counts
        self._counts = counts

    def draw(self, batch: SequenceBatch, anchors: Anchors, generator: np.random.Generator) -> Drawn:
        """A partner for every anchor that has one."""
        partners = self._partners(anchors.users.numpy(), anchors.targets.numpy(), generator)
        chosen = np.flatnonzero(partners >= 0)
        return {"chosen": torch.from_numpy(chosen), **self._states.prepare(partners[chosen])}

    def forward(self, step: Step, drawn: Drawn) -> Contrast:
        """Anchors against their partners."""
        chosen = drawn["chosen"]
        partners = self._states.read(step, drawn)
        return Contrast(step.anchor_states[chosen], partners, step.mask_of(chosen))

    def _partners(
        self, users: Int64Array, targets: Int64Array, generator: np.random.Generator
    ) -> Int64Array:
        """``[n]`` rows with the same target and another user, -1 where none was found."""
        found = np.full(users.size, -1, dtype=np.int64)
        for _ in range(_TRIES):
            open_ = np.flatnonzero(found < 0)
            within = (generator.random(open_.size) * self._counts[targets[open_]]).astype(np.int64)
            rows = self._by_target[self._first[targets[open_]] + within]
            fits = self._users[rows] != users[open_]
            found[open_[fits]] = rows[fits]
        return found


class FineIntent(Objective):
    """A sequence against the centroid of its cluster.

    Clusters are fitted before every epoch, beginning with the centroids of the one before.

    Args:
        n_events: Training events.
        dim: Width of the states.
        clusters: Number of centroids.
        seed: Of the clustering.
        mask: Leave out anchors of the same cluster as negatives.
        weight: Factor in the total loss.
        first_epoch: When it begins.
        temperature: Of its InfoNCE.
    """

    name = "fine_intent"
    needs_states = True
    centroids: Tensor
    assigned: Tensor

    def __init__(
        self,
        n_events: int,
        dim: int,
        clusters: int,
        seed: int,
        mask: bool,
        weight: float,
        first_epoch: int,
        temperature: float,
    ) -> None:
        super().__init__(weight, first_epoch, temperature)
        self._seed = seed
        self._mask = mask
        self.register_buffer("centroids", torch.zeros(clusters, dim))
        self.register_buffer("assigned", torch.zeros(n_events, dtype=torch.int64))

    def start_epoch(self, states: Tensor) -> None:
        """Cluster the states of all training events."""
        rounds = _LATER_ROUNDS
        if not self.centroids.any():
            rounds, n = _FIRST_ROUNDS, len(self.centroids)
            drawn = np.random.default_rng([self._seed, 37]).choice(len(states), n, replace=False)
            self.centroids.copy_(states[torch.from_numpy(drawn).to(states.device)])
        for _ in range(rounds):
            _move_to_means(self.centroids, states, _nearest(states, self.centroids))
        self.assigned.copy_(_nearest(states, self.centroids))

    def forward(self, step: Step, drawn: Drawn) -> Contrast:
        """Anchors against their centroids."""
        clusters = self.assigned[step.anchors.events]
        alike = None
        if self._mask:
            alike = clusters.unsqueeze(0) == clusters.unsqueeze(1)
        return Contrast(step.anchor_states, self.centroids[clusters], alike)


def _nearest(rows: Tensor, centroids: Tensor) -> Tensor:
    """``[n]`` the nearest centroid of every row ``[n, d]``."""
    halves = centroids.square().sum(1) / 2
    step = max(1, _CELLS_AT_ONCE // len(centroids))
    parts = (part @ centroids.T - halves for part in torch.split(rows, step))
    return torch.cat([each.argmax(1) for each in parts])


def _move_to_means(centroids: Tensor, rows: Tensor, assigned: Tensor) -> None:
    """Overwrite centroids with the means of their rows; one without rows stays where it is."""
    counts = torch.bincount(assigned, minlength=len(centroids)).unsqueeze(1)
    sums = torch.zeros_like(centroids).index_add_(0, assigned, rows)
    centroids.copy_(torch.where(counts > 0, sums / counts.clamp_min(1), centroids))
