"""How sure we may be: intervals of means and of differences, by resampling users.

A user is the unit: everything a user contributes stays together in a resample. Intervals are
percentile bootstrap intervals (Efron 1979) of a ratio of sums, which covers plain means (each user
weighs 1), weighted means such as gauc, and means over a group of users. Differences are tested by
flipping their signs (Fisher 1935), which assumes only that under no effect either model could
have been the better one for a user. All in NumPy, a bounded number of draws at a time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import Int64Array
from llmrec.errors import ConfigError

Floats = npt.NDArray[np.float64]

DRAWS = 2000
PERMUTATIONS = 10_000
MANY_USERS = 50_000
"""Above so many users fewer draws do: the ends of an interval are stable enough."""

_HELD = 1 << 22  # resampled weights held at once
_COUNTED = 1 << 16  # of which so many are drawn at once, to stay in the cache


def ratio_intervals(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    seed: int = 0,
    draws: int | None = None,
    level: float = 0.95,
) -> Floats:
    """Bootstrap intervals of ``sum of numerators / sum of denominators``, column by column.

    All columns share their resamples. Resamples in which a denominator is 0 are left out for it.

    Args:
        numerators: ``[users, m]``.
        denominators: ``[users, m]``, not negative.
        seed: Seed of the resampling.
        draws: Number of resamples; None takes 2,000, or fewer above 50,000 users, where the
            ends of the interval are stable enough with fewer.
        level: Probability that the interval aims to cover.

    Returns:
        ``[m, 2]`` lower and upper ends; NaN where fewer than two users contribute, since one user
        says nothing about how users vary.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    both = np.hstack([top, bottom]).astype(np.float32)
    m = top.shape[1]
    ratios = np.full((_draws(len(top), draws), m), np.nan)
    for start, weights in _resamples(len(top), len(ratios), seed):
        sums = weights @ both
        present = sums[:, m:] > 0
        np.divide(sums[:, :m], sums[:, m:], out=ratios[start : start + len(sums)], where=present)
    ends = np.full((m, 2), np.nan)
    enough = (bottom > 0).sum(axis=0) >= 2
    if enough.any():
        tails = [(1 - level) / 2, (1 + level) / 2]
        ends[enough] = np.nanquantile(ratios[:, enough], tails, axis=0).T
    return ends


def mean_interval(
    values: npt.ArrayLike, seed: int = 0, draws: int | None = None, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the mean of ``[users]`` values; NaN values are left out.

    >>> low, high = mean_interval([0.0, 1.0] * 50)
    >>> 0.38 < low < 0.5 < high < 0.62
    True
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    valid = ~np.isnan(column)
    low, high = ratio_intervals(np.where(valid, column, 0), valid, seed, draws, level)[0]
    return float(low), float(high)


def resample_weights(
    users: int, seed: int = 0, draws: int | None = None
) -> Iterator[npt.NDArray[np.float32]]:
    """How often every user is drawn, ``[some draws, users]`` at a time.

    For statistics that are not a ratio of sums, such as an AUC over all pairs.
    """
    for _, weights in _resamples(users, _draws(users, draws), seed):
        yield weights


def sign_flip_test(
    differences: npt.ArrayLike, seed: int = 0, permutations: int = PERMUTATIONS
) -> Floats:
    """Two-sided p-values of paired differences whose sum is 0 under no effect.

    The p-value is the share of sign patterns whose absolute sum is at least the observed one. All
    patterns are enumerated where there are at most ``permutations``; otherwise random ones are
    drawn and the observed one counts as one more, so that p is never 0.

    Args:
        differences: ``[users, m]`` (or ``[users]``), one column per test.
        seed: Seed of the draws.
        permutations: Number of random patterns.

    Returns:
        ``[m]`` p-values; 1 for a column of zeros.

    >>> sign_flip_test([1.0, 2.0, 3.0]).tolist()
    [0.25]
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    values = values[(values != 0).any(axis=1)]  # flipping a zero changes nothing
    observed = np.abs(values.sum(axis=0))
    # Sums equal in exact arithmetic may differ by rounding and must still count as equal.
    bar = observed - 1e-6 * np.abs(values).sum(axis=0)
    exact = len(values) < permutations.bit_length() and 2 ** len(values) <= permutations
    patterns = _all_patterns(len(values)) if exact else _patterns(len(values), permutations, seed)
    reached, total = np.zeros(values.shape[1]), 0
    flipped = values.astype(np.float64 if exact else np.float32)
    for signs in patterns:  # 1 flips, so that sums are all - 2 * flipped
        sums = values.sum(axis=0) - 2 * (signs.astype(flipped.dtype) @ flipped)
        reached += (np.abs(sums) >= bar).sum(axis=0)
        total += len(signs)
    return np.asarray(reached / total if exact else (reached + 1) / (total + 1))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's step-down correction (1979): p-values that hold for all tests together.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _draws(users: int, draws: int | None) -> int:
    if draws is None:
        return int(min(DRAWS, max(200, DRAWS * MANY_USERS // max(users, 1))))
    if draws < 1:
        raise ConfigError(f"draws={draws} must be at least 1.")
    return draws


def _resamples(users: int, draws: int, seed: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Draw as many users with replacement as there are; the weight is how often one was drawn."""
    rng = np.random.default_rng(seed)
    step = max(1, _HELD // max(users, 1))
    for start in range(0, draws, step):
        n = min(step, draws - start)
        weights = np.empty((n, users), dtype=np.float32)
        together = max(1, _COUNTED // max(users, 1))
        for first in range(0, n, together):
            rows = weights[first : first + together]
            drawn = rng.integers(0, users, rows.shape)
            drawn += np.arange(len(rows))[:, None] * users
            rows[:] = np.bincount(drawn.ravel(), minlength=rows.size).reshape(rows.shape)
        yield start, weights


def _patterns(users: int, count: int, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    step = max(1, _HELD // users)
    width = -(-users // 8)
    for start in range(0, count, step):
        n = min(step, count - start)
        random = np.frombuffer(rng.bytes(n * width), dtype=np.uint8).reshape(n, width)
        yield np.unpackbits(random, axis=1, count=users)


def _all_patterns(users: int) -> Iterator[npt.NDArray[np.uint8]]:
    numbers: Int64Array = np.arange(2**users)
    yield ((numbers[:, None] >> np.arange(users)) & 1).astype(np.uint8)
