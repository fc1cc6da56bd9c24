"""The committed figures of decisions have their form, and hold what the page says about them."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from llmrec.signatures.decision.selective import STARTS

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


def test_nowhere_is_less_answered_than_with_the_best_probability_beyond_chance(conformal):
    rows = [row for row in conformal.rows if row.above_p_max_ci95 is not None]
    assert len(rows) == 8 * 3
    assert all(row.above_p_max_ci95[1] >= 0 for row in rows)


def test_walks_start_where_the_comparison_says(scripts, conformal):
    starts = scripts("decision_tables").load_starts()
    assert starts.taken == conformal.starts == STARTS
    assert scripts("conformal_starts").chosen(starts.rows, starts.draws) == starts.taken


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


def cell_of(scripts, labels, better, worse):
    subjects = np.arange(labels.size) % 20
    scores = {"LOS-Net": better, "p-max": worse}
    return scripts("conformal_items").Cell("drawn", labels, subjects, scores)


def test_intervals_of_coverage_tell_a_better_order_from_the_same_one(scripts):
    conformal = scripts("conformal")
    rng = np.random.default_rng(0)
    risks = rng.random(2000)
    labels = (rng.random(2000) < 0.6 * risks).astype(float)
    same = conformal.coverage_intervals(cell_of(scripts, labels, risks, risks), 8, 500)
    assert set(same.values()) == {(0.0, 0.0)}
    coin = rng.random(2000)
    better = conformal.coverage_intervals(cell_of(scripts, labels, risks, coin), 8, 500)
    low, high = better[0.2]
    assert 0 < low <= high <= 1
    worse = conformal.coverage_intervals(cell_of(scripts, labels, coin, risks), 8, 500)
    assert worse[0.2] == pytest.approx((-high, -low))


def test_starts_are_compared_on_the_same_samples(scripts):
    starts = scripts("conformal_starts")
    rng = np.random.default_rng(0)
    risks = rng.random(1500)
    labels = (rng.random(1500) < 0.5 * risks).astype(float)
    figures = starts.judged(cell_of(scripts, labels, risks, 2 * risks), 5, 400)
    assert figures["LOS-Net"] == figures["p-max"]  # the same order
    assert figures["LOS-Net"].keys() == {(s, a) for s in starts.RULES for a in starts.ALPHAS}
    covered = [figures["LOS-Net"][starts.RULES[0], alpha][0] for alpha in starts.ALPHAS]
    assert covered == sorted(covered)
    assert covered[-1] > 0


def test_the_rule_that_answers_most_is_taken_unless_it_breaks_promises(scripts):
    starts = scripts("conformal_starts")

    def row(rule, coverage, simulated_broken):
        return starts.StartsRow(
            starts=rule, alpha=0.1, simulated_coverage=0.5, simulated_broken=simulated_broken,
            coverage=coverage, p_max_coverage=0.2, broken=0.0, cells_below=0,
        )  # fmt: skip

    rows = [row((0.1,), 0.3, 0.02), row((0.2,), 0.4, 0.06), row((0.3,), 0.5, 0.07)]
    assert starts.chosen(rows, 1000) == (0.2,)  # .06 is within two standard errors of .05
    assert starts.chosen(rows, 100_000) == (0.1,)
