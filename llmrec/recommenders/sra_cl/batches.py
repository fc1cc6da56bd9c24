"""Training batches with anchors and what the objectives drew for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from llmrec.recommenders.sasrec.encoder import PackedRows
from llmrec.recommenders.sasrec.windows import SequenceBatch, SequenceWindows
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.objective import Anchors, Drawn, Objective


@dataclass(frozen=True)
class ContrastBatch:
    """A batch of SASRec with anchors.

    Attributes:
        base: The batch.
        anchors: Positions that are contrasted.
        drawn: One entry per objective.
        with_views: Layout of the batch's rows followed by those of all views; None without views.
    """

    base: SequenceBatch
    anchors: Anchors
    drawn: tuple[Drawn, ...]
    with_views: PackedRows | None = None

    @property
    def n_targets(self) -> int:
        """Number of next-item loss terms."""
        return self.base.n_targets

    def to(self, device: torch.device) -> "ContrastBatch":
        """The same batch on another device."""
        drawn = tuple(
            {name: value.to(device, non_blocking=True) for name, value in each.items()}
            for each in self.drawn
        )
        layout = None if self.with_views is None else self.with_views.to(device)
        return ContrastBatch(self.base.to(device), self.anchors.to(device), drawn, layout)


class ContrastWindows:
    """SASRec's training rows, with anchors drawn among the positions that carry loss.

    Args:
        windows: The rows.
        events: The events that the windows were cut from.
        objectives: Who is to draw.
        n_anchors: Most anchors of a batch.
    """

    def __init__(
        self,
        windows: SequenceWindows,
        events: TrainingEvents,
        objectives: Sequence[Objective],
        n_anchors: int,
    ) -> None:
        self._windows = windows
        self._events = events
        self._objectives = tuple(objectives)
        self._n_anchors = n_anchors

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> ContrastBatch:
        """Collate rows, choose anchors, let the objectives draw."""
        base = self._windows.batch(rows, generator)
        anchors = self._anchors(base, generator)
        drawn = tuple(each.draw(base, anchors, generator) for each in self._objectives)
        made = zip(self._objectives, drawn, strict=True)
        n_views = sum(len(each.views(what)) for each, what in made)
        layout = base.rows.repeated(1 + n_views) if n_views else None
        return ContrastBatch(base, anchors, drawn, layout)

    def _anchors(self, base: SequenceBatch, generator: np.random.Generator) -> Anchors:
        learn_at = base.learn_at.numpy()
        if learn_at.size > self._n_anchors:
            chosen = generator.choice(learn_at.size, self._n_anchors, replace=False)
            learn_at = learn_at[np.sort(chosen)]
        events = base.events.numpy()[learn_at]
        return Anchors(
            torch.from_numpy(learn_at),
            torch.from_numpy(events),
            torch.from_numpy(self._events.users[events]),
            torch.from_numpy(self._events.targets[events]),
        )
