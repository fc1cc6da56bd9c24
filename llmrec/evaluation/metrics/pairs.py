"""Metrics of judged user-item pairs.

``labels`` are 0 or 1 and ``scores`` any real numbers, larger meaning more liked; ``logloss``,
``accuracy`` and ``ece`` need probabilities. ``users`` are dense integers from 0. Equal scores count
half in every AUC.
"""

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError

Values = npt.NDArray[np.float64]

ECE_BINS = 15
_FLOOR = float(np.finfo(np.float64).eps)  # keeps the logarithm finite, as in scikit-learn


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Chance that a random positive scores above a random negative, over all pairs together.

    ``(R - P (P + 1) / 2) / (P N)`` with ``R`` the sum of the positives' ranks, ties averaged (Mann
    and Whitney 1947). NaN without both labels.

    >>> auc([1, 0, 1, 0], [0.9, 0.9, 0.4, 0.1])
    0.625
    """
    labels = np.asarray(labels)
    values, _ = auc_per_user(np.zeros(labels.size, dtype=np.int64), labels, scores)
    return float(values[0])


def auc_per_user(
    users: npt.ArrayLike, labels: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[Values, npt.NDArray[np.int64]]:
    """AUC of every user and the user's number of pairs.

    Returns:
        ``[users]`` AUC, NaN for users without both labels, and ``[users]`` pairs.

    >>> auc_per_user([0, 0, 1], [1, 0, 1], [0.9, 0.1, 0.5])[0].tolist()
    [1.0, nan]
    """
    users, labels = np.asarray(users, dtype=np.int64), np.asarray(labels, dtype=np.float64)
    scores = np.asarray(scores)
    pairs = np.bincount(users)
    order = np.lexsort((scores, users))
    ranks = np.empty(users.size)
    ranks[order] = _ranks_within(users[order], scores[order])
    positives = np.bincount(users, labels)
    rank_sum = np.bincount(users, labels * ranks)
    both = positives * (pairs - positives)
    wins = rank_sum - positives * (positives + 1) / 2
    return np.where(both > 0, wins / np.maximum(both, 1), np.nan), pairs


def gauc(users: npt.ArrayLike, labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Mean of the users' AUCs weighted by their number of pairs (impressions).

    Over users with both labels (Zhu et al. 2017, "Optimized cost per click"); NaN without any.

    >>> gauc([0, 0, 0, 1, 1], [1, 0, 0, 1, 0], [0.9, 0.1, 0.2, 0.3, 0.5])
    0.6
    """
    values, pairs = auc_per_user(users, labels, scores)
    valid = ~np.isnan(values)
    if not valid.any():
        return float("nan")
    return float((values[valid] * pairs[valid]).sum() / pairs[valid].sum())


def uauc(users: npt.ArrayLike, labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Plain mean of the AUCs of the users who have both labels; NaN without any.

    >>> uauc([0, 0, 0, 1, 1], [1, 0, 0, 1, 0], [0.9, 0.1, 0.2, 0.3, 0.5])
    0.5
    """
    values, _ = auc_per_user(users, labels, scores)
    valid = ~np.isnan(values)
    return float(values[valid].mean()) if valid.any() else float("nan")


def logloss_per_pair(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Values:
    """``-(y log p + (1 - y) log(1 - p))`` of every pair, natural logarithm.

    Raises:
        DataError: A probability lies outside 0 and 1.
    """
    p = np.clip(_probabilities(probabilities), _FLOOR, 1 - _FLOOR)
    positive = np.asarray(labels) == 1
    return np.asarray(-np.log(np.where(positive, p, 1 - p)), dtype=np.float64)


def logloss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean of :func:`logloss_per_pair`.

    >>> round(logloss([1, 0], [0.5, 0.5]), 4)
    0.6931
    """
    return float(logloss_per_pair(labels, probabilities).mean())


def correct_per_pair(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Values:
    """1 where a probability of at least 0.5 goes with label 1 or a smaller one with label 0."""
    said_yes = _probabilities(probabilities) >= 0.5
    return np.asarray(said_yes == (np.asarray(labels) == 1), dtype=np.float64)


def accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Share of pairs on the right side of 0.5.

    >>> accuracy([1, 0, 1], [0.9, 0.4, 0.1]).__round__(4)
    0.6667
    """
    return float(correct_per_pair(labels, probabilities).mean())


def calibration_bins(probabilities: npt.ArrayLike, bins: int = ECE_BINS) -> npt.NDArray[np.int64]:
    """``[pairs]`` number of the equal-width bin of every probability; 1 is in the last."""
    p = _probabilities(probabilities)
    return np.minimum((p * bins).astype(np.int64), bins - 1)


def ece(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error: how far probabilities are from the shares they announce.

    ``sum over bins of |sum of (y - p)| / pairs`` with equal-width bins, which is the bins' gaps
    between accuracy and confidence weighted by their sizes (Guo et al. 2017, 15 bins).

    >>> ece([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.3], bins=2).__round__(4)
    0.15
    """
    index = calibration_bins(probabilities, bins)
    gaps = np.bincount(index, np.asarray(labels) - _probabilities(probabilities), minlength=bins)
    return float(np.abs(gaps).sum() / index.size)


def _ranks_within(users: npt.NDArray[np.int64], scores: npt.NDArray[np.generic]) -> Values:
    """Ranks from 1 within runs of equal users, ties averaged; both arrays sorted."""
    new_user = np.append(True, np.diff(users) != 0)
    new_value = new_user | np.append(True, scores[1:] != scores[:-1])
    index = np.arange(users.size)
    user_start = np.maximum.accumulate(np.where(new_user, index, 0))
    starts = np.flatnonzero(new_value)
    ends = np.append(starts[1:], users.size)
    group = np.cumsum(new_value) - 1
    middle = (starts + ends - 1) / 2
    return np.asarray(middle[group] - user_start + 1, dtype=np.float64)


def _probabilities(values: npt.ArrayLike) -> Values:
    p = np.asarray(values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("logloss, accuracy and ece need probabilities between 0 and 1.")
    return p
