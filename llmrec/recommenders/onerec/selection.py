"""The best of many scores per row, exactly and in a fixed order among equals.

A full top-k looks at every score several times. Here a lower bound on the k-th best is found first:
the scores are dealt into columns, and the k-th best of the columns' maxima cannot exceed the k-th
best of all. Only scores at or above the bound, a few per place, are then ordered.
"""

import torch
from torch import Tensor

_DEALT = 16  # scores per column


def best_positions(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` best of every row; among equal scores those further left.

    Args:
        scores: ``[rows, n]`` numbers, -inf for what may not be chosen; not NaN.
        k: How many, at most ``n``.

    Returns:
        Positions ``[rows, k]`` int64, ascending, and their scores. A row with fewer scores above
        -inf is filled with positions 0 whose score is -inf, at its end.
    """
    positions, kept = _candidates(scores, k)
    order = kept.argsort(dim=1, descending=True, stable=True)[:, :k]
    order = order.sort(dim=1).values  # back to the order of the positions
    return positions.gather(1, order), kept.gather(1, order)


def _candidates(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Positions and scores that hold the ``k`` best of every row, padded with 0 and -inf."""
    rows, n = scores.shape
    whole = n - n % _DEALT
    bound = scores.new_full((rows, 1), -torch.inf)
    if whole // _DEALT > k:
        maxima = scores[:, :whole].view(rows, _DEALT, -1).amax(1)
        bound = maxima.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    chosen = (scores >= bound) & (scores > -torch.inf)
    row, position = chosen.nonzero(as_tuple=True)
    counts = torch.bincount(row, minlength=rows)
    place = torch.arange(row.numel(), device=row.device) - (counts.cumsum(0) - counts)[row]
    width = max(k, int(counts.max()))
    positions = position.new_zeros(rows, width)
    positions[row, place] = position
    kept = scores.new_full((rows, width), -torch.inf)
    kept[row, place] = scores[row, position]
    return positions, kept
