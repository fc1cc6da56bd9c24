"""Items with equal codes, told apart by a rule that is stated and counted.

``reassign`` leaves one item of each ID where it is and moves the others, in the order of their
priority, to the nearest code of the last level that is still free below their prefix; a prefix
without any sends its last items to the next nearest prefix.
``extra_digit`` adds a level that counts the items of an ID (TIGER, section 3.2). ``allow`` changes
nothing. Items that are fixed, because a model has learnt their codes, never move.
"""

from collections.abc import Iterator, Mapping, Sequence

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
    codes: Int32Array,
    latent: FloatArray,
    centroids: Sequence[FloatArray],
    priority: Int64Array,
) -> Int32Array:
    """Give every item a code of its own at the last level.

    Where a prefix has more items than the last level has codes, those of the lowest priority move
    to the next nearest prefix with room.

    Args:
        codes: ``[n, levels]``.
        latent: ``[n, d]`` what was quantised.
        centroids: Per level ``[k, d]``.
        priority: ``[n]`` a permutation; the item with the smallest number keeps a shared code, and
            the others choose in this order.

    Raises:
        DataError: There are more items than IDs.
    """
    k = len(centroids[-1])
    found, priority = _spread_crowds(codes, latent, centroids, priority)
    prefix = _groups(found[:, :-1])
    movers = np.flatnonzero(_rank_in_group(prefix * k + found[:, -1], priority) > 0)
    if not movers.size:
        return found
    residuals = latent[movers].copy()
    for level in range(len(centroids) - 1):
        residuals -= centroids[level][found[movers, level]]
    groups, slot = np.unique(prefix[movers], return_inverse=True)
    turn = _rank_in_group(slot, priority[movers])
    is_mover = np.zeros(len(codes), dtype=np.bool_)
    is_mover[movers] = True
    step = max(1, _CELLS // k)
    for start in range(0, groups.size, step):
        here = np.flatnonzero((slot >= start) & (slot < start + step))
        taken = _taken_codes(groups[start : start + step], prefix, found[:, -1], ~is_mover, k)
        for number in range(int(turn[here].max()) + 1):  # one item of every prefix at a time
            some = here[turn[here] == number]
            at = slot[some] - start
            distance = _distances(residuals[some], centroids[-1])
            best = np.where(taken[at], np.inf, distance).argmin(1)
            taken[at, best] = True
            found[movers[some], -1] = best
    return found


def _taken_codes(
    groups: Int64Array,
    prefix: Int64Array,
    last: Int32Array,
    keeps: npt.NDArray[np.bool_],
    k: int,
) -> npt.NDArray[np.bool_]:
    """``[groups, k]`` last-level codes that items which keep theirs hold below each prefix."""
    taken = np.zeros((groups.size, k), dtype=np.bool_)
    place = np.minimum(np.searchsorted(groups, prefix), groups.size - 1)
    held = (groups[place] == prefix) & keeps
    taken[place[held], last[held]] = True
    return taken


def _spread_crowds(
    codes: Int32Array,
    latent: FloatArray,
    centroids: Sequence[FloatArray],
    priority: Int64Array,
) -> tuple[Int32Array, Int64Array]:
    """Move items out of prefixes with more items than the last level has codes.

    Such items are few, so they are taken one by one. Where they go they come last.

    Returns:
        The codes, and priorities to go on with.
    """
    k = len(centroids[-1])
    found = codes.copy()
    prefix = _groups(codes[:, :-1])
    over = np.flatnonzero(_rank_in_group(prefix, priority) >= k)
    if not over.size:
        return found, priority
    if len(codes) > np.prod([float(len(table)) for table in centroids]):
        raise DataError(
            f"{len(codes)} items need more semantic IDs than {len(centroids)} levels of "
            f"{[len(table) for table in centroids]} codes give; take more codes or levels."
        )
    kept, counts = np.unique(np.delete(codes[:, :-1], over, axis=0), axis=0, return_counts=True)
    room = {tuple(row): k - int(n) for row, n in zip(kept.tolist(), counts, strict=True)}
    for item in over[np.argsort(priority[over])]:
        found[item] = _nearest_with_room(found[item], latent[item], centroids, room)
        path = tuple(found[item, :-1].tolist())
        room[path] = room.get(path, k) - 1
    later = priority.copy()
    later[over] += len(codes)
    return found, later


def _nearest_with_room(
    own: Int32Array,
    latent: FloatArray,
    centroids: Sequence[FloatArray],
    room: Mapping[tuple[int, ...], int],
) -> list[int]:
    """Codes with another prefix: changed as late as possible, then to the nearest."""
    k = len(centroids[-1])
    for changed in range(len(centroids) - 2, -1, -1):
        head, residual = own[:changed].tolist(), latent.copy()
        for level, code in enumerate(head):
            residual -= centroids[level][code]
        for prefix, left in _prefixes(head, residual, centroids):
            if room.get(tuple(prefix), k) > 0:
                return [*prefix, int(_distances(left[None], centroids[-1]).argmin())]
    raise DataError("every semantic ID is taken; take more codes or levels.")


def _prefixes(
    head: list[int], residual: FloatArray, centroids: Sequence[FloatArray]
) -> Iterator[tuple[list[int], FloatArray]]:
    """Prefixes that begin with ``head``, depth first by distance, and what they leave over."""
    level = len(head)
    if level == len(centroids) - 1:
        yield head, residual
        return
    for code in _distances(residual[None], centroids[level])[0].argsort(kind="stable").tolist():
        yield from _prefixes([*head, code], residual - centroids[level][code], centroids)


def _distances(values: FloatArray, table: FloatArray) -> FloatArray:
    """``[n, k]`` squared distances less the rows' own squared lengths."""
    return np.asarray((table**2).sum(1) - 2 * (values @ table.T), dtype=np.float32)


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
