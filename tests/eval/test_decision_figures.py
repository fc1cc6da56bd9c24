"""The committed figures of decisions have their form, and hold what the page says about them."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

EVAL = Path(__file__).parents[2] / "eval"


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(EVAL))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EVAL))


@pytest.fixture(scope="module")
def conformal(scripts):
    return scripts("decision_tables").load_conformal()


def test_no_promise_is_broken_more_often_than_it_may_be(conformal):
    selective = [row for row in conformal.rows if row.rule == "selective"]
    assert len(selective) == 3 * 2 * 3 + 8 * 2 * 3
    assert all(row.broken <= conformal.delta for row in selective)
    assert all(row.draws == (1000 if row.source == "simulated" else 200) for row in selective)
    # the mean of bounded errors is within the bound, but for the noise of the draws
    for row in conformal.rows:
        if row.rule == "bounded":
            assert row.mean_error <= row.alpha * 1.02


def test_on_average_more_is_answered_than_with_the_best_probability(conformal):
    for alpha in (0.05, 0.1, 0.2):
        own, other = (
            [
                row.coverage
                for row in conformal.rows
                if (row.score, row.rule, row.alpha) == (score, "selective", alpha)
            ]
            for score in ("LOS-Net", "p-max")
        )
        assert len(own) == len(other) == 8
        assert np.mean(own) > np.mean(other)


def test_the_drift_alarm_keeps_its_rate_and_rings(scripts):
    figures = scripts("decision_tables").load_drift()
    for row in figures.rows:
        assert row.alarms <= row.level if row.change == "none" else row.alarms > 0.95


def test_a_small_simulation_finds_what_is_known(scripts):
    rows = list(scripts("conformal").simulated(20, sizes=(200,)))
    assert len(rows) == 3 * 3 * 2
    assert {row.rule for row in rows} == {"selective", "bounded"}
    assert all(0 <= row.coverage <= 1 for row in rows)
    assert any(row.certified > 0 for row in rows)


def test_records_of_a_warmer_server_are_still_distributions(scripts):
    drift = scripts("drift_alarm")
    records, _ = drift.labelled_signatures(5, 0)
    warm = drift.warmer(records[0], 2.0)
    total = np.exp(warm.topk_logprobs).sum(axis=1) + np.exp(warm.tail_logmass)
    np.testing.assert_allclose(total, 1, atol=1e-4)
    assert (warm.topk_logprobs[:, 0] < records[0].topk_logprobs[:, 0]).all()
    halved = drift.half(records)[0]
    assert halved.k == records[0].k // 2
    total = np.exp(halved.topk_logprobs).sum(axis=1) + np.exp(halved.tail_logmass)
    np.testing.assert_allclose(total, 1, atol=1e-4)
