"""Committed figures of sessions: their form, their intervals, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import ArtifactError, ConfigError
from llmrec.evaluation.results import load_results
from llmrec.evaluation.session_results import (
    FIGURES,
    SessionResult,
    curve_table,
    difference,
    figure_of,
    load_session_results,
    session_table,
    share_of,
    variant_table,
    write_session_result,
)

RESULTS = Path(__file__).parents[2] / "eval" / "results"
RNG = np.random.default_rng(0)
BEFORE = [RNG.normal(7, 1, 200) for _ in range(2)]
AFTER = [values + RNG.normal(2, 0.5, 200) for values in BEFORE]


def result(**changes):
    systems = {
        "supervised": {"true_reward": figure_of(BEFORE)},
        "aligned": {"true_reward": figure_of(AFTER), "ndcg@10": figure_of(BEFORE)},
    }
    gained = np.mean(AFTER, 0) - np.mean(BEFORE, 0)
    values = {
        "name": "toy",
        "task": "toy-task",
        "dataset": "toy",
        "dataset_fingerprint": "f",
        "split": "s",
        "items": 5,
        "seeds": (1, 2),
        "n_users": 200,
        "systems": systems,
        "validation": systems,
        "closed": share_of(gained, np.full(200, 10.0)),
        "gain": share_of(gained, np.mean(BEFORE, 0)),
        "ndcg_difference": difference(BEFORE, BEFORE),
        "best_of": {"aligned": {1: {"true_reward": 9.0}}},
        "ablations": {"random pairs": {"true_reward": figure_of(BEFORE[:1])}},
        "recipe": "eval/recipes/toy.yaml",
        "commit": "abc",
        "test_runs": 1,
        "hardware": "a processor",
        "wall_seconds": 1.0,
        **changes,
    }
    return SessionResult(**values)


def test_figures_are_means_over_users_and_seeds():
    found = figure_of(BEFORE)
    assert found.mean == pytest.approx(np.mean(BEFORE))
    assert found.per_seed == tuple(pytest.approx(values.mean()) for values in BEFORE)
    assert found.ci95[0] < found.mean < found.ci95[1]


def test_shares_are_ratios_of_sums_and_differences_are_paired():
    gained, possible = np.array([1.0, 3.0, -1.0]), np.array([4.0, 5.0, 1.0])
    assert share_of(gained, possible).mean == pytest.approx(0.3)
    found = difference(AFTER, BEFORE)
    assert found.mean == pytest.approx(np.mean(AFTER) - np.mean(BEFORE))
    # much narrower than users differ: the same users stand on both sides
    assert found.ci95[1] - found.ci95[0] < 0.2
    assert difference(BEFORE, BEFORE).ci95 == (0.0, 0.0)


def test_written_and_read_it_is_the_same(tmp_path):
    written = result()
    path = write_session_result(written, tmp_path)
    assert path == tmp_path / "sessions" / "toy.json"
    assert load_session_results(tmp_path) == [written]
    assert load_results(tmp_path) == []  # they are no results of a task
    path.write_text('{"name": "toy"}')
    with pytest.raises(ArtifactError, match=r"toy\.json"):
        load_session_results(tmp_path)


def test_the_table_has_a_row_per_system():
    table = session_table(result())
    lines = table.splitlines()
    assert lines[0] == "**toy-task**, lists of 5, 200 users, 2 seeds"
    assert len(lines) == 6
    assert lines[-1].startswith(f"| aligned | {np.mean(AFTER):.2f} | - |")
    assert lines[-2].count(" - ") == len(FIGURES) - 1


def test_the_tables_of_list_numbers_and_variants():
    curve = {16: {"true_reward": 9.5, "rank_correlation": 0.25}, 1: {"true_reward": 9.0}}
    lines = curve_table(result(best_of={"aligned": curve})).splitlines()
    assert lines[0] == "| system | lists | true reward | rank correlation |"
    assert lines[2:] == ["| aligned | 1 | 9.00 | - |", "| aligned | 16 | 9.50 | 0.25 |"]
    *_, row = variant_table(result()).splitlines()
    assert row == f"| random pairs | {np.mean(BEFORE[0]):.2f} | - | - | - | - |"


def test_figures_that_do_not_fit_are_refused():
    with pytest.raises((ConfigError, ValueError), match="unknown figures"):
        result(systems={"a": {"speed": figure_of(BEFORE)}, "b": {}})
    with pytest.raises((ConfigError, ValueError), match="not one value per seed"):
        result(seeds=(1, 2, 3))


def test_committed_figures_have_the_form():
    for found in load_session_results(RESULTS):
        assert (RESULTS.parents[1] / found.recipe).is_file()
        assert all(figures["legality"].mean == 1.0 for figures in found.systems.values())
        assert found.validation.keys() == found.systems.keys()
