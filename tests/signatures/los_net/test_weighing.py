"""A learnt score beside a plain one: curves, what evidence moves, and what it does not."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from llmrec.errors import ArtifactError, DataError
from llmrec.signatures.los_net import weighing
from llmrec.signatures.los_net.weighing import NormalScores, Weighing, weigh


def drawn(n, plain_slope, learnt_slope, seed):
    rng = np.random.default_rng(seed)
    plain, learnt = rng.normal(size=(2, n))
    labels = (rng.random(n) < expit(plain_slope * plain + learnt_slope * learnt)).astype(float)
    return plain, learnt, labels


def test_normal_scores_are_normal_whatever_the_scale():
    scores = np.exp(5 * np.random.default_rng(0).normal(size=999))
    found = NormalScores.of(scores)(scores)
    expected = norm.ppf((np.arange(999) + 0.5) / 999)
    np.testing.assert_allclose(np.sort(found), expected, atol=1e-9)
    # a rank of its own for everything else, too: beyond the ends and where scores hardly differ
    others = np.array([-1.0, 0.0, 1e-9, 1.0, 50.0, scores.max() + 1, scores.max() + 2])
    assert (np.diff(NormalScores.of(scores)(others)) > 0).all()


def test_equal_scores_share_a_rank_and_one_score_says_nothing():
    found = NormalScores.of(np.array([1.0, 1.0, 2.0]))(np.array([1.0, 2.0]))
    np.testing.assert_allclose(found, norm.ppf([1 / 3, 5 / 6]))  # mean ranks 1.5 and 3, less a half
    constant = NormalScores.of(np.array([3.0, 3.0]))
    np.testing.assert_allclose(constant(np.array([3.0, 3.0])), 0, atol=1e-12)


def test_a_score_that_adds_nothing_is_left_out():
    weights = []
    for seed in range(20):
        plain, learnt, labels = drawn(200, 1.0, 0.0, seed)
        found = weigh(plain, learnt, labels)
        weights.append(found.weight)
        if found.weight == 0:
            assert spearmanr(found(plain, learnt), plain).statistic == pytest.approx(1)
    assert np.mean(np.array(weights) == 0) > 0.7


def test_a_score_that_adds_much_is_used():
    plain, learnt, labels = drawn(400, 0.7, 1.5, 0)
    found = weigh(plain, learnt, labels)
    assert found.weight > 0.5
    later = drawn(4000, 0.7, 1.5, 1)
    value = roc_auc_score(later[2], found(later[0], later[1]))
    assert value > roc_auc_score(later[2], later[0]) + 0.1
    # as good as knowing the true slopes, but for little
    assert value > roc_auc_score(later[2], 0.7 * later[0] + 1.5 * later[1]) - 0.02


def test_a_score_that_is_upside_down_never_counts_against_itself():
    plain, learnt, labels = drawn(300, -1.0, -1.0, 0)
    found = weigh(plain, learnt, labels)
    assert found.slope > 0
    assert found.weight == 0
    assert spearmanr(found(plain, learnt), plain).statistic == pytest.approx(1)


def test_the_fit_is_a_logistic_regression_with_a_penalty_on_each_weight():
    plain, learnt, labels = drawn(300, 1.0, 1.0, 2)
    rows = np.stack([np.ones(300), plain, learnt], axis=1)
    found = weighing._fit(rows, labels, 1.0)  # the penalty of the plain one is 1, too
    oracle = LogisticRegression(C=1.0, tol=1e-8).fit(rows[:, 1:], labels)
    np.testing.assert_allclose(found[1:], oracle.coef_[0], atol=2e-3)
    np.testing.assert_allclose(found[0], oracle.intercept_[0], atol=2e-3)
    alone = weighing._fit(rows, labels, float("inf"))
    assert alone[2] == 0
    oracle = LogisticRegression(C=1.0, tol=1e-8).fit(rows[:, 1:2], labels)
    np.testing.assert_allclose(alone[1], oracle.coef_[0, 0], atol=2e-3)


def test_the_strongest_penalty_within_an_error_of_the_best_is_taken():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 400)
    losses = np.stack([1.0 + noise, 0.5 + noise + rng.normal(0, 0.2, 400), 0.5 + noise])
    assert weighing._strongest(losses) == 1
    assert weighing._strongest(losses[::-1]) == 0
    assert weighing._strongest(np.zeros((3, 10))) == 0


def test_it_is_the_same_again_from_plain_values():
    plain, learnt, labels = drawn(200, 0.5, 1.5, 3)
    found = weigh(plain, learnt, labels)
    again = Weighing.from_json(found.to_json())
    np.testing.assert_array_equal(again(plain, learnt), found(plain, learnt))
    assert again.penalty == found.penalty
    with pytest.raises(ArtifactError, match="damaged"):
        Weighing.from_json({"plain": [[0], [0]]})


def test_labels_of_one_class_are_refused():
    with pytest.raises(DataError, match="one class"):
        weigh([0.1, 0.2], [0.1, 0.2], [1, 1])
    with pytest.raises(DataError, match="NaN"):
        weigh([0.1, np.nan], [0.1, 0.2], [1, 0])
