"""Groups of cases for which metrics are given as well as for all cases.

Groups depend on the data alone, never on what a model answered, so that the same user falls into
the same group for every model. A case with several targets is grouped by the median popularity of
its targets, and is cold if any target is.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

SLICES = ("history_length", "target_popularity", "cold")

LENGTH_EDGES = (1, 3, 6, 11, 21, 51, 101)
"""First history length of every activity group; the last group is open."""

HEAD_SHARE, MID_SHARE = 0.1, 0.5
"""Head: the most popular tenth of the trained items. Mid: the rest of the more popular half."""


@dataclass(frozen=True, eq=False)
class Slicing:
    """A partition of the cases.

    Attributes:
        labels: Names of the groups in the order in which they are shown.
        group: ``[cases]`` index into ``labels``.
    """

    labels: tuple[str, ...]
    group: npt.NDArray[np.int64]


def by_history_length(lengths: npt.ArrayLike) -> Slicing:
    """Group cases by the number of input events.

    >>> slicing = by_history_length([1, 4, 5, 300])
    >>> [slicing.labels[g] for g in slicing.group]
    ['1-2', '3-5', '3-5', '101+']
    """
    group = np.searchsorted(np.array(LENGTH_EDGES), np.asarray(lengths), side="right")
    names = ["0", *(_span(first, last - 1) for first, last in pairwise(LENGTH_EDGES))]
    return _without_empty([*names, f"{LENGTH_EDGES[-1]}+"], group)


def by_target_popularity(popularity: npt.ArrayLike, item_counts: npt.ArrayLike) -> Slicing:
    """Group cases by how often their target occurs in training: head, mid and tail.

    Args:
        popularity: ``[cases]`` training events of the target.
        item_counts: ``[items]`` training events of every item; items without any set no boundary.
    """
    counts = np.asarray(item_counts)
    counts = counts[counts > 0]
    levels = [1 - HEAD_SHARE, MID_SHARE]
    head, mid = (int(x) for x in np.quantile(counts, levels, method="higher"))
    mid = min(mid, head)
    group = np.where(np.asarray(popularity) >= head, 0, 2)
    group[(np.asarray(popularity) >= mid) & (group == 2)] = 1
    names = [
        f"head ({head}+ events)",
        f"mid ({_span(mid, head - 1)} events)",
        f"tail ({_span(0, mid - 1)} events)",
    ]
    return _without_empty(names, group)


def by_cold(cold: npt.ArrayLike) -> Slicing:
    """Group cases by whether a target has no training event."""
    return _without_empty(["warm", "cold"], np.asarray(cold, dtype=np.int64))


def _span(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else f"{first}"


def _without_empty(names: list[str], group: npt.NDArray[np.int64]) -> Slicing:
    used, renumbered = np.unique(group, return_inverse=True)
    return Slicing(tuple(names[int(u)] for u in used), renumbered.astype(np.int64))
