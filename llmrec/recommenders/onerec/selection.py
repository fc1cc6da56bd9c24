"""The best of many scores per row, exactly and in a fixed order among equals.

A full top-k looks at every score several times. Here scores are dealt into columns: the ``k`` best
lie in the ``k`` columns with the best maxima, so only those are looked at again. Where scores at
the edge are equal that may leave out the wrong one, and the whole row is looked at instead.
"""

import math

import numpy as np
import torch
from torch import Tensor

_FEW = 1024  # scores that are not worth dealing


def best_positions(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` best of every row; among equal scores those further left.

    Args:
        scores: ``[rows, n]`` float32 without gradient, -inf for what may not be chosen; not NaN.
        k: How many, at most ``n``.

    Returns:
        Positions ``[rows, k]`` int64 and their scores, ascending by position. Where a row has
        fewer than ``k`` scores above -inf, the places left over have the score -inf and any
        position.
    """
    found = _among_best_columns(scores, k) if scores.shape[1] > max(_FEW, 4 * k) else None
    if found is not None:
        return found
    last = _kth_best(scores, k)
    positions = _if_exactly(scores >= last, k)
    if positions is None:
        better, equal = scores > last, scores == last
        room = k - better.sum(1, keepdim=True)
        chosen = better | (equal & (equal.cumsum(1) <= room))
        positions = chosen.nonzero()[:, 1].view(-1, k)
    return positions, scores.gather(1, positions)


def _among_best_columns(scores: Tensor, k: int) -> tuple[Tensor, Tensor] | None:
    """Positions and scores of the best, or None where equal scores leave it open."""
    rows, n = scores.shape
    dealt = math.isqrt(n // k)
    width = n // dealt
    table = scores[:, : dealt * width].view(rows, dealt, width)
    maxima = table.amax(1)
    columns = _if_exactly(maxima >= _kth_best(maxima, k), k)
    if columns is None:
        return None
    kept = table.gather(2, columns[:, None, :].expand(-1, dealt, -1)).view(rows, -1)
    kept = torch.cat([kept, scores[:, dealt * width :]], dim=1)
    chosen = _if_exactly(kept >= _kth_best(kept, k), k)
    if chosen is None:
        return None
    turn = chosen.div(k, rounding_mode="floor")  # the rest beyond the table is turn ``dealt``
    within = columns.gather(1, chosen - turn * k)
    rest = chosen + (dealt * width - dealt * k)
    return torch.where(turn < dealt, turn * width + within, rest), kept.gather(1, chosen)


def _if_exactly(chosen: Tensor, k: int) -> Tensor | None:
    """Positions ``[rows, k]`` of what is chosen, at least ``k`` in every row, if it is no more."""
    positions = chosen.nonzero()[:, 1]
    return positions.view(-1, k) if positions.numel() == len(chosen) * k else None


def _kth_best(scores: Tensor, k: int) -> Tensor:
    """``[rows, 1]`` the k-th best; on a CPU by NumPy's partition, far faster than a top-k."""
    if scores.device.type != "cpu":
        return scores.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    place = scores.shape[1] - k
    return torch.from_numpy(np.partition(scores.numpy(), place, axis=1)[:, place : place + 1])
