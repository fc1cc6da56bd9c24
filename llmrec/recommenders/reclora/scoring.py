"""Log-odds of yes for pairs, and for many items after one history that is read once.

The prompts of one history share their beginning. It is laid out once per row, and the ends behind
each other after it, each seeing the beginning and itself. Models whose attention takes no mask of
one's own are given every prompt by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.adapters.gated_lora import GatedLora
from llmrec.inference.hf_forward import Forward
from llmrec.recommenders.reclora.network import answer_odds, last_logits
from llmrec.recommenders.reclora.token_rows import TokenRows, buckets

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

_PACKED = 768  # tokens of ends in a row: the masks stay small, the beginning costs little per item


@dataclass
class Work:
    """What scoring has read so far: tokens that went through the model, and items judged."""

    tokens: int = 0
    items: int = 0


class Judge:
    """Asks the questions.

    Args:
        lora: The model.
        ends: Ends of prompts by item code minus 1.
        answers: Tokens of yes and no.
        most_tokens: Most tokens of a pass, padding included.

    Attributes:
        work: What was read; for reports.
    """

    def __init__(
        self, lora: GatedLora, ends: TokenRows, answers: tuple[int, int], most_tokens: int
    ) -> None:
        self._lora, self._ends, self._answers, self._most = lora, ends, answers, most_tokens
        forward = Forward(lora.model, 1)
        self._packs = forward.can_pack(forward.cache())
        self.work = Work()

    @torch.inference_mode()
    def pairs(
        self, beginnings: TokenRows, items: npt.NDArray[np.int32], weights: Tensor | None
    ) -> Float32:
        """Log-odds of one item after each history: ``[n]``.

        Args:
            beginnings: ``[n]``.
            items: ``[n]`` item codes.
            weights: ``[n, gates, K]``, one row for all, or None for the model without adapters.
        """
        self._lora.eval()
        prompts = beginnings.followed_by(self._ends.take(items.astype(np.int64) - 1))
        odds = np.empty(len(prompts), dtype=np.float32)
        device = self._device()
        for rows in buckets(prompts.lengths, self._most):
            ids, there = (torch.from_numpy(x).to(device) for x in prompts.take(rows).left_padded())
            own = _rows_of(weights, rows, device)
            found = answer_odds(self._lora, ids, there, own, self._answers)
            odds[rows] = found.float().cpu().numpy()
        self.work.tokens += int(prompts.lengths.sum())
        self.work.items += len(prompts)
        return odds

    @torch.inference_mode()
    def lists(
        self, beginnings: TokenRows, codes: npt.NDArray[np.int32], weights: Tensor
    ) -> Float32:
        """Log-odds of every history's items: ``[n, C]``.

        Args:
            beginnings: ``[n]``, the same for all items of a history.
            codes: ``[n, C]`` item codes; code 0 gets any odds.
            weights: ``[n, gates, K]``, or one row for all.
        """
        self._lora.eval()
        items = np.maximum(codes, 1)
        if not self._packs:
            owners = np.repeat(np.arange(len(codes)), codes.shape[1])
            own = _rows_of(weights, owners, weights.device)
            flat = self.pairs(beginnings.take(owners), items.ravel(), own)
            return flat.reshape(codes.shape)
        odds = np.empty(codes.shape, dtype=np.float32)
        for rows, columns in self._packs_of(beginnings, items):
            odds[np.ix_(rows, columns)] = self._pack(beginnings, items, weights, rows, columns)
        return odds

    def _packs_of(
        self, beginnings: TokenRows, items: npt.NDArray[np.int32]
    ) -> Iterator[tuple[Int64, Int64]]:
        """Rows and columns that go through the model together."""
        longest = int(self._ends.lengths[np.unique(items) - 1].max(initial=1))
        step = max(1, _PACKED // longest)
        for start in range(0, items.shape[1], step):
            columns = np.arange(start, min(start + step, items.shape[1]))
            lengths = beginnings.lengths + longest * columns.size
            for rows in buckets(lengths, self._most):
                yield rows, columns

    def _pack(
        self,
        beginnings: TokenRows,
        items: npt.NDArray[np.int32],
        weights: Tensor,
        rows: Int64,
        columns: Int64,
    ) -> Float32:
        device = self._device()
        chosen = items[np.ix_(rows, columns)].astype(np.int64) - 1
        ends = self._ends.take(chosen.ravel())
        first, first_there = beginnings.take(rows).left_padded()
        slots, slots_there = ends.left_padded()
        slot = slots.shape[1]
        shape = (len(rows), columns.size * slot)
        ids = np.concatenate([first, slots.reshape(shape)], axis=1)
        there = np.concatenate([first_there, slots_there.reshape(shape)], axis=1)
        packed = [torch.from_numpy(x).to(device) for x in (ids, there)]
        sees, positions = pack_layout(packed[1], first.shape[1], slot)
        last = first.shape[1] - 1 + slot * (1 + torch.arange(columns.size, device=device))
        own = _rows_of(weights, rows, device)
        logits = last_logits(self._lora, packed[0], sees, positions, own, last)
        yes, no = self._answers
        self.work.tokens += int(there.sum())
        self.work.items += chosen.size
        return np.asarray((logits[..., yes] - logits[..., no]).float().cpu().numpy())

    def _device(self) -> torch.device:
        return next(self._lora.parameters()).device


def _rows_of(weights: Tensor | None, rows: Int64, device: torch.device) -> Tensor | None:
    """Gate weights of some rows, on the model's device; a single row is everybody's."""
    if weights is None:
        return None
    own = weights if len(weights) == 1 else weights[torch.from_numpy(rows)]
    return own.to(device)


def pack_layout(there: Tensor, first: int, slot: int) -> tuple[Tensor, Tensor]:
    """What each token of packed rows sees, and its position in the prompt it belongs to.

    Args:
        there: ``[b, T]`` which are no padding.
        first: Columns of the beginning; after them come slots of equal width, one per end.
        slot: That width.

    Returns:
        ``[b, 1, T, T]`` bool and ``[b, T]`` int64.
    """
    width = there.shape[1]
    column = torch.arange(width, device=there.device)
    number = torch.where(column < first, -1, (column - first) // slot)
    same = (number[:, None] == number[None, :]) | (number[None, :] == -1)
    sees = (same.tril() & there[:, None, :]) | torch.eye(
        width, dtype=torch.bool, device=there.device
    )
    begun = there[:, :first].sum(1, keepdim=True)
    inside = there[:, first:].view(len(there), -1, slot).cumsum(2).view(len(there), -1)
    positions = torch.cat([there[:, :first].cumsum(1), begun + inside], 1) - 1
    return sees.unsqueeze(1), positions.clamp(min=0)
