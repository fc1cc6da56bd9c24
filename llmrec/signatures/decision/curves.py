"""Curves over all thresholds, and the areas that sum them up.

Items with equal risks have no order: every curve treats them as one step, which is the mean over
all their orders. ``labels`` are 0, or 1 for what went wrong.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.signatures.decision.labelled import Values, checked_pairs


@dataclass(frozen=True)
class Curve:
    """Points of a curve, from the strictest threshold to the loosest.

    Attributes:
        x: ``[m]``.
        y: ``[m]``.
    """

    x: Values
    y: Values


def roc_curve(labels: npt.ArrayLike, risks: npt.ArrayLike) -> Curve:
    """Share of right items flagged (x) and of wrong items flagged (y), from none to all.

    Raises:
        DataError: Labels are of one class, or do not fit the risks.

    >>> roc_curve([1, 0, 1], [0.9, 0.5, 0.1]).y.tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    given, found = checked_pairs(labels, risks)
    wrong, flagged = _steps(given, -found)
    right = flagged - wrong
    return Curve(
        np.append(0.0, right / right[-1]),
        np.append(0.0, wrong / wrong[-1]),
    )


def precision_recall_curve(labels: npt.ArrayLike, risks: npt.ArrayLike) -> Curve:
    """Share of wrong items that are flagged (recall, x) and of flagged items that are wrong (y).

    Raises:
        DataError: As for :func:`roc_curve`.
    """
    given, found = checked_pairs(labels, risks)
    wrong, flagged = _steps(given, -found)
    return Curve(wrong / wrong[-1], wrong / flagged)


def average_precision(labels: npt.ArrayLike, risks: npt.ArrayLike) -> float:
    """Precision averaged over the wrong items, without interpolation, as in scikit-learn.

    >>> round(average_precision([1, 0, 1], [0.9, 0.5, 0.1]), 4)
    0.8333
    """
    curve = precision_recall_curve(labels, risks)
    return float((np.diff(curve.x, prepend=0.0) * curve.y).sum())


def tpr_at_fpr(labels: npt.ArrayLike, risks: npt.ArrayLike, fpr: float) -> float:
    """Largest share of wrong items flagged at a threshold that flags at most ``fpr`` of the right.

    >>> tpr_at_fpr([1, 1, 0, 0], [0.9, 0.6, 0.7, 0.1], 0.05)
    0.5
    """
    curve = roc_curve(labels, risks)
    return float(curve.y[curve.x <= fpr].max())


def risk_coverage_curve(labels: npt.ArrayLike, risks: npt.ArrayLike) -> Curve:
    """Share of items answered (x) and share of those that are wrong (y), least risky first.

    One point per number of items answered; inside a run of equal risks the expected share.

    Raises:
        DataError: There is no item, or labels do not fit the risks.

    >>> risk_coverage_curve([0, 1, 0], [0.1, 0.2, 0.3]).y.round(4).tolist()
    [0.0, 0.5, 0.3333]
    """
    given, found = checked_pairs(labels, risks, both=False)
    wrong, answered = _steps(given, found)
    numbers = np.arange(1, given.size + 1)
    expected = np.interp(numbers, np.append(0, answered), np.append(0, wrong))
    return Curve(numbers / given.size, expected / numbers)


def aurc(labels: npt.ArrayLike, risks: npt.ArrayLike) -> float:
    """Area under the risk-coverage curve: its mean over the ``n`` coverages (Geifman et al. 2019).

    >>> round(aurc([0, 1, 0], [0.1, 0.2, 0.3]), 4)
    0.2778
    """
    return float(risk_coverage_curve(labels, risks).y.mean())


def e_aurc(labels: npt.ArrayLike, risks: npt.ArrayLike) -> float:
    """AURC beyond that of the ideal order, all right items first (Geifman et al. 2019).

    >>> e_aurc([0, 0, 1], [0.1, 0.2, 0.3])
    0.0
    """
    return aurc(labels, risks) - aurc(labels, labels)


def prr(labels: npt.ArrayLike, risks: npt.ArrayLike) -> float:
    """Prediction rejection ratio: share of the way from a random order to the ideal one.

    ``(AURC of random - AURC) / (AURC of random - AURC of ideal)``; 1 is ideal, 0 no better than
    chance. This is the form of lm-polygraph, where rejected answers drop out. Where they count as
    right instead (Malinin and Gales 2021), the ratio is ``2 AUC - 1``.

    Raises:
        DataError: Labels are of one class: every order is ideal.

    >>> prr([0, 0, 1], [0.1, 0.2, 0.3])
    1.0
    """
    given, found = checked_pairs(labels, risks)
    ideal = aurc(given, given)
    return float((given.mean() - aurc(given, found)) / (given.mean() - ideal))


def _steps(labels: Values, keys: Values) -> tuple[Values, Values]:
    """Wrong items and items up to the end of each run of equal keys, smallest key first."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(keys[order]) != 0, True))
    return np.cumsum(labels[order])[ends], (ends + 1).astype(np.float64)
