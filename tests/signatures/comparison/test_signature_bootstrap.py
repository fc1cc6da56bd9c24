"""Figures by weights are those of copied records, and those of scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from llmrec.evaluation.significance import resample_weights
from llmrec.signatures.comparison import bootstrap
from llmrec.signatures.comparison.bootstrap import METRICS, resample
from llmrec.signatures.decision.curves import average_precision, tpr_at_fpr


def drawn(n=300, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(float)
    scores = labels + rng.standard_normal(n)
    groups = [f"g{i}" for i in rng.integers(0, 40, n)]
    return labels, np.round(scores, 1) if ties else scores, groups


@pytest.mark.parametrize("ties", [True, False])
def test_values_are_those_of_other_code(ties):
    labels, scores, groups = drawn(ties=ties)
    found = resample(labels, scores, groups, draws=5).value[0]
    expected = [
        roc_auc_score(labels, scores),
        average_precision_score(labels, scores),
        tpr_at_fpr(labels, scores, 0.01),
        tpr_at_fpr(labels, scores, 0.05),
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert len(METRICS) == 4


def test_a_resample_is_one_of_copied_groups():
    labels, scores, groups = drawn()
    found = resample(labels, [scores, -scores], groups, seed=3, draws=6)
    names = np.unique(groups)
    weights = np.concatenate(list(resample_weights(names.size, 3, 6)))
    for draw, counts in enumerate(weights):
        rows = [
            row
            for name, count in zip(names, counts, strict=True)
            for row in np.flatnonzero(np.array(groups) == name).tolist() * int(count)
        ]
        assert found.drawn[0, draw, 0] == pytest.approx(roc_auc_score(labels[rows], scores[rows]))
        assert found.drawn[1, draw, 1] == pytest.approx(
            average_precision(labels[rows], -scores[rows])
        )


def test_resamples_taken_a_few_at_a_time_are_the_same(monkeypatch):
    labels, scores, groups = drawn()
    whole = resample(labels, [scores, -scores], groups, draws=20)
    monkeypatch.setattr(bootstrap, "_HELD", 3 * labels.size)
    some = resample(labels, [scores, -scores], groups, draws=20)
    np.testing.assert_array_equal(some.drawn, whole.drawn)


def test_differences_are_paired():
    labels, scores, groups = drawn(n=400)
    found = resample(labels, [scores, scores + 1, scores[::-1]], groups)
    np.testing.assert_allclose(found.interval([0], 0, minus=[1]), [0, 0], atol=1e-12)
    low, high = found.interval([0, 1], 0)
    assert low < found.value[0, 0] < high
    assert found.interval([0], 0, minus=[2])[0] > 0


def test_groups_that_hang_together_widen_the_interval():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 60), 20).astype(float)
    scores = np.repeat(rng.standard_normal(60), 20) + labels
    together = resample(labels, scores, np.repeat(np.arange(60), 20).tolist()).interval([0], 0)
    alone = resample(labels, scores, list(range(labels.size))).interval([0], 0)
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_a_resample_of_one_class_counts_for_nothing():
    found = resample([0, 1], [0.1, 0.9], ["a", "b"], draws=50)
    assert np.isnan(found.drawn).any()
    assert np.isfinite(found.interval([0], 0)).all()
