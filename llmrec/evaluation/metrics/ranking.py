"""Metrics of the ranks of the targets, one value per case.

Every function takes a :class:`TargetRanks` and a cut-off ``k`` and returns ``[cases]`` float64;
:func:`compute` gives the mean. A target counts as hit if its rank is at most ``k``. Ranks may be
halves (ties) and infinite (excluded targets). Ties can give more than ``k`` targets a rank of at
most ``k``; a list has only ``k`` places, so at most ``k`` hits count, the best-ranked first, and no
metric exceeds 1.

The names and definitions are those of trec_eval (``recall``, ``P``, ``ndcg_cut``, ``map_cut``,
``recip_rank`` and ``success`` at ``k``).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import position_of_each, row_of_each
from llmrec.errors import ConfigError
from llmrec.evaluation.metrics import parse_metric

Values = npt.NDArray[np.float64]


class TargetRanks:
    """Ranks of all targets, sorted within each case.

    Args:
        ranks: ``[targets]`` ranks, from 1, possibly halves or infinite.
        offsets: ``[cases + 1]``; case ``i`` has ``ranks[offsets[i]:offsets[i + 1]]``. None means
            one target per case.
    """

    def __init__(self, ranks: npt.ArrayLike, offsets: npt.ArrayLike | None = None) -> None:
        flat = np.asarray(ranks, dtype=np.float64)
        bounds = np.arange(flat.size + 1) if offsets is None else np.asarray(offsets, np.int64)
        self.counts = np.diff(bounds)
        self.owner = row_of_each(bounds)
        single = flat.size == self.counts.size and bool((self.counts == 1).all())
        self.ranks = flat if single else flat[np.lexsort((flat, self.owner))]
        self.position = position_of_each(bounds)

    def __len__(self) -> int:
        return int(self.counts.size)

    def best(self) -> Values:
        """``[cases]`` rank of the best-ranked target; infinity for a case without targets."""
        best = np.full(len(self), np.inf)
        first = self.position == 0
        best[self.owner[first]] = self.ranks[first]
        return best

    def hits(self, k: int) -> npt.NDArray[np.int64]:
        """Indices of the targets that count as hit at ``k``."""
        return np.flatnonzero((self.ranks <= k) & (self.position < k))

    def total(self, index: npt.NDArray[np.int64], values: npt.ArrayLike | None = None) -> Values:
        """``[cases]`` sum of ``values`` (default 1) over the targets ``index``."""
        weights = None if values is None else np.asarray(values, dtype=np.float64)
        sums = np.bincount(self.owner[index], weights, minlength=len(self))
        return sums.astype(np.float64)


def hit_rate(targets: TargetRanks, k: int) -> Values:
    """1 if any target is among the first ``k``, else 0 (success@k).

    With one target per case this is the same number as :func:`recall`.

    >>> hit_rate(TargetRanks([1, 30, 12], [0, 2, 3]), 10).tolist()
    [1.0, 0.0]
    """
    return np.minimum(targets.total(targets.hits(k)), 1.0)


def recall(targets: TargetRanks, k: int) -> Values:
    """Share of the targets that are among the first ``k``: hits / targets.

    >>> recall(TargetRanks([1, 30, 12], [0, 2, 3]), 10).tolist()
    [0.5, 0.0]
    """
    return targets.total(targets.hits(k)) / np.maximum(targets.counts, 1)


def precision(targets: TargetRanks, k: int) -> Values:
    """Share of the first ``k`` places that hold a target: hits / k.

    >>> precision(TargetRanks([1, 3, 12], [0, 2, 3]), 4).tolist()
    [0.5, 0.0]
    """
    return targets.total(targets.hits(k)) / k


def ndcg(targets: TargetRanks, k: int) -> Values:
    """Discounted gain of the hits over that of the best list possible.

    ``sum over hits of 1 / log2(1 + rank)``, divided by the same sum for ranks
    ``1 .. min(targets, k)`` (Jarvelin and Kekalainen 2002, binary gains, log base 2).

    >>> ndcg(TargetRanks([1, 3], [0, 2]), 10).round(4).tolist()
    [0.9197]
    """
    hits = targets.hits(k)
    gain = targets.total(hits, 1 / np.log2(1 + targets.ranks[hits]))
    ideal = np.concatenate([[1.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    places = np.minimum(targets.counts, k)
    # Without a target there is no gain either; dividing by 1 then gives 0.
    return np.asarray(gain / ideal[places], dtype=np.float64)


def mrr(targets: TargetRanks, k: int) -> Values:
    """One over the rank of the best-ranked target, 0 if that rank is above ``k``.

    >>> mrr(TargetRanks([4, 2, 12], [0, 2, 3]), 10).tolist()
    [0.5, 0.0]
    """
    best = targets.best()
    return np.where(best <= k, 1 / best, 0.0)


def average_precision(targets: TargetRanks, k: int) -> Values:
    """Mean over all targets of the precision at each hit's rank (``map@k``).

    ``sum over hits of (hits up to here / rank) / targets``. As in trec_eval, the divisor is the
    number of targets even where it exceeds ``k``; some libraries divide by ``min(targets, k)``.

    >>> average_precision(TargetRanks([1, 4, 12], [0, 2, 3]), 10).tolist()
    [0.75, 0.0]
    """
    hits = targets.hits(k)
    precisions = (targets.position[hits] + 1) / targets.ranks[hits]
    return targets.total(hits, precisions) / np.maximum(targets.counts, 1)


_KERNELS: dict[str, Callable[[TargetRanks, int], Values]] = {
    "hit_rate": hit_rate,
    "recall": recall,
    "precision": precision,
    "ndcg": ndcg,
    "mrr": mrr,
    "map": average_precision,
}


def per_case(name: str, targets: TargetRanks) -> Values:
    """``[cases]`` values of a ranking metric given by name, for instance ``"ndcg@10"``.

    Raises:
        ConfigError: The name is not that of a ranking metric.
    """
    metric = parse_metric(name)
    if metric.k is None or metric.base not in _KERNELS:
        raise ConfigError(f"{name} is a {metric.family} metric and has no value per ranked target.")
    return _KERNELS[metric.base](targets, metric.k)


def compute(name: str, targets: TargetRanks) -> float:
    """Mean of :func:`per_case` over the cases.

    >>> compute("recall@10", TargetRanks([1, 30, 12], [0, 2, 3]))
    0.25
    """
    return float(per_case(name, targets).mean())
