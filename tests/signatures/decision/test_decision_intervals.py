import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from llmrec.evaluation.significance import resample_weights
from llmrec.signatures.decision import intervals
from llmrec.signatures.decision.intervals import auc_intervals


def drawn(n=120, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, labels + rng.normal(0, 1.5, n), np.round(labels + rng.normal(0, 3, n))


@pytest.mark.parametrize("held", [1 << 16, 500])
def test_intervals_are_those_of_scikit_learns_auc_on_every_resample(monkeypatch, held):
    """Whether all resamples are taken at once or four of them."""
    monkeypatch.setattr(intervals, "_HELD", held)
    labels, good, poor = drawn()
    groups = np.arange(120) // 3
    found = auc_intervals(labels, {"good": good, "poor": poor}, groups.tolist(), draws=60)
    values = {"good": [], "poor": []}
    for weights in resample_weights(40, 0, 60):
        for w in weights[:, groups]:
            for name, risks in (("good", good), ("poor", poor)):
                values[name].append(roc_auc_score(labels, risks, sample_weight=w))
    for name in values:
        ends = np.quantile(values[name], [0.025, 0.975])
        np.testing.assert_allclose([found[name].low, found[name].high], ends, atol=1e-9)
    apart = np.quantile(np.subtract(values["poor"], values["good"]), [0.025, 0.975])
    poor_found = found["poor"]
    np.testing.assert_allclose(
        [poor_found.difference_low, poor_found.difference_high], apart, atol=1e-9
    )
    assert poor_found.difference == pytest.approx(poor_found.auc - found["good"].auc)


def test_a_resample_of_one_class_counts_for_nothing():
    labels, risks = [0, 0, 1, 1, 1], [0.1, 0.4, 0.3, 0.8, 0.9]
    found = auc_intervals(labels, {"m": risks}, list("aabbc"), draws=200)["m"]
    assert found.auc == 5 / 6
    assert (found.low, found.high) == (3 / 4, 1)  # a third of the resamples lacks a or all others


def test_groups_that_move_together_widen_the_interval():
    labels, good, _ = drawn(60)
    copies = [np.repeat(values, 10) for values in (labels, good)]
    groups = np.repeat(np.arange(60), 10).tolist()
    alone = auc_intervals(copies[0], {"m": copies[1]})["m"]
    together = auc_intervals(copies[0], {"m": copies[1]}, groups)["m"]
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_two_items_have_no_interval():
    found = auc_intervals([0, 1], {"m": [0.1, 0.2]}, ["a", "a"])["m"]
    assert found.auc == 1
    assert auc_intervals([0, 1, 1], {"m": [0.1, 0.2, 0.3]}, list("abb"))["m"].low >= 0
