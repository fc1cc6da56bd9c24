"""The best of many scores per row, exactly and in a fixed order among equals.

On a CPU a top-k of every row sorts far more than it has to. Here scores are dealt into a few times
``k`` columns: the ``k``-th best maximum of a column is at most the ``k``-th best score, so one
comparison leaves little more than ``k`` scores of every row, and only those are partitioned.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
_FEW = 1024  # scores that are not worth dealing
_COLUMNS = 2  # times k: fewer columns leave more scores, more take longer to partition
_LOWEST = np.finfo(np.float32).min


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
    if scores.device.type == "cpu":
        positions, best = _of_arrays(scores.numpy(), k)
        return torch.from_numpy(positions), torch.from_numpy(best)
    return _of_tensors(scores, k)


def best_first(scores: Tensor) -> Tensor:
    """Order of every row of ``[rows, n]``, largest first, equal ones as they stand."""
    if scores.device.type != "cpu":
        return scores.sort(dim=1, descending=True, stable=True).indices
    falling = -scores.numpy()
    order = falling.argsort(axis=1)  # several times faster than a stable sort
    ordered = np.take_along_axis(falling, order, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        order = falling.argsort(axis=1, kind="stable")
    return torch.from_numpy(order)


def _of_tensors(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """:func:`best_positions` in few calls, for devices whose top-k is fast."""
    last = scores.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    chosen = scores >= last
    found = chosen.nonzero()[:, 1]
    if found.numel() > len(scores) * k:
        better = scores > last
        room = k - better.sum(1, keepdim=True)
        found = (better | (chosen & ((chosen & ~better).cumsum(1) <= room))).nonzero()[:, 1]
    found = found.view(-1, k)
    return found, scores.gather(1, found)


def _of_arrays(scores: FloatArray, k: int) -> tuple[Int64Array, FloatArray]:
    """:func:`best_positions` in NumPy, whose partition is far faster than a top-k."""
    rows, n = scores.shape
    places = np.flatnonzero(scores >= np.maximum(_floor(scores, k), _LOWEST))
    edges = np.searchsorted(places, np.arange(0, (rows + 1) * n, n))
    values = scores.reshape(-1).take(places)
    counts = edges[1:] - edges[:-1]
    if places.size == rows * k and counts.max() == k:
        return places.reshape(rows, k) - np.arange(0, rows * n, n)[:, None], values.reshape(rows, k)
    width = max(k, int(counts.max()))
    row = np.repeat(np.arange(rows), counts)
    slots = np.arange(places.size) + (np.arange(rows) * width - edges[:-1])[row]
    kept = np.full(rows * width, -np.inf, dtype=np.float32)
    kept[slots] = values
    positions = np.zeros(rows * width, dtype=np.int64)
    positions[slots] = places - row * n
    chosen = _best_of_few(kept.reshape(rows, width), k)
    return positions[chosen].reshape(rows, k), kept[chosen].reshape(rows, k)


def _floor(scores: FloatArray, k: int) -> FloatArray:
    """``[rows, 1]``: the k-th best score, or a little less where that is found sooner."""
    rows, n = scores.shape
    dealt = n // (_COLUMNS * k)
    if n <= _FEW or dealt < 2:
        return _kth_best(scores, k)
    width = n // dealt
    table = torch.from_numpy(scores)[:, : dealt * width].view(rows, dealt, width)
    return _kth_best(table.amax(1).numpy(), k)  # torch's maximum of columns is the faster one


def _best_of_few(scores: FloatArray, k: int) -> Int64Array:
    """Places ``[rows * k]`` in the flattened scores of every row's best."""
    last = _kth_best(scores, k)
    found = np.flatnonzero(scores >= last)
    if found.size == len(scores) * k:
        return found
    better, equal = scores > last, scores == last
    room = k - better.sum(1, keepdims=True)
    return np.flatnonzero(better | (equal & (equal.cumsum(1) <= room)))


def _kth_best(scores: FloatArray, k: int) -> FloatArray:
    place = scores.shape[1] - k
    return np.partition(scores, place, axis=1)[:, place : place + 1]
