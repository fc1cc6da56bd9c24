"""The scripts of detectors' figures on small tables: whole cells, one split, nothing seen early."""

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.runs.recipe import load_values
from llmrec.signatures.comparison import load_signature_results
from llmrec.signatures.records import SignatureSet
from llmrec.testing.signatures import labelled_signatures

FOLDER = Path(__file__).parents[2] / "eval" / "signatures"
NAMES = (
    "reporting",
    "transfer",
    "mcq",
    "completions",
    "page",
    "calibration_choice",
    "calibration_figures",
)


@pytest.fixture
def load(monkeypatch):
    """Import a script of the folder, which is not a package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def write_table(path, seed):
    """160 questions of 16 subjects in two modes; the surer the answer, the more often right."""
    rng = np.random.default_rng(seed)
    lines = ["question_id,subject,mode,gold,tokens,probs"]
    for mode in ("Direct", "afterThinking"):
        for question in range(160):
            best = rng.uniform(0.3, 0.95)
            rest = (1 - best) * np.array([0.6, 0.3, 0.1])
            gold = "a" if rng.random() < best else "b"
            probs = " ".join(f"{p:.5f}" for p in (best, *rest))
            lines.append(f"q{question},s{question % 16},{mode},{gold},a b c d,{probs}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def recipe(load, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_DATA_HOME", str(tmp_path))
    for seed, name in enumerate(("one", "two")):
        write_table(tmp_path / f"{name}.csv", seed)
    small = {"epochs": 1, "batch_size": 32}
    changes = [
        "files={one: one.csv, two: two.csv}",
        "seeds=[0]",
        "baseline_seeds=[0]",
        "k=4",
        f"los_net={{k: 4, hidden: 16, training: {small}}}",
        "transfer_labels=40",
        "transfer_seeds=[0]",
    ]
    return load_values(FOLDER / "mcq.yaml", changes, load("mcq").KEYS)


def options(tmp_path, **changes):
    values = {
        "baselines": ["max_probability", "logistic"], "select": False, "recipe": "mcq.yaml",
        "commit": "none", "test_runs": 2, "output": tmp_path / "out",
    }  # fmt: skip
    return argparse.Namespace(**{**values, **changes})


def test_a_cell_from_tables_to_a_result(load, recipe, tmp_path):
    mcq = load("mcq")
    assert "one-direct: " in mcq.judge_cell(recipe, options(tmp_path), "one-direct")
    mcq.judge_cell(recipe, options(tmp_path), "two-reasoned")
    first, second = load_signature_results(tmp_path / "out")
    assert first.methods.keys() >= {"los_net", "max_probability", "logistic", "shuffled_labels"}
    assert first.split.calibration_folds == 3
    assert [moved.target for moved in first.transfer] == ["two"]
    assert first.transfer[0].labels == 40
    assert first.split.hash == second.split.hash  # one split for every LLM and mode
    assert sum(first.split.groups.values()) == 16
    assert (first.test_runs, first.recipe) == (2, "mcq.yaml")


def test_selection_leaves_the_test_part_alone(load, recipe, tmp_path):
    mcq = load("mcq")
    mcq.judge_cell(recipe, options(tmp_path, select=True), "one-direct")
    (found,) = load_signature_results(tmp_path / "out")
    split = mcq.load_mode(recipe, "direct")[1]
    standing_in = {g for g, part in split.parts.items() if part == "calibrate"}
    assert found.split.groups["test"] == len(standing_in)
    assert found.test_runs == 0
    assert found.transfer == ()


def test_calibrations_are_compared_without_the_test_part(load, recipe):
    choice = load("calibration_choice")
    found = choice.outside_scores(recipe, "one-direct")
    cells, split = load("mcq").load_mode(recipe, "direct")
    tested = {group for group, part in split.parts.items() if part == "test"}
    assert tested
    assert set(found.subjects) == set(cells["one"].groups) - tested
    assert found.scores.shape == found.labels.shape == (len(found.subjects),)
    assert set(found.tested_subjects) == tested
    assert found.tested.shape == (len(found.tested_subjects),)


def test_measured_errors_stand_beside_those_of_right_probabilities(load):
    rng = np.random.default_rng(0)
    codes = np.arange(4000) % 40
    scores = rng.normal(0, 1.5, 4000)
    shifted = scores + rng.normal(0, 0.5, 40)[codes]
    labels = (rng.random(4000) < 1 / (1 + np.exp(-shifted))).astype(float)
    subjects = [f"s{code}" for code in codes]
    choice = load("calibration_choice")
    cell = choice.figures_of(
        choice.CellScores(scores, labels, subjects, scores[:900], subjects[:900]), 3
    )
    assert (cell.tested, cell.tested_subjects) == (900, 40)
    assert cell.shift == pytest.approx(0.5, abs=0.15)
    mean, low, high = cell.floor
    assert 0 < low < mean < high
    assert cell.floor_with_shift[0] > mean
    figures, page = load("calibration_figures"), load("page")
    every = figures.CalibrationFigures(
        figure="calibration", cells={"a": cell, "b": cell}, repeats=3, recipe="mcq.yaml",
        commit="none", hardware="a laptop",
    )  # fmt: skip
    assert every.mean_errors() == cell.errors
    first = f"| mean | {cell.errors['Platt on few subjects']:.4f} |"
    assert first in figures.calibration_table(every)
    assert f"| a | 900, 40 | - | {mean:.3f} [" in page.floor_table(every, [])


def test_a_transfer_replaces_the_transfer_alone(load, recipe, tmp_path):
    mcq = load("mcq")
    with pytest.raises(DataError, match="has no result mcq-one-direct"):
        mcq.transfer_cell(recipe, options(tmp_path), "one-direct")
    mcq.judge_cell(recipe, options(tmp_path), "one-direct")
    (before,) = load_signature_results(tmp_path / "out")
    assert "one-direct: to 1 others" in mcq.transfer_cell(
        recipe, options(tmp_path, commit="later", test_runs=7), "one-direct"
    )
    (after,) = load_signature_results(tmp_path / "out")
    assert after.model_copy(update={"transfer": before.transfer}) == before
    (old,), (new,) = before.transfer, after.transfer
    assert (new.commit, new.test_runs, old.commit) == ("later", 7, None)
    # the same networks, the same records to tune with
    assert new.model_copy(update={"commit": None, "test_runs": None}) == old
    assert new.adapted is not None
    assert load("page").transfer_table([after]).count(f"{new.adapted.mean:.4f}") >= 1


def test_subjects_that_are_counted_alike_calibrate_the_next_ones_better(load):
    """One large subject is unlike all others, which a few subjects or a sum of items do not see."""
    rng = np.random.default_rng(0)
    sizes = [4000] + [100] * 30
    codes = np.repeat(np.arange(31), sizes)
    scores = rng.normal(0, 2, codes.size)
    off = np.where(codes == 0, 3.0, 0.0)
    labels = (rng.random(codes.size) < 1 / (1 + np.exp(-(scores + off)))).astype(float)
    found = load("calibration_choice").errors_of(scores, labels, [f"s{i}" for i in codes], 8)
    assert found["Platt, subjects alike"] < found["Platt on all"]
    assert found["Platt, subjects alike"] < found["Platt on few subjects"]


def test_a_task_left_out_is_tested_and_never_learnt(load):
    records, labels = labelled_signatures(60, seed=0)
    tasks = [("x", "y", "z")[i % 3] for i in range(60)]
    signatures = SignatureSet.of(records, labels, task=tasks)
    split = load("completions").split_without(signatures, "y", 0.25)
    tested = split.rows("test", signatures.groups)
    assert {tasks[i] for i in tested} == {"y"}
    assert tested.size == 20
    assert split.rows("learn", signatures.groups).size == 30


@pytest.mark.parametrize("name", ["mcq", "completions"])
def test_shipped_recipes_are_whole(load, name):
    script = load(name)
    recipe = load_values(FOLDER / f"{name}.yaml", [], script.KEYS)
    assert recipe["seeds"] == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="unknown"):
        load_values(FOLDER / f"{name}.yaml", ["unknown=1"], script.KEYS)


def test_after_a_few_labels_no_detector_is_worse_than_the_single_score_beyond_chance(load):
    results = load_signature_results(load("page").ROOT / "eval" / "results")
    moved = [one for result in results if result.task[:4] == "mcq-" for one in result.transfer]
    assert len(moved) == 24
    assert all(one.adapted_less_single[1] > -1e-9 for one in moved)
    below = sum(one.tuned_less_single[1] < 0 for one in moved)
    above = sum(one.tuned_less_single[0] > 0 for one in moved)
    assert f"in {below} of 24 pairs,\nand above in {above}." in load("page").PAGE.read_text()


def test_the_page_shows_the_committed_figures(load):
    page = load("page")
    results = load_signature_results(page.ROOT / "eval" / "results")
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_tables(text, results) == text
    calibration = load("calibration_figures").load_calibration()
    assert page.with_calibration(text, calibration, results) == text
    assert all(f"| {result.task} |" in text for result in results)
