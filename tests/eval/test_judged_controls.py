"""Plans of judged pairs: what is trained, how a grid settles a setting, and the tables made."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "eval"))

import judged_controls  # noqa: E402
import judged_plan  # noqa: E402
import judged_tables  # noqa: E402

from llmrec.data.simulator import simulate  # noqa: E402
from llmrec.errors import ArtifactError  # noqa: E402
from llmrec.evaluation.ablation import load_ablations  # noqa: E402
from llmrec.evaluation.results import load_results  # noqa: E402

TASK = {
    "name": "toy-pairs",
    "version": 1,
    "description": "Simulated likes.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "global_time"},
    "candidates": "pairs",
    "metrics": ["auc", "uauc", "logloss", "ece"],
}
RECIPE = {
    "schema": 1,
    "name": "toy-din",
    "model": {"name": "din", "dim": 4, "hidden": [8], "attention_hidden": 4},
    "training": {"epochs": 1, "batch_size": 64, "metric": "auc"},
    "seeds": [1, 2],
    "threads": 1,
}
PLAN = {
    "seeds": [1, 2],
    "tables": [
        {"metric": "auc"},
        {"metric": "logloss", "suffix": "logloss"},
        {"metric": "auc", "suffix": "consumed", "group": "consumed", "where": {"kind": "consume"}},
        {"metric": "auc", "suffix": "short", "group": "short histories", "events": [0, 15]},
    ],
    "variants": {
        "DIN": {"grid": ["training.learning_rate=0.01", "training.learning_rate=0.0001"],
                "result": ""},
        "DIN, wider": {"overrides": ["model.dim=8"], "grid_of": "DIN"},
        "oracle": {"oracle": True},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Plan file, plan and the folder of its runs."""
    folder = tmp_path_factory.mktemp("controls")
    for name, content in (("task", TASK), ("recipe", RECIPE), ("toy-plan", PLAN)):
        if name == "recipe":
            content = {**content, "task": str(folder / "task.yaml")}
        if name == "toy-plan":
            content = {**content, "recipe": str(folder / "recipe.yaml")}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    plan = judged_plan.read_plan(folder / "toy-plan.yaml")
    judged_controls.train_missing(plan, folder / "runs", "1/1", ("valid", "test"), None)
    return folder / "toy-plan.yaml", plan, folder / "runs"


def test_a_grid_settles_a_setting_for_all_seeds(trained):
    _, plan, runs = trained
    grid = judged_plan.read_json(judged_plan.grid_file(runs, "DIN"))
    assert grid["chosen"] == max(grid["validation"], key=grid["validation"].get)
    rate = float(grid["chosen"].partition("=")[2])
    for name in ("DIN", "DIN, wider"):
        for seed in (1, 2):
            about = judged_plan.read_json(judged_plan.folder_of(runs, name, seed) / "about.json")
            assert about["recipe"]["training"]["learning_rate"] == rate
            assert about["seed"] == seed
    assert [p.name for p in sorted((runs / "DIN").iterdir())] == ["grid.json", "seed-1", "seed-2"]
    assert judged_plan.settled(plan, plan.choices["oracle"], runs) == ()


def test_tables_hold_figures_and_paired_differences(trained, tmp_path, monkeypatch):
    path, plan, runs = trained
    monkeypatch.setattr(judged_tables, "RESULTS", tmp_path)
    monkeypatch.setattr(judged_tables, "committed_state", lambda *files: "0" * 12)
    judged_tables.record(plan, path, runs)
    tables = {table.name: table for table in load_ablations(tmp_path)}
    parts = ("", "-logloss", "-consumed", "-short")
    assert set(tables) == {f"toy-plan{part}" for part in parts}
    split = plan.task.split(simulate("simulate:tiny@1").dataset)
    cases = split.labelled_cases("test")
    rows = {variant.name: variant for variant in tables["toy-plan"].variants}
    for name in ("DIN", "DIN, wider"):
        folders = [judged_plan.folder_of(runs, name, seed) for seed in (1, 2)]
        expected = [roc_auc_score(cases.labels, np.load(f / "test.score.npy")) for f in folders]
        assert rows[name].figure.per_seed == pytest.approx(expected)
    low, high = rows["oracle"].difference.ci95
    assert low < rows["oracle"].difference.mean < high
    gap = rows["oracle"].figure.mean - rows["DIN"].figure.mean
    assert rows["oracle"].difference.mean == pytest.approx(gap)
    assert rows["DIN"].difference is None
    kinds = split.dataset.interactions.frame["kind"].to_numpy()[split.parts == 2]
    chosen = kinds == "consume"
    scores = np.load(judged_plan.folder_of(runs, "DIN", 1) / "test.score.npy")
    found = tables["toy-plan-consumed"].variants[0].figure.per_seed[0]
    assert found == pytest.approx(roc_auc_score(cases.labels[chosen], scores[chosen]))
    assert tables["toy-plan-consumed"].metric == "auc (consumed)"
    short = cases.histories.lengths <= 15
    assert 0 < short.sum() < short.size
    found = tables["toy-plan-short"].variants[0].figure.per_seed[0]
    assert found == pytest.approx(roc_auc_score(cases.labels[short], scores[short]))
    users = cases.histories.user_ids.to_numpy()[short]
    assert tables["toy-plan-short"].n_users == np.unique(users).size
    (result,) = load_results(tmp_path)
    assert (result.model, result.variant, result.seeds) == ("din", "", (1, 2))
    assert result.metrics["auc"].per_seed == pytest.approx(rows["DIN"].figure.per_seed)
    assert result.test_runs == 1


def test_runs_of_other_settings_are_refused(trained, tmp_path):
    path, _, runs = trained
    changed = yaml.safe_load(path.read_text())
    changed["variants"]["DIN, wider"]["overrides"] = ["model.dim=6"]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    plan = judged_plan.read_plan(tmp_path / "plan.yaml")
    wider = plan.choices["DIN, wider"]
    abouts = [judged_plan.read_json(judged_plan.folder_of(runs, wider.name, 1) / "about.json")]
    with pytest.raises(ArtifactError, match="trained with other settings"):
        judged_tables.require_same_recipe(plan, wider, abouts, runs)


def test_settings_that_came_later_had_their_defaults(trained):
    _, plan, runs = trained
    wider = plan.choices["DIN, wider"]
    about = judged_plan.read_json(judged_plan.folder_of(runs, wider.name, 1) / "about.json")
    assert about["recipe"]["training"].pop("group_by_length") is False
    judged_tables.require_same_recipe(plan, wider, [about], runs)
