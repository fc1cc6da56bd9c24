r"""Next-token prediction and preferences in one loss, for the shared training loop.

    L = (1 / C) sum over codes of -log pi(code)  +  lambda (K / C) sum over pairs of l(pair)

with ``C`` codes that carry loss and ``K`` codes in a list: a pair weighs as much as the codes of
its list, whatever the batch is made of (OneRec, arXiv 2502.18965, equation 11, per code). The
losses ``l`` are those of :mod:`llmrec.recommenders.onerec.alignment.losses`.

Dropout is off where pairs are scored, and so is the training's lower precision, as they were for
the reference: before the first step the margin is 0 and the loss of dpo is log 2. Both stay on for
next-token prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from llmrec.data.ragged import offsets_of, span_indices
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
from llmrec.recommenders.onerec.alignment.losses import PairLogProbs, margins, preference_losses
from llmrec.recommenders.onerec.alignment.pairs import Pairs
from llmrec.recommenders.onerec.generator.rows import Int64Array, padded
from llmrec.recommenders.onerec.writer import Writer
from llmrec.training.batches import Batch, BatchSource
from llmrec.training.epochs import EpochAware

_WATCHED = ("pairs", "preference_loss", "chosen", "rejected", "margin", "accuracy")


@dataclass(frozen=True)
class PairBatch:
    """Pairs of a batch; there may be none.

    Attributes:
        history: ``[pairs, n]`` int64 item codes, 0 after the end.
        chosen: ``[pairs, m]`` int64 item codes.
        rejected: ``[pairs, m]`` int64 item codes.
        reference: ``[pairs, 2]`` float32 reference log-probabilities of both lists.
    """

    history: Tensor
    chosen: Tensor
    rejected: Tensor
    reference: Tensor

    def __len__(self) -> int:
        return len(self.chosen)

    def to(self, device: torch.device) -> "PairBatch":
        """The same pairs on another device."""
        tensors = (self.history, self.chosen, self.rejected, self.reference)
        return PairBatch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


@dataclass(frozen=True)
class AlignmentBatch:
    """Training rows as in supervised training, and the pairs dealt to them."""

    rows: Batch
    pairs: PairBatch

    @property
    def n_targets(self) -> int:
        """Number of codes that carry loss."""
        return self.rows.n_targets

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        return type(self)(self.rows.to(device), self.pairs.to(device))


class AlignmentRows:
    """Training rows with pairs, a source of batches.

    Pairs are dealt to rows by chance, once: an epoch sees every row and every pair once.

    Args:
        rows: The rows of supervised training.
        pairs: Pairs; their histories are cut to ``newest`` items.
        newest: Items of a history that the writer reads before a list.
        seed: Of the deal.
    """

    def __init__(self, rows: BatchSource, pairs: Pairs, newest: int, seed: int) -> None:
        self._rows = rows
        frame = pairs.frame
        lengths = frame["prompt"].list.len().to_numpy().astype(np.int64)
        flat = frame["prompt"].explode(empty_as_null=False).to_numpy().astype(np.int32)
        kept = np.minimum(lengths, newest)
        ends = offsets_of(lengths)[1:]
        self._items = flat[span_indices(ends - kept, kept)]
        self._lengths, self._starts = kept, offsets_of(kept)[:-1]
        self._chosen, self._rejected = (
            torch.from_numpy(frame[side].to_numpy().astype(np.int64))
            for side in ("chosen", "rejected")
        )
        names = ("ref_chosen_logps", "ref_rejected_logps")
        self._reference = torch.from_numpy(frame.select(names).to_numpy().astype(np.float32))
        dealt = np.random.default_rng(seed).permutation(frame.height) % len(rows)
        self._order = np.argsort(dealt, kind="stable")
        self._first = np.searchsorted(dealt[self._order], np.arange(len(rows) + 1))

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, rows: Int64Array, generator: np.random.Generator) -> AlignmentBatch:
        """Collate rows, and their pairs, in the order given."""
        first = self._first[rows]
        own = self._order[span_indices(first, self._first[rows + 1] - first)]
        pairs = PairBatch(
            padded(self._items, self._starts[own], self._lengths[own]),
            self._chosen[own],
            self._rejected[own],
            self._reference[own],
        )
        return AlignmentBatch(self._rows.batch(rows, generator), pairs)


class AlignedPolicy(nn.Module):
    """A network under the loss of the module; implements ``EpochAware``.

    Args:
        writer: The policy, whose network is trained in place.
        config: Loss, its settings and its weight.
    """

    totals: Tensor
    scratch_state = frozenset({"network.codes", "totals"})
    skips_parameters = True  # where a batch has no pairs

    def __init__(self, writer: Writer, config: AlignmentConfig) -> None:
        super().__init__()
        self._writer, self.config = writer, config
        self.network = writer.network
        # in a buffer, so that a training resumed half-way reports what it would have
        self.register_buffer("totals", torch.zeros(len(_WATCHED), dtype=torch.float64))

    def forward(self, batch: AlignmentBatch) -> Tensor:
        """The loss times the codes of the batch, a scalar."""
        loss: Tensor = self.network(batch.rows)
        if not len(batch.pairs):
            self._add(torch.zeros_like(self.totals))
            return loss
        pairs = self.pair_log_probabilities(batch.pairs)
        config = self.config
        losses = preference_losses(
            pairs,
            config.loss_type,
            config.beta,
            config.label_smoothing,
            config.gamma,
            config.rpo_alpha,
        )
        self._watch(pairs, losses)
        codes = batch.pairs.chosen.shape[1] * len(self._writer.sizes)
        return loss + config.weight * codes * losses.sum()

    def pair_log_probabilities(self, pairs: PairBatch) -> PairLogProbs:
        """Log-probabilities of both lists under the policy, with gradient, as of the reference.

        That is without dropout and in the precision of the weights: rounded to bf16, a list is off
        by more than a step changes it.
        """
        was_training, levels = self.network.training, len(self._writer.sizes)
        self.network.eval()
        with torch.autocast(pairs.chosen.device.type, enabled=False):
            both = self._writer.list_log_probabilities(
                torch.cat([pairs.history, pairs.history]),
                torch.cat([pairs.chosen, pairs.rejected]),
            )
        self.network.train(was_training)
        codes = [(side > 0).sum(1) * levels for side in (pairs.chosen, pairs.rejected)]
        chosen, rejected = both.chunk(2)
        return PairLogProbs(
            chosen, rejected, pairs.reference[:, 0], pairs.reference[:, 1], codes[0], codes[1]
        )

    def start_epoch(self, epoch: int) -> None:
        """Forget the figures of the epoch before."""
        self.totals.zero_()

    def end_epoch(self) -> Mapping[str, float]:
        """Means over the epoch's pairs: loss, log-probabilities, margin, share that is in order."""
        figures = dict(self.network.end_epoch()) if isinstance(self.network, EpochAware) else {}
        count = float(self.totals[0])
        if count:
            means = (self.totals[1:] / count).tolist()
            figures |= dict(zip(_WATCHED[1:], means, strict=True))
        return {"pairs": count, **figures}

    def _watch(self, pairs: PairLogProbs, losses: Tensor) -> None:
        with torch.no_grad():
            h = margins(pairs)
            sums = [losses, pairs.chosen, pairs.rejected, h, (h > 0).float()]
            count = self.totals.new_tensor([float(len(losses))])
            self._add(torch.cat([count, torch.stack([each.double().sum() for each in sums])]))

    def _add(self, sums: Tensor) -> None:
        """Add the sums of a step over all processes, so that each knows them whenever it is asked.

        Every process must come here in every step, with pairs or without.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        self.totals += sums
