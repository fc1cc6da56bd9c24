"""How far probabilities are from the shares they announce.

ECE comes from :mod:`llmrec.evaluation.metrics.pairs`, the one definition of the toolkit.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.metrics.pairs import ECE_BINS, calibration_bins
from llmrec.signatures.decision.labelled import Values, checked_pairs

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Bin:
    """Items whose risks are alike.

    Attributes:
        mean_risk: What was announced, on average.
        share_wrong: What happened.
        low: Lower end of Wilson's 95 % interval of the share.
        high: Its upper end.
        items: How many.
    """

    mean_risk: float
    share_wrong: float
    low: float
    high: float
    items: int


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared distance between probabilities and labels (Brier 1950).

    >>> brier([1, 0], [0.8, 0.4])
    0.1
    """
    given, found = _probabilities(labels, probabilities)
    return float(np.round(((found - given) ** 2).mean(), 15))


def reliability(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    bins: int = ECE_BINS,
    equal_sizes: bool = False,
) -> list[Bin]:
    """The points of a reliability plot; empty bins are left out.

    Args:
        labels: 0, or 1 for what went wrong.
        probabilities: Of label 1.
        bins: How many.
        equal_sizes: Bins with equally many items instead of equal width; equal probabilities
            always share a bin.

    Raises:
        DataError: A probability lies outside 0 and 1, or labels do not fit.
        ConfigError: There is no bin.
    """
    given, found = _probabilities(labels, probabilities)
    if bins < 1:
        raise ConfigError(f"bins is {bins}; a reliability plot needs at least 1.")
    if equal_sizes:
        edges = np.unique(np.quantile(found, np.arange(1, bins) / bins))
        index = np.searchsorted(edges, found, side="right")
    else:
        index = calibration_bins(found, bins)
    rows = []
    for number in np.unique(index):
        inside = index == number
        low, high = wilson(float(given[inside].sum()), int(inside.sum()))
        mean = float(found[inside].mean())
        rows.append(Bin(mean, float(given[inside].mean()), low, high, int(inside.sum())))
    return rows


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927).

    >>> [round(end, 3) for end in wilson(5, 10)]
    [0.237, 0.763]
    """
    share, z2 = hits / n, _Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def _probabilities(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Values, Values]:
    given, found = checked_pairs(labels, probabilities, both=False)
    odd = np.flatnonzero((found < 0) | (found > 1))
    if odd.size:
        raise DataError(
            f"item {odd[0]} has probability {found[odd[0]]}; calibrate the score first, it must "
            "lie between 0 and 1."
        )
    return given, found
