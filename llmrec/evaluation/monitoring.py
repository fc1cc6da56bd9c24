"""Metrics during training: the same figures as the harness, without its bookkeeping.

What can be watched is checked before anything is trained, by the ``require`` functions.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.errors import ConfigError
from llmrec.evaluation.metrics import pairs, parse_metric
from llmrec.evaluation.metrics.ranking import TargetRanks, compute
from llmrec.evaluation.ranks import exclude, require_numbers, target_ranks

PAIR_METRICS = ("auc", "uauc", "logloss")
_BLOCK = 512


def require_ranking_metric(name: str, where: str) -> None:
    """Refuse a metric that validation on ranked catalogs does not report.

    Args:
        name: The metric.
        where: The setting that names it.

    Raises:
        ConfigError: It is unknown, or not about the ranks of targets.
    """
    try:
        found = parse_metric(name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if found.family != "ranking":
        raise ConfigError(
            f"{where}: {name} is not computed while training; use a ranking metric, such as "
            "ndcg@10."
        )


def require_pair_metric(name: str, where: str) -> None:
    """Refuse a metric that validation on judged pairs does not report.

    Args:
        name: The metric.
        where: The setting that names it.

    Raises:
        ConfigError: It is none of :data:`PAIR_METRICS`.
    """
    if name not in PAIR_METRICS:
        raise ConfigError(
            f"{where}: {name} is not computed from judged pairs while training; use one of "
            f"{', '.join(PAIR_METRICS)}."
        )


def pair_metrics(
    users: npt.ArrayLike, labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> dict[str, float]:
    """The metrics of judged pairs that exist; where nobody has both answers there is no uauc.

    Args:
        users: ``[n]`` numbers of users.
        labels: ``[n]`` 1 or 0.
        probabilities: ``[n]`` of a 1.

    Returns:
        Metric name to value, of :data:`PAIR_METRICS`.
    """
    judged = {
        "auc": pairs.auc(labels, probabilities),
        "uauc": pairs.uauc(users, labels, probabilities),
        "logloss": pairs.logloss(labels, probabilities),
    }
    return {name: value for name, value in judged.items() if np.isfinite(value)}


def ranking_metrics(
    score_catalog: Callable[[Histories], npt.NDArray[np.float32]],
    cases: Cases,
    metrics: Sequence[str],
    filter_seen: bool = True,
) -> dict[str, float]:
    """Mean ranking metrics of a scorer over the whole catalog.

    Args:
        score_catalog: Gives ``[b, items]`` float32 scores, which this function overwrites.
        cases: Inputs and targets.
        metrics: Names of ranking metrics.
        filter_seen: Whether items of the input history are left out.

    Returns:
        Metric name to mean.
    """
    ranks = np.empty(cases.targets.size)
    for start in range(0, len(cases), _BLOCK):
        histories = cases.histories.block(start, start + _BLOCK)
        scores = score_catalog(histories)
        require_numbers(scores, histories.user_ids)
        if filter_seen:
            exclude(scores, histories.items, histories.offsets)
        offsets = cases.target_offsets[start : start + len(histories) + 1]
        part = slice(offsets[0], offsets[-1])
        ranks[part] = target_ranks(scores, cases.targets[part], offsets - offsets[0])
    targets = TargetRanks(ranks, cases.target_offsets)
    return {name: compute(name, targets) for name in metrics}
