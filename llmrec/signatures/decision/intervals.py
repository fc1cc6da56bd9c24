"""Intervals of AUCs and of their differences, by resampling groups.

All methods share their resamples, so that a difference is judged on the same items. A group
(question, subject, document) stays together in a resample.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from llmrec.evaluation.metrics.pairs import auc
from llmrec.evaluation.significance import resample_weights
from llmrec.signatures.decision.labelled import Codes, Values, checked_pairs, group_codes

DRAWS = 1000
_LEVEL = 0.95
_HELD = 1 << 16  # weights of items at once: so many stay in the cache


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
    orders = {name: _Order.of(y, r, codes) for name, (y, r) in checked.items()}
    drawn = _resampled(orders, int(codes.max()) + 1, draws, seed)
    values = {name: auc(y, r) for name, (y, r) in checked.items()}
    first = next(iter(values))
    found = {}
    for name in values:
        low, high = _ends(drawn[name])
        apart = _ends(drawn[name] - drawn[first])
        found[name] = AucInterval(values[name], low, high, values[name] - values[first], *apart)
    return found


@dataclass(frozen=True)
class _Order:
    """How one method orders items: all that its AUC on a resample needs.

    Attributes:
        wrong: ``[w]`` groups of the wrong items, least risky first.
        right: ``[r]`` groups of the right items, least risky first.
        below: ``[w]`` how many right items have a lower risk.
        up_to: ``[w]`` how many have a lower or the same one.
    """

    wrong: Codes
    right: Codes
    below: Codes
    up_to: Codes

    @classmethod
    def of(cls, labels: Values, risks: Values, codes: Codes) -> Self:
        order = np.argsort(risks, kind="stable")
        wrong, right = (order[labels[order] == label] for label in (1, 0))
        below, up_to = (np.searchsorted(risks[right], risks[wrong], s) for s in ("left", "right"))
        return cls(codes[wrong], codes[right], below, up_to)

    def aucs(self, weights: Values) -> Values:
        """``[draws]`` AUCs of groups weighed by ``[draws, groups]``; NaN with one label only."""
        positive = weights.take(self.wrong, axis=1)
        negative = np.zeros((len(weights), self.right.size + 1))
        np.cumsum(weights.take(self.right, axis=1), axis=1, out=negative[:, 1:])
        # whole numbers: a win counts 2 and a tie 1, so nothing is rounded until the last division
        beaten = negative.take(self.below, axis=1) + negative.take(self.up_to, axis=1)
        wins = np.einsum("dw,dw->d", positive, beaten) / 2
        pairs = positive.sum(axis=1) * negative[:, -1]
        found: Values = np.divide(wins, pairs, out=np.full(len(wins), np.nan), where=pairs > 0)
        return found


def _resampled(
    orders: Mapping[str, _Order], groups: int, draws: int, seed: int
) -> dict[str, Values]:
    """``[draws]`` AUCs of every method, on the same resamples, a few of them at a time."""
    found: dict[str, list[Values]] = {name: [] for name in orders}
    items = max(order.wrong.size + order.right.size for order in orders.values())
    step = max(1, _HELD // items)
    for weights in resample_weights(groups, seed, draws):
        for start in range(0, len(weights), step):
            some = weights[start : start + step].astype(np.float64)
            for name, order in orders.items():
                found[name].append(order.aucs(some))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _ends(drawn: Values) -> tuple[float, float]:
    known = drawn[~np.isnan(drawn)]
    if known.size < drawn.size / 2:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
