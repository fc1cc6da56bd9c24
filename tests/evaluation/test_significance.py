import itertools

import numpy as np
import pytest
from scipy import stats

from llmrec.errors import ConfigError
from llmrec.evaluation.significance import holm, mean_interval, ratio_intervals, sign_flip_test


def test_interval_of_a_mean_agrees_with_normal_theory():
    values = np.random.default_rng(0).standard_normal(4000) + 3
    low, high = mean_interval(values, seed=1)
    half = stats.norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(values.size)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(3)
    intervals = [mean_interval(rng.exponential(1.0, 200), seed=s, draws=200) for s in range(150)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    # 150 trials at 95 %: four standard errors are 0.07, and skew costs a little coverage.
    assert 0.87 <= covered <= 0.995


def test_interval_of_a_ratio_agrees_with_the_delta_method():
    rng = np.random.default_rng(4)
    weights = rng.integers(1, 9, 3000).astype(float)
    values = rng.random(3000)
    low, high = ratio_intervals((weights * values)[:, None], weights[:, None], seed=5)[0]
    ratio = np.average(values, weights=weights)
    error = np.sqrt(np.sum((weights * (values - ratio)) ** 2)) / weights.sum()
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert (high + low) / 2 == pytest.approx(ratio, abs=0.1 * error)


def test_intervals_repeat_with_the_seed_and_leave_out_missing_values():
    values = np.array([1.0, 2.0, np.nan, 4.0] * 10)
    assert mean_interval(values, seed=7) == mean_interval(values, seed=7)
    assert mean_interval(values, seed=7) != mean_interval(values, seed=8)
    assert np.mean(mean_interval(values)) == pytest.approx(7 / 3, abs=0.15)


def test_one_user_has_no_interval():
    assert np.isnan(mean_interval([0.5])).all()


def test_draws_must_be_positive():
    with pytest.raises(ConfigError, match="draws=0"):
        mean_interval([1.0, 2.0], draws=0)


def exact_p(differences):
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return np.mean([value >= observed - 1e-9 for value in sums])


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_few_users_are_enumerated(n):
    rng = np.random.default_rng(n)
    columns = np.column_stack([rng.standard_normal(n) + 0.5, rng.integers(-2, 3, n)])
    expected = [exact_p(columns[:, 0]), exact_p(columns[:, 1])]
    assert sign_flip_test(columns) == pytest.approx(expected)


def test_random_patterns_come_close_to_enumeration():
    differences = np.random.default_rng(6).standard_normal(10) + 0.4
    drawn = sign_flip_test(differences, seed=1, permutations=1000)  # 2^10 > 1000: drawn
    assert drawn[0] == pytest.approx(exact_p(differences), abs=0.05)


def test_random_patterns_agree_with_the_paired_t_test_on_many_users():
    noise = np.random.default_rng(8).standard_normal(2000)
    differences = noise - noise.mean() + 0.04
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert 0.02 < expected < 0.3
    assert sign_flip_test(differences, seed=2)[0] == pytest.approx(expected, abs=0.02)


def test_p_values_are_uniform_under_no_effect():
    rng = np.random.default_rng(9)
    p = sign_flip_test(rng.standard_normal((60, 300)), seed=3, permutations=2000)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_no_difference_has_p_of_one_and_p_is_never_zero():
    assert sign_flip_test(np.zeros((5, 1))).tolist() == [1.0]
    assert sign_flip_test(np.ones(100), permutations=999)[0] == pytest.approx(0.001)


def test_holm_by_hand():
    # Sorted: .01 * 4, .02 * 3, .03 * 2 and .5 * 1, each at least the one before.
    assert holm([0.5, 0.03, 0.01, 0.02]).tolist() == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
