"""What calibration error a perfectly calibrated predictor would show on the same items.

An ECE is a sum of absolute gaps, so chance alone makes it larger than 0, the more so the fewer
items there are. Here labels are drawn from the probabilities themselves. Groups (subjects,
documents) shift the odds of all their items together, and few groups leave such shifts in the mean;
with a spread of them (:func:`shift_between_groups`) labels are drawn with shifts of their own.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from llmrec.errors import ConfigError
from llmrec.evaluation.metrics.pairs import ECE_BINS, calibration_bins
from llmrec.signatures.decision.calibration import log_odds
from llmrec.signatures.decision.labelled import checked_pairs, group_codes

DRAWS = 1000


@dataclass(frozen=True)
class EceFloor:
    """ECE of a calibrated predictor over draws of labels.

    Attributes:
        mean: What it is on average.
        low: 2.5 % of the draws are below.
        high: 2.5 % are above.
    """

    mean: float
    low: float
    high: float

    def rounded(self, digits: int = 5) -> tuple[float, float, float]:
        """Mean, low and high end."""
        return round(self.mean, digits), round(self.low, digits), round(self.high, digits)


def ece_floor(
    probabilities: npt.ArrayLike,
    groups: Sequence[Hashable] | None = None,
    shift: float = 0.0,
    bins: int = ECE_BINS,
    draws: int = DRAWS,
    seed: int = 0,
) -> EceFloor:
    """ECE where the probabilities are right.

    Args:
        probabilities: ``[n]`` of label 1.
        groups: ``[n]`` what shares a shift; None makes every item its own.
        shift: Standard deviation of the groups' shifts in log-odds, which are normal; over groups
            the probabilities stay right, as nearly as MacKay's approximation (1992) says.
        bins: Of the ECE, as in :func:`~llmrec.evaluation.metrics.pairs.ece`.
        draws: Of labels.
        seed: Of the draws.

    Raises:
        DataError: A probability lies outside 0 and 1.
        ConfigError: The shift is below 0, or there is no draw.

    Example:
        >>> found = ece_floor(np.full(2500, 0.5))  # E|mean of labels - .5| = .5 sqrt(2 / (pi n))
        >>> round(found.mean, 3)
        0.008
    """
    if not shift >= 0 or draws < 1:
        raise ConfigError(f"shift is {shift} and draws {draws}; give one from 0, and at least 1.")
    odds = log_odds(probabilities)
    given = np.asarray(probabilities, dtype=np.float64)
    codes = group_codes(groups, odds.size)
    # a mean over normal shifts flattens the sigmoid, so odds are stretched before
    stretched = odds * np.sqrt(1 + np.pi / 8 * shift**2)
    index = calibration_bins(given, bins)
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        right = given
        if shift:
            right = expit(stretched + shift * rng.standard_normal(int(codes.max()) + 1)[codes])
        labels = rng.random(odds.size) < right
        found[draw] = np.abs(np.bincount(index, labels - given)).sum() / odds.size
    low, high = np.percentile(found, [2.5, 97.5])
    return EceFloor(float(found.mean()), float(low), float(high))


def shift_between_groups(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, groups: Sequence[Hashable]
) -> float:
    """Standard deviation of the groups' shifts in log-odds, 0 where chance explains them all.

    By moments: in a group whose odds are shifted by a small ``s``, ``sum (y - p)`` has the mean
    ``s V`` and the variance ``V = sum p (1 - p)``; its square is ``V + s^2 V^2`` on average.

    Args:
        labels: ``[n]`` 0 or 1.
        probabilities: ``[n]`` calibrated over all groups.
        groups: ``[n]``.

    Raises:
        DataError: Labels, probabilities and groups do not fit each other.
    """
    given, found = checked_pairs(labels, probabilities, both=False)
    codes = group_codes(groups, given.size)
    off = np.bincount(codes, given - found)
    variance = np.bincount(codes, found * (1 - found))
    squared = (off**2 - variance).sum() / max(float((variance**2).sum()), 1e-12)
    return float(np.sqrt(max(squared, 0.0)))
