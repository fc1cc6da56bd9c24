import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from llmrec.errors import DataError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.signatures.decision import curves
from llmrec.signatures.decision.labelled import upside_down, warn_if_upside_down

LABELLED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=30)


def drawn(levels=None, n=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    risks = rng.random(n) if levels is None else rng.integers(0, levels, n) / levels
    return labels, risks + 0.3 * labels


@pytest.mark.parametrize("levels", [None, 4])
def test_roc_and_precision_recall_agree_with_scikit_learn(levels):
    labels, risks = drawn(levels)
    fpr, tpr, _ = sk.roc_curve(labels, risks, drop_intermediate=False)
    found = curves.roc_curve(labels, risks)
    np.testing.assert_allclose([found.x, found.y], [fpr, tpr])
    precision, recall, _ = sk.precision_recall_curve(labels, risks)
    ours = curves.precision_recall_curve(labels, risks)
    np.testing.assert_allclose([ours.x, ours.y], [recall[:-1][::-1], precision[:-1][::-1]])
    expected = sk.average_precision_score(labels, risks)
    assert curves.average_precision(labels, risks) == pytest.approx(expected)


def test_tpr_at_a_false_alarm_rate_is_the_best_threshold_of_all():
    labels, risks = drawn(7, 80)
    for rate in (0.0, 0.01, 0.05, 0.3, 1.0):
        flags = [risks > t for t in [-1, *np.unique(risks)]]
        allowed = [f[labels == 1].mean() for f in flags if f[labels == 0].mean() <= rate]
        assert curves.tpr_at_fpr(labels, risks, rate) == pytest.approx(max(allowed))


def test_risk_coverage_is_the_mean_over_all_orders_of_ties():
    labels, risks = np.array([1, 0, 1, 0, 0, 1]), np.array([0.2, 0.1, 0.2, 0.2, 0.5, 0.5])
    every = [
        np.cumsum(labels[list(order)]) / np.arange(1, 7)
        for order in permutations(range(6))
        if (np.diff(risks[list(order)]) >= 0).all()
    ]
    found = curves.risk_coverage_curve(labels, risks)
    np.testing.assert_allclose(found.y, np.mean(every, axis=0))
    np.testing.assert_allclose(found.x, np.arange(1, 7) / 6)
    assert curves.aurc(labels, risks) == pytest.approx(np.mean(every))


@given(LABELLED)
def test_ideal_orders_have_no_excess_and_full_coverage_has_the_mean_error(pairs):
    labels, risks = np.array(pairs).T
    assert curves.e_aurc(labels, labels * 9 + risks) >= -1e-12
    assert curves.e_aurc(labels, labels) == pytest.approx(0)
    assert curves.e_aurc(labels, risks) >= -1e-12
    assert curves.risk_coverage_curve(labels, risks).y[-1] == pytest.approx(labels.mean())


@given(LABELLED.filter(lambda pairs: len({label for label, _ in pairs}) == 2))
def test_rejected_answers_that_count_as_right_give_twice_the_auc_minus_one(pairs):
    # Malinin and Gales' ratio, by the curve of errors that are left, against the AUC
    labels, risks = np.array(pairs, dtype=float).T
    found = curves.risk_coverage_curve(labels, risks)
    ideal = curves.risk_coverage_curve(labels, labels)
    left = [np.append(0, c.y * c.x) for c in (found, ideal)]  # errors over all items
    areas = [np.trapezoid(y, np.append(0, found.x)) for y in left]
    random = labels.mean() / 2
    ratio = (random - areas[0]) / (random - areas[1])
    assert ratio == pytest.approx(2 * auc(labels, risks) - 1)
    assert -1e9 < curves.prr(labels, risks) <= 1 + 1e-12
    assert curves.prr(labels, np.zeros(labels.size)) == pytest.approx(0)


def test_prr_of_a_perfect_and_of_a_reversed_score():
    labels = np.array([0, 0, 1, 1])
    assert curves.prr(labels, [0.1, 0.2, 0.8, 0.9]) == 1
    # answered worst first: errors 1, 1, 2/3, 1/2; ideal 0, 0, 1/3, 1/2
    assert curves.prr(labels, [0.9, 0.8, 0.2, 0.1]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("labels", "risks", "sentence"),
    [
        ([], [], "give one number for each"),
        ([1, 0], [0.1], "give one each"),
        ([1, 0], [0.1, math.nan], "risk of item 1 is NaN"),
        ([1, 2], [0.1, 0.2], "item 1 has label 2"),
        ([1, 1], [0.1, 0.2], "labels of one class"),
    ],
)
def test_what_has_no_curve_is_refused_by_sentence(labels, risks, sentence):
    with pytest.raises(DataError, match=sentence):
        curves.roc_curve(labels, risks)


def test_labels_upside_down_are_warned_about_with_the_likely_cause():
    labels, risks = drawn()
    with pytest.warns(UserWarning, match=r"below \.5.*labels are upside down"):
        warn_if_upside_down(1 - labels, risks)
    assert f"{1 - auc(labels, risks):.3f}" in upside_down(1 - labels, risks)


def test_an_auc_below_a_half_by_chance_is_not_warned_about(recwarn):
    assert auc([1, 0, 1], [0.2, 0.3, 0.1]) == 0
    assert upside_down([1, 0, 1], [0.2, 0.3, 0.1]) is None
    warn_if_upside_down([1, 0, 1], [0.2, 0.3, 0.1])
    assert not recwarn.list
