import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.evaluation.metrics.pairs import auc, ece, logloss
from llmrec.signatures.decision.calibration import (
    METHODS,
    Calibration,
    choose_calibration,
    fit_calibration,
    group_weights,
    log_odds,
)
from llmrec.signatures.decision.reliability import brier, reliability, wilson


def overconfident(n=4000, seed=0, factor=3.0, shift=0.5):
    """Scores whose true log-odds are ``score / factor + shift``."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 4, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-(scores / factor + shift)))).astype(int)
    return scores, labels


def test_platt_agrees_with_scikit_learn():
    scores, labels = overconfident(500)
    found = fit_calibration(scores, labels, "platt")
    theirs = _SigmoidCalibration().fit(scores, labels)
    np.testing.assert_allclose(found(scores), theirs.predict(scores), atol=2e-5)


def test_temperature_agrees_with_a_regression_without_intercept():
    scores, labels = overconfident(500)
    theirs = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-8).fit(scores[:, None], labels)
    found = fit_calibration(scores, labels, "temperature")
    assert found.slope == pytest.approx(theirs.coef_[0, 0], rel=1e-3)
    assert found.intercept == 0


def test_isotonic_agrees_with_scikit_learn_and_is_never_certain():
    scores, labels = overconfident(400)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    found = fit_calibration(scores, labels, "isotonic")
    ask = np.linspace(-20, 20, 101)
    expected = np.clip(theirs.predict(ask), 1 / 402, 401 / 402)
    np.testing.assert_allclose(found(ask), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_calibration_mends_new_items_and_keeps_their_order(method):
    scores, labels = overconfident(shift=0.0)  # a temperature mends no shift
    new, truth = overconfident(seed=1, shift=0.0)
    raw = 1 / (1 + np.exp(-new))
    found = fit_calibration(scores, labels, method)(new)
    assert ece(truth, found) < 0.06 < ece(truth, raw)
    assert logloss(truth, found) < logloss(truth, raw)
    assert (np.diff(found[np.argsort(new)]) >= 0).all()
    assert auc(truth, found) == pytest.approx(auc(truth, new), abs=0.005)


def test_the_true_curve_is_found():
    found = fit_calibration(*overconfident(200_000), "platt")
    assert 1 / found.slope == pytest.approx(3, abs=0.05)
    assert found.intercept == pytest.approx(0.5, abs=0.02)


def test_the_method_with_least_loss_is_chosen():
    scores, labels = overconfident(3000, shift=1.5)
    assert choose_calibration(scores, labels).method != "temperature"
    rng = np.random.default_rng(2)
    steps = rng.integers(0, 3, 3000)  # no sigmoid goes .1, .1, .9
    labels = rng.random(3000) < np.array([0.1, 0.12, 0.9])[steps]
    found = choose_calibration(steps, labels, groups=list(range(3000)))
    assert found.method == "isotonic"
    assert choose_calibration([0.1, 0.5, 0.3], [0, 1, 0]).method in METHODS


@pytest.mark.parametrize("method", METHODS)
def test_an_item_that_counts_twice_is_two_items(method):
    scores, labels = overconfident(400)
    twice = np.arange(400) % 3 == 0
    copied = [np.concatenate([values, values[twice]]) for values in (scores, labels)]
    found = fit_calibration(scores, labels, method, np.where(twice, 2.0, 1.0))
    expected = fit_calibration(*copied, method)
    ask = np.linspace(-12, 12, 50)
    # the weights are scaled to a mean of 1, which Platt's smoothed targets and the least level of
    # steps take for the number of items
    np.testing.assert_allclose(found(ask), expected(ask), atol=2e-3)
    alike = fit_calibration(scores, labels, method, np.full(400, 7.0))
    assert alike == fit_calibration(scores, labels, method)


def test_groups_that_count_alike():
    """A large group is off; most groups are not, and the next one is most likely like them."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(21), [2000] + [100] * 20)
    scores = rng.normal(0, 2, groups.size)
    shift = np.where(groups == 0, 2.0, 0.0)
    labels = rng.random(groups.size) < 1 / (1 + np.exp(-(scores + shift)))
    items = fit_calibration(scores, labels)
    alike = fit_calibration(scores, labels, "platt", group_weights(groups.tolist()))
    assert items.intercept > 0.7
    assert abs(alike.intercept) < 0.25
    chosen = choose_calibration(scores, labels, groups.tolist(), weights=np.ones(groups.size))
    assert chosen == choose_calibration(scores, labels, groups.tolist())


def test_weights_that_fit_nothing_are_refused():
    for weights in ([1.0], [0.0, 1.0], [np.inf, 1.0]):
        with pytest.raises(DataError, match="2 items need 2 weights above 0"):
            fit_calibration([0.1, 0.2], [0, 1], "platt", weights)


@pytest.mark.parametrize("method", METHODS)
def test_saving_and_reading_back(method):
    scores, labels = overconfident(300)
    found = fit_calibration(scores, labels, method)
    again = Calibration.from_json(found.to_json())
    assert again == found
    assert (again(scores) == found(scores)).all()


@pytest.mark.parametrize("change", [{"method": "magic"}, {"slope": "x"}, {"knots": [1.0]}])
def test_a_damaged_calibration_is_refused(change):
    values = fit_calibration(*overconfident(50)).to_json() | change
    with pytest.raises(ArtifactError, match="damaged"):
        Calibration.from_json(values)


@pytest.mark.parametrize("method", METHODS)
def test_upside_down_labels_and_one_class_are_refused(method):
    scores, labels = overconfident(300)
    with pytest.raises(DataError, match="upside down"):
        fit_calibration(scores, 1 - labels, method)
    with pytest.raises(DataError, match="one class"):
        fit_calibration(scores, labels * 0, method)
    with pytest.raises(DataError, match="give one number"):
        fit_calibration([], [], method)


def test_unknown_methods_and_improbable_probabilities():
    with pytest.raises(ConfigError, match="did you mean 'platt'"):
        fit_calibration([0, 1], [0, 1], "plat")
    with pytest.raises(DataError, match="between 0 and 1"):
        log_odds([1.2])
    assert np.isfinite(log_odds([0.0, 1.0])).all()


def test_wholly_separated_items_stay_finite():
    for method in METHODS:
        found = fit_calibration([-2, -1, 1, 2], [0, 0, 1, 1], method)
        assert np.isfinite(found([-100, 0, 100])).all()


def test_brier_and_reliability_by_hand():
    labels, p = [0, 1, 1, 1, 0], [0.2, 0.4, 0.5, 1.0, 0.9]
    assert brier(labels, p) == pytest.approx((0.04 + 0.36 + 0.25 + 0 + 0.81) / 5)
    low, high = reliability(labels, p, bins=2)
    assert (low.items, low.mean_risk, low.share_wrong) == (2, pytest.approx(0.3), 0.5)
    assert (high.items, high.mean_risk) == (3, pytest.approx(0.8))
    assert high.share_wrong == pytest.approx(2 / 3)
    assert low.low < 0.5 < low.high
    with pytest.raises(DataError, match="calibrate the score first"):
        brier([1], [1.5])
    with pytest.raises(ConfigError, match="bins is 0"):
        reliability(labels, p, bins=0)


def test_bins_make_up_the_calibration_error():
    scores, labels = overconfident(500)
    p = 1 / (1 + np.exp(-scores))
    rows = reliability(labels, p)
    total = sum(r.items * abs(r.mean_risk - r.share_wrong) for r in rows) / 500
    assert total == pytest.approx(ece(labels, p))
    even = reliability(labels, p, 10, equal_sizes=True)
    assert [r.items for r in even] == [50] * 10
    assert sum(r.items for r in reliability(labels, np.round(p, 1), 10, equal_sizes=True)) == 500


def test_wilson_agrees_with_scipy():
    from scipy.stats import binomtest

    for hits, n in [(0, 10), (3, 7), (59, 60), (60, 60)]:
        theirs = binomtest(hits, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(hits, n), theirs, atol=1e-9)
