"""SASRec's loss with contrastive objectives added to it.

``L = L_next + sum of weight * L_objective``, every term a mean, as in the SRA-CL paper's equation
for its total. Without objectives this is SASRec's loss and nothing else.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from llmrec.recommenders.sasrec.loss import NextItemLoss
from llmrec.recommenders.sra_cl.bank import SlowCopy, StateBank, encode_events
from llmrec.recommenders.sra_cl.batches import ContrastBatch
from llmrec.recommenders.sra_cl.contrast import info_nce
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.objective import Objective, Step


class ContrastiveLoss(nn.Module):
    """What the training loop trains.

    Args:
        next_item: SASRec's loss with the encoder in it.
        objectives: The contrastive terms.
        events: The training events.
        bank: States of the training events, or None where no objective reads it.
        slow: A slow copy of the encoder that fills the bank, or None.
        write_through: Whether every step overwrites the bank's rows that it computed.
        refresh_every: Epochs between full refreshes of the bank.
        mask_alike: Hide anchors of one user or with one target from each other's negatives.
    """

    epoch: Tensor
    sums: Tensor

    def __init__(
        self,
        next_item: NextItemLoss,
        objectives: Sequence[Objective],
        events: TrainingEvents,
        bank: StateBank | None,
        slow: SlowCopy | None,
        write_through: bool,
        refresh_every: int,
        mask_alike: bool,
    ) -> None:
        super().__init__()
        self.next_item = next_item
        self._objectives = tuple(objectives)
        self.objectives = nn.ModuleList(objectives)  # so that their weights are trained
        self.bank = bank
        self.slow = slow
        self._events = events
        self._write_through = write_through
        self._refresh_every = refresh_every
        self._mask_alike = mask_alike
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self._now = 0  # the same on the host: asking a GPU in every step would wait for it
        self.register_load_state_dict_post_hook(_after_loading)  # type: ignore[no-untyped-call]
        # one sum of losses per objective, then the targets they were taken over, then staleness
        sums = torch.zeros(len(objectives) + 2, dtype=torch.float64)
        self.register_buffer("sums", sums)
        trained = {name for name, _ in self.named_parameters()}
        lasting = {name for name in trained if not name.startswith("slow.")}
        self.scratch_state = frozenset(self.state_dict().keys() - lasting)

    def forward(self, batch: ContrastBatch) -> Tensor:
        """Summed loss of a batch: the mean contrastive losses count once per target."""
        base = batch.base
        states, views = self._encode(batch)
        total = self.next_item.of_states(states, base)
        total = total + base.n_targets * self._contrast(states, views, batch)
        if self.bank is not None and self.training:
            self._fill(states, batch)
        return total

    def start_epoch(self, epoch: int) -> None:
        """Refresh the bank and let objectives prepare."""
        self.epoch.fill_(epoch)
        self._now = epoch
        self.sums.zero_()
        active = self._active()
        needing = [each for each in active if each.needs_states]
        refresh = self._is_refresh_due(epoch, active)
        if not needing and not refresh:
            return
        encoder = self.next_item.encoder
        states = encode_events(encoder, self._events, encoder.config.max_length)
        if refresh and self.bank is not None:
            self.sums[-1] = self.bank.refresh(states)
        for each in needing:
            each.start_epoch(states)

    def end_epoch(self) -> Mapping[str, float]:
        """Mean loss of every objective, and how fresh the bank was before it was refreshed."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.sums[:-1])  # every process saw its own anchors
        *losses, n_targets, freshness = self.sums.tolist()
        figures = {
            f"loss_{each.name}": loss / n_targets
            for each, loss in zip(self._objectives, losses, strict=True)
            if n_targets and self._now >= each.first_epoch
        }
        return figures | ({"bank_freshness": freshness} if freshness else {})

    def _active(self) -> list[Objective]:
        return [each for each in self._objectives if each.first_epoch <= self._now]

    def _is_refresh_due(self, epoch: int, active: Sequence[Objective]) -> bool:
        if self.bank is None or not active:
            return False
        first = min(each.first_epoch for each in active)
        return (epoch - first) % self._refresh_every == 0

    def _encode(self, batch: ContrastBatch) -> tuple[Tensor, dict[int, Tensor]]:
        """States of the batch, and of the views of active objectives, in one pass."""
        encoder, base = self.next_item.encoder, batch.base
        if batch.with_views is None or not self._active():  # all begin in the same epoch
            return encoder(base.items, base.rows), {}
        made = zip(self._objectives, batch.drawn, strict=True)
        views = [view for objective, drawn in made for view in objective.views(drawn)]
        states = encoder(torch.cat([base.items, *views]), batch.with_views)
        own, *others = torch.split(states, len(base.items))
        return own, {id(view): part for view, part in zip(views, others, strict=True)}

    def _contrast(
        self, states: Tensor, views: Mapping[int, Tensor], batch: ContrastBatch
    ) -> Tensor:
        """The weighted sum of the active objectives' mean losses."""
        total = states.new_zeros(())
        active = self._active()
        if not active:
            # parameters of objectives that wait must still have a gradient for several processes
            return total + sum(p.sum() * 0 for p in self.objectives.parameters())
        mask = batch.anchors.alike() if self._mask_alike else None
        step = Step(self.next_item.encoder, batch.base, states, batch.anchors, mask, views)
        for number, objective in enumerate(self._objectives):
            if objective not in active:
                continue
            contrast = objective(step, batch.drawn[number])
            loss = info_nce(contrast, objective.temperature)
            total = total + objective.weight * loss
            self.sums[number] += loss.detach() * batch.n_targets
        self.sums[-2] += batch.n_targets
        return total

    @torch.no_grad()
    def _fill(self, states: Tensor, batch: ContrastBatch) -> None:
        """Overwrite the rows of this batch's targets."""
        assert self.bank is not None
        base = batch.base
        if self.slow is not None:
            self.slow.follow(self.next_item.encoder)
            states = self.slow(base.items, base.rows)
        elif not self._write_through:
            return
        self.bank.write(base.events[base.learn_at], states.index_select(0, base.learn_at).float())


def _after_loading(module: nn.Module, _: object) -> None:
    """Go on from a checkpoint: its sums are those of the process that wrote it, so of no other."""
    assert isinstance(module, ContrastiveLoss)
    module._now = int(module.epoch)
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_rank():
        module.sums[:-1] = 0
