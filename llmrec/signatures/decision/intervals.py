"""Intervals of AUCs and of their differences, by resampling groups.

All methods share their resamples, so that a difference is judged on the same items. A group
(question, subject, document) stays together in a resample.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.evaluation.metrics.pairs import auc
from llmrec.evaluation.significance import resample_weights
from llmrec.signatures.decision.labelled import Codes, Values, checked_pairs, group_codes

DRAWS = 1000
_LEVEL = 0.95


@dataclass(frozen=True)
class AucInterval:
    """The AUC of one method.

    Attributes:
        auc: Its value.
        low: Lower end of the 95 % interval; NaN where fewer than two groups have each label.
        high: Its upper end.
        difference: AUC minus that of the first method.
        difference_low: Lower end of its interval.
        difference_high: Its upper end.
    """

    auc: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float


def auc_intervals(
    labels: npt.ArrayLike,
    risks: Mapping[str, npt.ArrayLike],
    groups: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, AucInterval]:
    """AUC of methods with percentile bootstrap intervals (Efron 1979).

    Args:
        labels: ``[n]`` 0, or 1 for what went wrong.
        risks: ``[n]`` of every method; the first is the reference of differences.
        groups: What is resampled together; None resamples items.
        draws: Resamples.
        seed: Of the resampling.

    Raises:
        DataError: Labels are of one class, or do not fit the risks.
    """
    checked = {name: checked_pairs(labels, values) for name, values in risks.items()}
    n = np.asarray(labels).size
    codes = group_codes(groups, n)
    drawn = {name: _resampled(y, r, codes, draws, seed) for name, (y, r) in checked.items()}
    values = {name: auc(y, r) for name, (y, r) in checked.items()}
    first = next(iter(values))
    found = {}
    for name in values:
        low, high = _ends(drawn[name])
        apart = _ends(drawn[name] - drawn[first])
        found[name] = AucInterval(values[name], low, high, values[name] - values[first], *apart)
    return found


def _resampled(labels: Values, risks: Values, codes: Codes, draws: int, seed: int) -> Values:
    """``[draws]`` AUCs; NaN where a resample has one label only."""
    order = np.argsort(risks, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(risks[order]) != 0))
    wrong = labels[order]
    found = []
    for weights in resample_weights(int(codes.max()) + 1, seed, draws):
        each = weights[:, codes[order]].astype(np.float64)
        positive = np.add.reduceat(each * wrong, starts, axis=1)
        negative = np.add.reduceat(each * (1 - wrong), starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        wins = (positive * below).sum(axis=1)
        found.append(np.divide(wins, pairs, out=np.full(len(wins), np.nan), where=pairs > 0))
    return np.concatenate(found)


def _ends(drawn: Values) -> tuple[float, float]:
    known = drawn[~np.isnan(drawn)]
    if known.size < drawn.size / 2:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
