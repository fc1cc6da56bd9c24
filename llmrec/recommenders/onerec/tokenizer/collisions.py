"""Items with equal codes, told apart by a rule that is stated and counted.

``reassign`` leaves one item of each ID where it is and moves the others, in the order of their
priority, to the nearest code of the last level that is still free below their prefix.
``extra_digit`` adds a level that counts the items of an ID (TIGER, section 3.2). ``allow`` changes
nothing. Items that are fixed, because a model has learnt their codes, never move.
"""

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
_CELLS = 1 << 26  # marks of free codes held at a time


def count_collisions(codes: Int32Array) -> int:
    """Items whose ID another item has too."""
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return int((counts[group.ravel()] > 1).sum())


def reassign(
    codes: Int32Array, residuals: FloatArray, centroids: FloatArray, priority: Int64Array
) -> Int32Array:
    """Give every item a code of its own at the last level.

    Args:
        codes: ``[n, levels]``.
        residuals: ``[n, d]`` what the levels before the last left over.
        centroids: ``[k, d]`` of the last level.
        priority: ``[n]`` a permutation; the item with the smallest number keeps a shared code, and
            the others choose in this order.

    Raises:
        DataError: A prefix has more items than the last level has codes.
    """
    prefix = _groups(codes[:, :-1])
    k = len(centroids)
    crowded = np.flatnonzero(np.bincount(prefix) > k)
    if crowded.size:
        items = np.flatnonzero(prefix == crowded[0])
        raise DataError(
            f"{items.size} items have the codes {codes[items[0], :-1].tolist()} before the last "
            f"level, which has {k} codes; take more codes or levels, balance 'capacity', or "
            "collisions 'extra_digit' or 'allow'."
        )
    movers = np.flatnonzero(_rank_in_group(prefix * k + codes[:, -1], priority) > 0)
    found = codes.copy()
    if not movers.size:
        return found
    groups, slot = np.unique(prefix[movers], return_inverse=True)
    turn = _rank_in_group(slot, priority[movers])
    is_mover = np.zeros(len(codes), dtype=np.bool_)
    is_mover[movers] = True
    for start in range(0, groups.size, max(1, _CELLS // k)):
        stop = start + max(1, _CELLS // k)
        chosen = groups[start:stop]
        taken = np.zeros((chosen.size, k), dtype=np.bool_)
        place = np.searchsorted(chosen, prefix)
        place[place == chosen.size] = 0
        held = (chosen[place] == prefix) & ~is_mover
        taken[place[held], codes[held, -1]] = True
        here = np.flatnonzero((slot >= start) & (slot < stop))
        for number in range(int(turn[here].max()) + 1):  # one item of every prefix at a time
            some = here[turn[here] == number]
            rows, at = movers[some], slot[some] - start
            distance = (centroids**2).sum(1) - 2 * (residuals[rows] @ centroids.T)
            best = np.where(taken[at], np.inf, distance).argmin(1)
            taken[at, best] = True
            found[rows, -1] = best
    return found


def extra_digit(
    codes: Int32Array, digits: Int64Array, priority: Int64Array, size: int
) -> Int32Array:
    """Add a level that numbers the items of an ID in the order of their priority.

    Args:
        codes: ``[n, levels]``.
        digits: ``[n]`` digits given earlier, which stay; -1 for items without one.
        priority: ``[n]`` a permutation.
        size: Codes of the new level.

    Raises:
        DataError: More items than ``size`` share an ID.
    """
    group = _groups(codes)
    given = digits >= 0
    following = np.zeros(int(group.max()) + 1, dtype=np.int64)
    np.maximum.at(following, group[given], digits[given] + 1)
    found = digits.copy()
    found[~given] = following[group[~given]] + _rank_in_group(group[~given], priority[~given])
    if found.max() >= size:
        raise DataError(
            f"{found.max() + 1} items share one semantic ID, but the extra digit has {size} "
            "values; take more codes or levels, or balance 'capacity'."
        )
    return np.concatenate([codes, found[:, None].astype(np.int32)], axis=1)


def _groups(codes: Int32Array) -> Int64Array:
    """``[n]`` number of each different row."""
    if not codes.shape[1]:
        return np.zeros(len(codes), dtype=np.int64)
    _, group = np.unique(codes, axis=0, return_inverse=True)
    return np.asarray(group, dtype=np.int64).ravel()


def _rank_in_group(group: npt.NDArray[np.integer], priority: Int64Array) -> Int64Array:
    """``[n]`` place of every row within its group, by priority."""
    order = np.lexsort((priority, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    lengths = np.diff(np.append(starts, group.size))
    rank = np.empty(group.size, dtype=np.int64)
    rank[order] = np.arange(group.size) - np.repeat(starts, lengths)
    return rank
