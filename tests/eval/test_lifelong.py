"""The stream of time slices: what each way knows at which moment, and the figures made of it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "eval"))

import lifelong  # noqa: E402

from llmrec.data.named import load_dataset  # noqa: E402
from llmrec.recommenders.reclora.lifelong import ExpertUpdate  # noqa: E402
from llmrec.runs.recipe import load_recipe  # noqa: E402
from llmrec.storage import read_json  # noqa: E402
from llmrec.testing.tiny_llama import save_tiny_llama  # noqa: E402

TASK = {
    "name": "toy-stream",
    "version": 1,
    "description": "Simulated likes.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "global_time", "params": {"train": 0.5, "valid": 0.25}},
    "candidates": "pairs",
    "metrics": ["auc"],
}
TRAINING = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "metric": "auc"}
MODEL = {
    "name": "reclora",
    "ctr": {"name": "din", "dim": 4, "hidden": [8], "training": {"epochs": 1}},
    "lora": {"experts": 2, "rank": 2, "alpha": 4, "gate_hidden": 4},
    "answers": ["Yes", "No"],
    "text_history": 1,
    "max_tokens": 128,
    "subset": 40,
}
PLAN = {
    "first": 0.5,
    "slices": 2,
    "pairs": 60,
    "seeds": [1],
    "update": {"mu": 0.5, "replay": 0.5, "most": 40, "training": TRAINING},
}


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    base = str(save_tiny_llama(folder / "base"))
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK))
    recipe = {
        "schema": 1,
        "name": "toy-reclora",
        "task": str(folder / "task.yaml"),
        "model": {**MODEL, "base": base},
        "training": TRAINING,
        "seeds": [1],
        "threads": 1,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    path = folder / "toy-stream.yaml"
    path.write_text(yaml.safe_dump({**PLAN, "recipe": str(folder / "recipe.yaml")}))
    return path


@pytest.fixture(scope="module")
def plan(plan_file):
    return lifelong.StreamPlan(**yaml.safe_load(plan_file.read_text()))


@pytest.fixture(scope="module")
def stream(plan):
    return lifelong.Stream(load_dataset("simulate:tiny@1"), plan, 3.0)


@pytest.fixture(scope="module")
def seed(plan, stream):
    recipe = load_recipe(plan.recipe)
    found = lifelong.Seed(recipe, load_dataset("simulate:tiny@1"), stream, 1)
    found.run(plan.update)
    return found


def test_slices_follow_each_other_and_nothing_is_known_early(stream):
    times = stream.histories.times
    begin, middle = stream.moments
    assert (times < begin).mean() == pytest.approx(0.5, abs=0.02)
    assert (times < middle).mean() == pytest.approx(0.75, abs=0.02)
    assert stream.histories.before(middle).times.max() < middle
    assert stream.histories.before(middle).items.size == (times < middle).sum()
    for rows, since, until in zip(
        stream.judged, stream.moments, [middle, times.max() + 1], strict=True
    ):
        asked = moments_of(stream, rows)
        assert (asked >= since).all()
        assert (asked < until).all()
    assert (moments_of(stream, stream.old) < begin).all()


def moments_of(stream, rows):
    """When each row's event happened, looked up in the whole histories."""
    whole, place = stream.histories, {u: i for i, u in enumerate(stream.histories.user_ids)}
    found = []
    for row, user in enumerate(rows.histories.user_ids):
        start, end = whole.offsets[place[user] : place[user] + 2]
        known = rows.histories.lengths[row]
        later = np.flatnonzero(whole.items[start + known : end] == rows.items[row])
        found.append(whole.times[start + known + later[0]])
    return np.array(found)


def test_before_any_update_all_that_refresh_are_the_same(seed):
    first = {name: found[0] for name, found in seed.scores.items()}
    for name in lifelong.WAYS:
        np.testing.assert_allclose(first[name], first[lifelong.FROZEN], atol=1e-6)
    second = [found[1] for found in seed.scores.values()]
    for i, one in enumerate(second):
        assert all(not np.allclose(one, other, atol=1e-6) for other in second[:i])
    assert all(0 <= s.min() <= s.max() <= 1 for s in second)


def test_only_ways_that_train_take_time(seed):
    spent = {name for name, seconds in seed.seconds.items() if seconds > 0}
    assert spent == {lifelong.PULLED, lifelong.PLAIN, lifelong.RETRAINED}


def test_gates_for_the_stretch_before_the_stream_read_nothing_of_it(seed, stream):
    earlier = stream.histories.before(stream.since)
    assert moments_of(stream, stream.old).min() >= stream.since > earlier.times.max()
    expected = lifelong.judge(seed._first, stream.old, earlier)
    np.testing.assert_array_equal(seed.old[lifelong.FROZEN], expected)
    later = lifelong.judge(seed._first, stream.old, stream.histories.before(stream.moments[0]))
    assert not np.allclose(later, expected)


def test_users_that_came_later_are_given_the_mean_gate(seed, stream):
    model = seed._first
    nobody = stream.histories.before(stream.moments[0]).take([0])
    rows = stream.judged[1]
    served, fallbacks = model.ranker.served, model.fallbacks
    found = lifelong.judge(model, rows, nobody)
    known = (rows.histories.user_ids == nobody.user_ids[0]).sum()
    assert model.fallbacks - fallbacks == len(rows) - known
    assert model.ranker.served - served == len(rows)
    assert found.shape == (len(rows),)


def test_a_copy_scores_alike_and_learns_alone(seed, stream, plan):
    model = lifelong.copy_of(seed._first)
    rows, now = stream.judged[1], stream.histories.before(stream.moments[1])
    before = lifelong.judge(seed._first, rows, now)
    np.testing.assert_array_equal(lifelong.judge(model, rows, now), before)
    lifelong.update_experts(model, now, stream.moments[0], ExpertUpdate(most=20))
    np.testing.assert_array_equal(lifelong.judge(seed._first, rows, now), before)
    assert not np.allclose(lifelong.judge(model, rows, now), before)


def test_figures_are_those_of_the_scores(seed, stream):
    found = lifelong.figures(stream, [seed])
    for name in lifelong.WAYS:
        auc = found["ways"][name]["auc"]
        expected = [
            roc_auc_score(rows.labels, scores)
            for rows, scores in zip(stream.judged, seed.scores[name], strict=True)
        ]
        assert auc["by_slice"] == pytest.approx(expected)
        assert auc["mean"] == pytest.approx(np.mean(expected))
        assert auc["ci95"][0] < auc["mean"] < auc["ci95"][1]
    assert found["ways"][lifelong.FROZEN]["auc"]["over_no_update"] == {"mean": 0, "ci95": [0, 0]}
    old = found["before_the_stream"]
    assert old.keys() == {lifelong.FROZEN, lifelong.PULLED, lifelong.PLAIN}
    expected = roc_auc_score(stream.old.labels, seed.old[lifelong.PULLED])
    assert old[lifelong.PULLED]["auc"] == pytest.approx(expected)


def test_the_command_writes_one_file(plan_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lifelong, "committed_state", lambda *paths: "0123456789ab")
    monkeypatch.setattr(sys, "argv", ["x", str(plan_file), "--results", str(tmp_path / "made")])
    lifelong.main()
    written = read_json(tmp_path / "made" / "toy-stream.json")
    assert written["commit"] == "0123456789ab"
    assert written["ways"].keys() == set(lifelong.WAYS)
    assert written["pairs"] == [60, 60]
    assert "toy-stream.json" in capsys.readouterr().out
