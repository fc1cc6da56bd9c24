"""The interface of contrastive objectives, and what a training step offers them.

An objective names, for some anchors of the batch, a positive each and the pairs that are not
negatives; :func:`~llmrec.recommenders.sra_cl.contrast.info_nce` does the rest. It works in two
halves: ``draw`` makes its random choices from the step's own generator while the batch is put
together, ``forward`` turns them into states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec.recommenders.sasrec.encoder import PackedRows, SequenceEncoder
from llmrec.recommenders.sasrec.windows import SequenceBatch
from llmrec.recommenders.sra_cl.contrast import Contrast

Drawn = Mapping[str, Any]
"""Tensors and layouts of rows by name; all can be moved with ``to(device, non_blocking=True)``."""


@dataclass(frozen=True)
class Anchors:
    """Positions of a batch that take part in contrastive losses.

    Attributes:
        at: ``[n]`` int64 their flat positions in the batch.
        events: ``[n]`` int64 their rows among the training events.
        users: ``[n]`` int64 whose they are.
        targets: ``[n]`` int64 codes of the events that follow them.
    """

    at: Tensor
    events: Tensor
    users: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.at)

    def to(self, device: torch.device) -> "Anchors":
        """The same on another device."""
        moved = (self.at, self.events, self.users, self.targets)
        return Anchors(*(value.to(device, non_blocking=True) for value in moved))

    def alike(self) -> Tensor:
        """``[n, n]`` bool: of one user, or followed by the same item."""
        same_user = self.users.unsqueeze(0) == self.users.unsqueeze(1)
        same_target = self.targets.unsqueeze(0) == self.targets.unsqueeze(1)
        return same_user | same_target


@dataclass(frozen=True)
class Step:
    """What a training step offers to objectives.

    Attributes:
        encoder: The network under training.
        batch: The batch.
        states: ``[total, d]`` states of the batch's inputs, as the next-item loss used them.
        anchors: The chosen positions.
        mask: ``[n, n]`` bool pairs of anchors that are not negatives, or None.
        views: States of the views that objectives announced, by the identity of their items.
    """

    encoder: SequenceEncoder
    batch: SequenceBatch
    states: Tensor
    anchors: Anchors
    mask: Tensor | None
    views: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def anchor_states(self) -> Tensor:
        """``[n, d]`` states at the anchors."""
        return self.states.index_select(0, self.anchors.at)

    def encode(self, items: Tensor, rows: PackedRows) -> Tensor:
        """``[total, d]`` states of other sequences, with gradient."""
        states: Tensor = self.encoder(items, rows)
        return states

    def encode_view(self, items: Tensor) -> Tensor:
        """``[total, d]`` states of the batch's rows with other items in them."""
        known = self.views.get(id(items))
        return self.encode(items, self.batch.rows) if known is None else known

    def mask_of(self, chosen: Tensor) -> Tensor | None:
        """The mask of a subset of the anchors, ``chosen`` their row numbers."""
        return None if self.mask is None else self.mask[chosen][:, chosen]


class Objective(nn.Module):
    """A contrastive term of the loss.

    Args:
        weight: Its factor in the total loss, above 0.
        first_epoch: The epoch, from 0, in which it begins.
        temperature: Of its InfoNCE.

    Attributes:
        name: Under which its loss is logged.
        needs_states: Whether it is to be given fresh states of all training events every epoch.
    """

    name: str
    needs_states: bool = False

    def __init__(self, weight: float, first_epoch: int, temperature: float) -> None:
        super().__init__()
        self.weight = weight
        self.first_epoch = first_epoch
        self.temperature = temperature

    def start_epoch(self, states: Tensor) -> None:
        """Called before every epoch it takes part in, if it ``needs_states``.

        Args:
            states: ``[events, d]`` fresh states of all training events.
        """

    def draw(self, batch: SequenceBatch, anchors: Anchors, generator: np.random.Generator) -> Drawn:
        """Make this step's random choices; tensors that ``forward`` is given."""
        return {}

    def views(self, drawn: Drawn) -> Sequence[Tensor]:
        """Items of the views that ``forward`` will encode: they are encoded with the batch."""
        return ()

    def forward(self, step: Step, drawn: Drawn) -> Contrast:
        """The pairs of this step."""
        raise NotImplementedError
