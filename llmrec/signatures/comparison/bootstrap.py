"""Intervals of AUC, average precision and TPR at a low FPR, by resampling groups.

A group (a question, a subject, a document) is the unit: all its records stay together in a
resample. Percentile bootstrap (Efron 1979). All scores share their resamples, so differences
between methods are paired. A resample weighs records instead of copying them: one cumulative sum
along the ranking gives all four figures of all resamples at once.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.evaluation.significance import resample_weights

METRICS = ("auc", "average_precision", "tpr_at_1_fpr", "tpr_at_5_fpr")
_RATES = (0.01, 0.05)
DRAWS = 1000
_HELD = 1 << 16  # weights of records at once: so many stay in the cache

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """Figures of ``m`` scores.

    Attributes:
        value: ``[m, 4]`` on the records as they are, in the order of :data:`METRICS`.
        drawn: ``[m, draws, 4]`` on the resamples; NaN where one has labels of one class only.
    """

    value: Floats
    drawn: Floats

    def interval(self, rows: Sequence[int], metric: int, minus: Sequence[int] = ()) -> Floats:
        """95 % interval of the mean over some scores, less the mean over others.

        Args:
            rows: Scores, for instance those of one method's seeds.
            metric: Place in :data:`METRICS`.
            minus: Scores whose mean is taken off, resample by resample.
        """
        found = self.drawn[list(rows), :, metric].mean(axis=0)
        if minus:
            found = found - self.drawn[list(minus), :, metric].mean(axis=0)
        return np.asarray(np.nanpercentile(found, [2.5, 97.5]), dtype=np.float64)


def resample(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: Sequence[Hashable],
    seed: int = 0,
    draws: int = DRAWS,
) -> Resampled:
    """Figures of scores and of the same scores on resampled groups.

    Args:
        labels: ``[n]`` 0 or 1.
        scores: ``[m, n]``, larger for label 1.
        groups: ``[n]``.
        seed: Of the resampling.
        draws: Number of resamples.
    """
    given = np.asarray(labels, dtype=np.float64)
    every = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    codes = np.unique([str(group) for group in groups], return_inverse=True)[1]
    weights = np.concatenate(list(resample_weights(int(codes.max()) + 1, seed, draws)))
    whole = np.ones((1, weights.shape[1]), dtype=np.float32)
    value = np.stack([_figures(given, one, codes, whole)[0] for one in every])
    drawn = np.stack([_figures(given, one, codes, weights) for one in every])
    return Resampled(value, drawn)


def _figures(
    labels: Floats, scores: Floats, codes: npt.NDArray[np.intp], weights: npt.NDArray[np.float32]
) -> Floats:
    """``[draws, 4]`` figures of one score; equal scores are one step of the ranking."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    ranked_labels, ranked_codes = labels[order], codes[order]
    step = max(1, _HELD // order.size)
    some = [
        _of_ranking(ranked_labels, ends, weights[start : start + step].take(ranked_codes, axis=1))
        for start in range(0, len(weights), step)
    ]
    return np.concatenate(some)


def _of_ranking(
    labels: Floats, ends: npt.NDArray[np.intp], weights: npt.NDArray[np.float32]
) -> Floats:
    """Figures of ranked records, weighed by ``[draws, n]``; steps of the ranking have ends."""
    each = weights.astype(np.float64)
    wrong = np.cumsum(each * labels, axis=1).take(ends, axis=1)
    flagged = np.cumsum(each, axis=1).take(ends, axis=1)
    right = flagged - wrong
    positives, negatives = wrong[:, -1:], right[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr, fpr = wrong / positives, right / negatives
        precision = np.where(flagged > 0, wrong / np.maximum(flagged, 1e-12), 0.0)
    before_t, step_f = _shifted(tpr), np.diff(fpr, axis=1, prepend=0.0)
    area = (step_f * (tpr + before_t) / 2).sum(axis=1)
    average = (np.diff(tpr, axis=1, prepend=0.0) * precision).sum(axis=1)
    at = [np.where(fpr <= rate + 1e-12, tpr, 0.0).max(axis=1) for rate in _RATES]
    found = np.stack([area, average, *at], axis=1)
    found[np.isnan(area)] = np.nan
    return found


def _shifted(values: Floats) -> Floats:
    return np.hstack([np.zeros((len(values), 1)), values[:, :-1]])
