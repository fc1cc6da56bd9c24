"""Intra-user contrast: a sequence against itself with some items replaced by similar ones.

SRA-CL, section 3.3: each event is replaced, with a given probability, by an item drawn uniformly
from the neighbours of its text.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.recommenders.sasrec.windows import SequenceBatch
from llmrec.recommenders.sra_cl.contrast import Contrast
from llmrec.recommenders.sra_cl.objective import Anchors, Drawn, Objective, Step


class Substitution:
    """Replaces items by neighbours.

    Args:
        neighbors: ``[items, k]`` int32 row numbers of similar items (code minus 1), used ones
            first, -1 after them.
        probability: Of replacing an item that has a neighbour.
    """

    def __init__(self, neighbors: npt.NDArray[np.int32], probability: float) -> None:
        self._neighbors = neighbors
        self._counts = (neighbors >= 0).sum(1)
        self._probability = probability

    def __call__(
        self, items: npt.NDArray[np.int64], generator: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Item codes ``[n]`` to item codes ``[n]``."""
        rows = items - 1
        counts = self._counts[rows]
        replaced = (generator.random(items.size) < self._probability) & (counts > 0)
        choice = (generator.random(items.size) * counts).astype(np.int64)
        return np.where(replaced, self._neighbors[rows, choice] + 1, items)


class IntraUser(Objective):
    """The loss that the paper weights with beta.

    Args:
        substitution: Makes a view of a sequence.
        views: 1 compares the states of the next-item loss with one view, 2 compares two views.
        weight: Factor in the total loss.
        first_epoch: When it begins.
        temperature: Of its InfoNCE.
    """

    name = "intra_user"

    def __init__(
        self,
        substitution: Substitution,
        views: int,
        weight: float,
        first_epoch: int,
        temperature: float,
    ) -> None:
        super().__init__(weight, first_epoch, temperature)
        self._substitution = substitution
        self._views = views

    def draw(self, batch: SequenceBatch, anchors: Anchors, generator: np.random.Generator) -> Drawn:
        """The items of the views."""
        items = batch.items.numpy()
        views = [self._substitution(items, generator) for _ in range(self._views)]
        return {f"view_{number}": torch.from_numpy(view) for number, view in enumerate(views)}

    def views(self, drawn: Drawn) -> Sequence[Tensor]:
        """All of them."""
        return list(drawn.values())

    def forward(self, step: Step, drawn: Drawn) -> Contrast:
        """Anchors against the same positions of a view."""
        encoded = [
            step.encode_view(items).index_select(0, step.anchors.at) for items in drawn.values()
        ]
        first = encoded[0] if self._views > 1 else step.anchor_states
        return Contrast(first, encoded[-1], step.mask)
