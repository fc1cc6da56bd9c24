"""One learnt number for what a user has had: where nobody takes an item twice, it falls.

A generator reads the codes of the history and is drawn to write them again; to unlearn that costs
it capacity, and what it unlearns for an item it unlearns for the item's neighbours. With a bias
``b`` of its own for items of the history, an item's weight is ``w = exp(b)`` where it was had and 1
elsewhere, and a code is worth the mean weight of the items that it leads to:

    logit + log(1 + f (exp(b) - 1))

where ``f`` is the share of those items that the user has had. A code that leads to one item alone
gets all of ``b``; a code that leads to many hardly changes. That is exact where the items under a
code are equally likely. The number of ``repeat_bias`` of SASRec is the case of a single level.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 1e-9  # of places without an item: their gains are left out, and must be finite before


class Repeats(NamedTuple):
    """What a code gains for the items of a history that it leads to.

    Attributes:
        codes: ``[rows, n, levels]`` int64 semantic IDs of the items of every history.
        gains: ``[rows, n, levels]`` float32 what to add to their codes' logits; 0 but for one of
            the items that a code leads to.
    """

    codes: Tensor
    gains: Tensor

    def of(self, rows: Tensor) -> "Repeats":
        """Those of some rows, ``[k]`` int64."""
        return Repeats(self.codes.index_select(0, rows), self.gains.index_select(0, rows))

    def added(self, level: int, logits: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Logits of a level with the gains.

        Args:
            level: The level.
            logits: ``[rows, k, size]``.
            before: Codes of the levels before, ``[rows, k]`` each.
        """
        gains = self.gains[:, None, :, level].expand(-1, logits.shape[1], -1)
        for earlier in range(level):
            there = before[earlier][:, :, None] == self.codes[:, None, :, earlier]
            gains = gains * there
        places = self.codes[:, None, :, level].expand_as(gains)
        return logits.scatter_add(2, places, gains.to(logits.dtype))


def repeats_of(bias: Tensor, history: Tensor, codes: Tensor, leads_to: Tensor) -> Repeats:
    """The gains of histories.

    Args:
        bias: The learnt number, a scalar.
        history: ``[rows, n]`` int64 item codes, 0 after the end.
        codes: ``[items + 1, levels]`` int64 semantic IDs by item code.
        leads_to: ``[items + 1, levels]`` items that an item's codes up to a level lead to.
    """
    ids = codes[history]
    new = (history > 0) & _is_first(history[:, :, None] == history[:, None, :])
    same = new[:, :, None] & new[:, None, :]
    gains = []
    for level in range(codes.shape[1]):
        same = same & (ids[:, :, None, level] == ids[:, None, :, level])
        had = (same.sum(2) / leads_to[history, level]).clamp_min(_LEAST)
        # the logarithm of 1 - had + had exp(b), for any b
        gain = torch.logaddexp(torch.log1p(-had), had.log() + bias)
        gains.append(gain.masked_fill(~(new & _is_first(same)), 0.0))
    return Repeats(ids, torch.stack(gains, dim=-1))


def items_led_to(codes: Tensor) -> Tensor:
    """Items that share the first codes of each, for every number of codes.

    Args:
        codes: ``[items, levels]`` int64.

    Returns:
        ``[items + 1, levels]`` float32 by item code; 1 for no item.

    >>> items_led_to(torch.tensor([[0, 0], [0, 1], [1, 0]])).tolist()
    [[1.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 1.0]]
    """
    found = torch.ones(len(codes) + 1, codes.shape[1])
    for level in range(codes.shape[1]):
        _, node, counts = torch.unique(
            codes[:, : level + 1], dim=0, return_inverse=True, return_counts=True
        )
        found[1:, level] = counts[node].float()
    return found


def _is_first(same: Tensor) -> Tensor:
    """Whether nothing before a place is the same: ``[rows, n, n]`` to ``[rows, n]`` bool."""
    return ~same.tril(-1).any(2)
