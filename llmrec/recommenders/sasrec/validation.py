"""Validation on a GPU: ranks are counted where the scores are, so no score is copied to the host.

The ranks are those of :func:`llmrec.evaluation.monitoring.ranking_metrics`, which a CPU uses.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.data.splits import Cases
from llmrec.errors import DataError, shorten
from llmrec.evaluation.metrics.ranking import TargetRanks, compute

_CASES_AT_ONCE = 2048


def ranking_metrics_on_device(
    score_catalog: Callable[[Histories], Tensor],
    cases: Cases,
    metrics: Sequence[str],
    filter_seen: bool = True,
) -> dict[str, float]:
    """Mean ranking metrics of a scorer over the whole catalog.

    Args:
        score_catalog: Gives ``[b, items]`` float32 scores on any device, which are overwritten.
        cases: Inputs and targets.
        metrics: Names of ranking metrics.
        filter_seen: Whether items of the input history are left out.

    Returns:
        Metric name to mean.

    Raises:
        DataError: Scores are NaN.
    """
    found = []
    for start in range(0, len(cases), _CASES_AT_ONCE):
        histories = cases.histories.block(start, start + _CASES_AT_ONCE)
        scores = score_catalog(histories)
        broken = scores.amax(1).isnan().cpu().numpy()
        if broken.any():
            users = shorten(histories.user_ids.gather(np.flatnonzero(broken)))
            raise DataError(f"the model's scores for user {users} contain NaN.")
        if filter_seen:
            seen = _cells(row_of_each(histories.offsets), histories.items, scores.device)
            scores[seen] = -torch.inf
        offsets = cases.target_offsets[start : start + len(histories) + 1]
        targets = cases.targets[offsets[0] : offsets[-1]]
        cells = _cells(row_of_each(offsets - offsets[0]), targets, scores.device)
        one_each = bool((np.diff(offsets) == 1).all())
        found.append(_ranks(scores, *cells, one_each))
    ranks = torch.cat(found).cpu().numpy()
    return {name: compute(name, TargetRanks(ranks, cases.target_offsets)) for name in metrics}


def _cells(
    rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int32], device: torch.device
) -> tuple[Tensor, Tensor]:
    columns = torch.from_numpy(codes.astype(np.int64) - 1)
    return torch.from_numpy(rows).to(device), columns.to(device)


def _ranks(scores: Tensor, rows: Tensor, columns: Tensor, one_each: bool) -> Tensor:
    """``[n]`` float64 ranks of the items ``columns`` in ``rows`` of the scores."""
    own = scores[rows, columns].unsqueeze(1)
    among = scores if one_each else scores[rows]
    higher = (among > own).sum(1)
    equal = (among == own).sum(1) - 1
    ranks = 1 + higher + equal.double() / 2
    return ranks.masked_fill(own.squeeze(1) == -torch.inf, torch.inf)
