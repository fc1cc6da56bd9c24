"""Training rows from histories: windows of inputs with the positions to learn at.

Every event after a user's first is a target exactly once. Histories longer than ``max_length`` give
overlapping windows in which only positions not counted before carry loss. Rows stay index ranges
into the flat event array; nothing is copied or padded before a batch is made.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, span_indices
from llmrec.data.windows import prefix_rows, window_rows
from llmrec.errors import DataError
from llmrec.recommenders.sasrec.encoder import PackedRows


@dataclass(frozen=True)
class SequenceBatch:
    """Packed rows with their targets.

    Attributes:
        items: ``[total]`` int64 input codes.
        rows: Layout of the inputs.
        learn_at: ``[targets]`` int64 flat positions that carry loss.
        targets: ``[targets]`` int64 codes of the events that follow those positions.
        events: ``[total]`` int64 which training event each input is, counted over all histories.
        negatives: ``[n]`` int64 drawn codes, or None.
        seen: ``[2, m]`` int64 pairs of a target's number and an item code that its row holds up to
            that position, ascending and each once; None where nobody asked.
    """

    items: Tensor
    rows: PackedRows
    learn_at: Tensor
    targets: Tensor
    events: Tensor
    negatives: Tensor | None = None
    seen: Tensor | None = None

    @property
    def n_targets(self) -> int:
        """Number of loss terms."""
        return len(self.targets)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        for name in ("items", "learn_at", "targets", "events", "negatives", "seen"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, value.to(device, non_blocking=True))
        self.rows.to(device)
        return self


class NegativeSampler:
    """Draws item codes with replacement.

    Args:
        n: Draws per batch.
        probabilities: ``[items]`` float64, one per item, summing to 1.
    """

    def __init__(self, n: int, probabilities: npt.NDArray[np.float64]) -> None:
        self.n = n
        self._cumulative = np.cumsum(probabilities)
        self._log_expected = torch.from_numpy(np.log(n * probabilities)).float()

    def draw(self, generator: np.random.Generator) -> Tensor:
        """``[n]`` int64 codes, 1-based."""
        found = np.searchsorted(self._cumulative, generator.random(self.n), side="right")
        return torch.from_numpy(np.minimum(found, self._cumulative.size - 1) + 1)

    def log_expected(self, codes: Tensor) -> Tensor:
        """``[n]`` log of the expected number of draws of each code."""
        self._log_expected = self._log_expected.to(codes.device)
        return self._log_expected[codes - 1]


class SequenceWindows:
    """The training rows of a set of histories, a source of batches for the training loop.

    Args:
        histories: Training histories; those with fewer than two events give no row.
        max_length: Longest input.
        prefixes: One row per target with loss at its last position only.
        sampler: Draws negatives for each batch, or None.
        with_seen: Tell each batch which items its rows hold before each target.

    Raises:
        DataError: No history has two events.
    """

    def __init__(
        self,
        histories: Histories,
        max_length: int,
        prefixes: bool = False,
        sampler: NegativeSampler | None = None,
        with_seen: bool = False,
    ) -> None:
        self._items = histories.items
        self._with_seen = with_seen
        self._sampler = sampler
        kept = np.flatnonzero(histories.lengths >= 2)
        if not kept.size:
            raise DataError(
                "no training history has two events, so there is nothing to predict; "
                "check the split and the minimum history length."
            )
        starts = histories.offsets[kept]
        lengths = histories.lengths[kept] - 1
        cut = prefix_rows if prefixes else window_rows
        self._starts, self._lengths, self._n_learn = cut(starts, lengths, max_length)

    def __len__(self) -> int:
        return self._starts.size

    @property
    def n_targets(self) -> int:
        """Targets of one epoch: events that are not a user's first."""
        return int(self._n_learn.sum())

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> SequenceBatch:
        """Collate rows in the order given."""
        starts, lengths, n_learn = self._starts[rows], self._lengths[rows], self._n_learn[rows]
        ends = offsets_of(lengths)[1:]
        learn_at = span_indices(ends - n_learn, n_learn)
        inputs = span_indices(starts, lengths)
        items = self._items[inputs].astype(np.int64)
        seen = None
        if self._with_seen:
            first = np.repeat(ends - lengths, n_learn)
            seen = torch.from_numpy(seen_pairs(items, first, learn_at + 1 - first))
        return SequenceBatch(
            torch.from_numpy(items),
            PackedRows(lengths),
            torch.from_numpy(learn_at),
            torch.from_numpy(self._items[inputs[learn_at] + 1].astype(np.int64)),
            torch.from_numpy(inputs),
            None if self._sampler is None else self._sampler.draw(generator),
            seen,
        )


def seen_pairs(
    items: npt.NDArray[np.integer], first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Pairs of row number and item for spans of a flat array, ascending and each once.

    Args:
        items: ``[total]`` item codes.
        first: ``[n]`` where each span begins.
        counts: ``[n]`` its length.

    Returns:
        ``[2, m]`` span numbers and item codes.

    >>> seen_pairs(np.array([5, 3, 5]), np.array([0, 0]), np.array([1, 3])).tolist()
    [[0, 1, 1], [5, 3, 5]]
    """
    codes = items[span_indices(first, counts)].astype(np.int64)
    stride = int(items.max(initial=0)) + 1
    keys = np.unique(np.repeat(np.arange(first.size), counts) * stride + codes)
    return np.stack(np.divmod(keys, stride))
