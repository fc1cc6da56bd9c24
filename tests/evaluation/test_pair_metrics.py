import math

import numpy as np
import pytest
from sklearn import metrics as sk

from llmrec.errors import DataError
from llmrec.evaluation.metrics import pairs


@pytest.mark.parametrize("levels", [None, 4])
def test_pooled_metrics_agree_with_scikit_learn(levels):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    p = rng.random(300) if levels is None else rng.integers(0, levels, 300) / levels
    assert pairs.auc(labels, p) == pytest.approx(sk.roc_auc_score(labels, p))
    assert pairs.accuracy(labels, p) == pytest.approx(sk.accuracy_score(labels, p >= 0.5))
    assert pairs.logloss(labels, p) == pytest.approx(sk.log_loss(labels, p))


def test_user_metrics_agree_with_scikit_learn_user_by_user():
    rng = np.random.default_rng(2)
    users, labels = rng.integers(0, 20, 400), rng.integers(0, 2, 400)
    labels[users == 3] = 1  # a user with one label has no AUC
    scores = rng.integers(0, 30, 400)
    values, sizes = [], []
    for user in set(range(20)) - {3}:
        mine = users == user
        values.append(sk.roc_auc_score(labels[mine], scores[mine]))
        sizes.append(mine.sum())
    assert pairs.uauc(users, labels, scores) == pytest.approx(np.mean(values))
    assert pairs.gauc(users, labels, scores) == pytest.approx(np.average(values, weights=sizes))
    assert np.isnan(pairs.auc_per_user(users, labels, scores)[0][3])


def test_auc_of_ties_is_a_half():
    assert pairs.auc([1, 0, 1, 0], [2, 2, 2, 2]) == 0.5


def test_auc_without_both_labels_is_undefined():
    assert math.isnan(pairs.auc([1, 1], [0.2, 0.3]))
    assert math.isnan(pairs.uauc([0, 0], [1, 1], [0.2, 0.3]))
    assert math.isnan(pairs.gauc([0, 0], [1, 1], [0.2, 0.3]))


def test_ece_by_hand():
    # Bins of width 0.5. Low: 0.2, 0.4 with one positive: |1 - 0.6|. High: 0.5, 1.0, 0.9 with two
    # positives: |2 - 2.4|. Both over five pairs.
    assert pairs.ece([0, 1, 1, 1, 0], [0.2, 0.4, 0.5, 1.0, 0.9], bins=2) == pytest.approx(0.16)


def test_certain_and_right_costs_nothing_and_certain_and_wrong_stays_finite():
    assert pairs.logloss([1, 0], [1.0, 0.0]) == pytest.approx(0, abs=1e-12)
    assert 30 < pairs.logloss([0], [1.0]) < 40


@pytest.mark.parametrize("metric", [pairs.logloss, pairs.accuracy, pairs.ece])
def test_scores_are_not_probabilities(metric):
    with pytest.raises(DataError, match="probabilities between 0 and 1"):
        metric([1, 0], [0.5, 1.2])
