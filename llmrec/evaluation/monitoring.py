"""Ranking metrics during training: the same ranks as the harness, without its bookkeeping."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.evaluation.metrics.ranking import TargetRanks, compute
from llmrec.evaluation.ranks import exclude, require_numbers, target_ranks

_BLOCK = 512


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
