"""Conformal risk control: a bound on the mean of any loss that only grows with the threshold.

``threshold = sup { t : n/(n+1) R(t) + B/(n+1) <= alpha }`` with ``R`` the mean loss of ``n``
calibration items and ``B`` the largest possible loss (Angelopoulos et al. 2022, theorem 1). The
mean is over calibration samples and new items together: it holds on average and not, like
:mod:`selective`, with a stated certainty for the one sample at hand. Assumed: items are
exchangeable. The error rate *among what is answered* may fall as the threshold rises, so it is no
such loss; errors over *all* items are.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.errors import ConfigError, DataError
from llmrec.signatures.decision.labelled import Values, checked_pairs, group_codes


@dataclass(frozen=True)
class ControlledRisk:
    """A threshold and the bound on the mean loss; a :class:`~llmrec.contracts.Guarantee`.

    Attributes:
        threshold: The loosest one within the bound; None where no threshold is.
        alpha: Bound on the mean loss.
        mean_loss: Of the calibration items at the threshold.
        n: Calibration items, or groups.
        bound: Largest possible loss of one item.
    """

    threshold: float | None
    alpha: float
    mean_loss: float
    n: int
    bound: float

    @property
    def sentence(self) -> str:
        """The promise, or why there is none."""
        if self.threshold is None:
            least = self.bound / (self.n + 1)
            return (
                f"Cannot bound the mean loss by {self.alpha:g}: the strictest threshold has loss "
                f"{self.mean_loss:.4g}, and {self.n} items leave {least:.4g} open."
            )
        return (
            f"On average over calibration samples, the loss of a new item is at most "
            f"{self.alpha:g} at threshold {self.threshold:.4g} ({self.mean_loss:.4g} in "
            f"calibration), for items exchangeable with those {self.n}."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, the sentence included."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"sentence": self.sentence}


def control_risk(
    losses: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    alpha: float,
    *,
    bound: float = 1.0,
    groups: Sequence[Hashable] | None = None,
) -> ControlledRisk:
    """The loosest threshold whose mean loss is within ``alpha``.

    Args:
        losses: ``[n, m]`` of calibration items at each threshold, never falling from left to right.
        thresholds: ``[m]`` rising.
        alpha: Bound on the mean loss.
        bound: Largest possible loss.
        groups: What belongs together: the items of a group count as one, with their mean loss.

    Raises:
        DataError: Losses have another shape, fall somewhere, or lie outside 0 and ``bound``.
        ConfigError: ``alpha`` or ``thresholds`` are out of range.
    """
    table = np.asarray(losses, dtype=np.float64)
    levels = np.asarray(thresholds, dtype=np.float64)
    _check(table, levels, alpha, bound)
    means = _group_means(table, groups)
    n = len(means)
    mean = means.mean(axis=0)
    # summed from means, a bound that is met exactly may be missed by a rounding
    within = (n * mean + bound) / (n + 1) <= alpha + 1e-12
    if not within[0]:
        return ControlledRisk(None, alpha, float(mean[0]), n, bound)
    last = int(np.flatnonzero(within)[-1])
    return ControlledRisk(float(levels[last]), alpha, float(mean[last]), n, bound)


def bound_errors(
    risks: npt.ArrayLike,
    labels: npt.ArrayLike,
    alpha: float,
    groups: Sequence[Hashable] | None = None,
) -> ControlledRisk:
    """Bound the share of *all* items that are answered and wrong.

    The same as :func:`control_risk` with the loss "answered and wrong" at every calibration risk.

    Args:
        risks: ``[n]`` of calibration items.
        labels: ``[n]`` 0, or 1 for a wrong answer.
        alpha: Bound on the share.
        groups: As for :func:`control_risk`.

    Raises:
        DataError: There is no item, or labels do not fit the risks.
        ConfigError: ``alpha`` is out of range.
    """
    given, found = checked_pairs(labels, risks, both=False)
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha}; expected a share between 0 and 1, like 0.05.")
    codes = group_codes(groups, given.size)
    weights = given / np.bincount(codes)[codes]
    n = int(codes.max()) + 1
    levels, ends = _levels(found)
    order = np.argsort(found, kind="stable")
    mean = np.cumsum(weights[order])[ends] / n
    within = np.flatnonzero((n * mean + 1) / (n + 1) <= alpha + 1e-12)
    if not within.size:
        return ControlledRisk(None, alpha, float(mean[0]), n, 1.0)
    last = int(within[-1])
    return ControlledRisk(float(levels[last]), alpha, float(mean[last]), n, 1.0)


def _levels(risks: Values) -> tuple[Values, npt.NDArray[np.int64]]:
    """Distinct risks, and for each the last place it has in rising order."""
    levels, counts = np.unique(risks, return_counts=True)
    return levels, np.cumsum(counts) - 1


def _group_means(table: Values, groups: Sequence[Hashable] | None) -> Values:
    if groups is None:
        return table
    codes = group_codes(groups, len(table))
    sums = np.zeros((codes.max() + 1, table.shape[1]))
    np.add.at(sums, codes, table)
    return np.asarray(sums / np.bincount(codes)[:, None])


def _check(table: Values, levels: Values, alpha: float, bound: float) -> None:
    if table.ndim != 2 or not table.size or table.shape[1:] != levels.shape:
        raise DataError(
            f"losses of shape {table.shape} do not fit {levels.size} thresholds; give one row per "
            "item and one column per threshold."
        )
    if not (np.diff(levels) > 0).all():
        raise ConfigError("thresholds must rise, from strict to loose.")
    if not 0 < alpha < bound:
        raise ConfigError(f"alpha is {alpha}; expected a number between 0 and {bound}.")
    if not ((table >= 0) & (table <= bound)).all():
        raise DataError(f"a loss lies outside 0 and {bound}.")
    falling = np.argwhere(np.diff(table, axis=1) < 0)
    if falling.size:
        raise DataError(
            f"the loss of item {falling[0, 0]} falls as the threshold rises; only losses that "
            "never fall can be controlled so, use selective answering for the others."
        )
