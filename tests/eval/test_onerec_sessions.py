"""The figures of sessions: every variant of the plan is a recipe, and tiny runs become a result."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import spearmanr

from llmrec.data import leave_one_out
from llmrec.data.named import load_dataset
from llmrec.data.simulator import simulate
from llmrec.errors import ArtifactError
from llmrec.evaluation.tasks import load_task
from llmrec.recommenders.onerec.alignment.config import RewardSettings
from llmrec.recommenders.onerec.alignment.feedback import event_values
from llmrec.recommenders.onerec.alignment.rollouts import Lists
from llmrec.recommenders.onerec.generator.sessions import session_spans

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "eval"))

import onerec_sessions  # noqa: E402
import session_judging  # noqa: E402

PLANS = sorted((ROOT / "eval" / "sessions").glob("*.yaml"))
TASK = {
    "name": "tiny",
    "version": 1,
    "description": "A simulated data set, small enough for tests.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "leave_one_out"},
    "metrics": ["ndcg@10"],
}
REWARD = {
    "towers": [{"name": "like", "column": "label"}],
    "dim": 8,
    "training": {"epochs": 1, "batch_size": 128},
}
RECIPE = {
    "name": "tiny-ipa",
    "model": {
        "name": "onerec",
        "text_encoder": "tfidf:16",
        "tokenizer": {"codes": 8},
        "generator": {
            "form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3,
            "marks_lists": True,
        },
        "beam": 12,
        "alignment": {
            "reward": REWARD, "iterations": 1, "share": 0.1, "lists": 4, "most_loss": 0.9,
            "training": {"epochs": 1, "batch_size": 64}, "compose_from": 12,
        },
    },
    "training": {"epochs": 1, "batch_size": 64},
    "seeds": [1],
}  # fmt: skip


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_variant_of_a_plan_is_a_recipe(path):
    plan = onerec_sessions.Plan.read(path)
    plain = plan.recipe_of().model.settings["alignment"]
    assert len(plan.jobs()) == len(plan.seeds) + len(plan.variants)
    for variant in plan.variants:
        changed = plan.recipe_of(variant).model.settings["alignment"]
        assert changed != plain
        assert changed["reward"] == plain["reward"]  # all are judged by one reward model


def test_the_best_of_the_first_lists_is_taken():
    items = np.arange(1, 13, dtype=np.int32).reshape(1, 4, 3)
    lists = Lists(items, np.zeros((1, 4), np.float32))
    rewards = np.array([[0.1, 0.5, 0.2, 0.9]], np.float32)
    chosen = [session_judging.best_of(lists, rewards, n)[0].tolist() for n in (1, 3, 4)]
    assert chosen == [[1, 2, 3], [4, 5, 6], [10, 11, 12]]


def test_rank_correlations_against_scipy():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, (6, 8)), rng.normal(size=(6, 8))
    expected = [spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(session_judging.rank_correlations(one, other), expected)
    assert np.isnan(session_judging.rank_correlations([[1, 1, 1]], [[1, 2, 3]])).all()


def test_the_items_valued_most_by_all_against_a_loop():
    split = leave_one_out(simulate("simulate:tiny@1").dataset)
    rule = {"name": "watch", "column": "dwell", "label": "amount"}
    settings = RewardSettings(towers=[rule], most=5)
    histories = split.cases("valid").histories.take(np.arange(6))
    found = session_judging.most_valued(split, settings, histories, 3)
    train, dwell = split.train_histories(), event_values(split, "dwell")
    spans = session_spans(train, settings.sessions, 5)  # those that have a history
    rows = [s + i for s, n in zip(spans.start, spans.length, strict=True) for i in range(n)]
    mean = dwell[rows].mean()
    by_item = {code: [mean] * 5 for code in range(1, len(train.vocabulary) + 1)}
    for row in rows:
        by_item[int(train.items[row])].append(dwell[row])
    for user in range(6):
        unseen = [code for code in by_item if code not in set(histories[user].tolist())]
        expected = sorted(unseen, key=lambda code: -np.mean(by_item[code]))[:3]
        assert found[user].tolist() == expected


def test_what_was_judged_is_kept_to_the_bit(tmp_path):
    users = {"aligned": {"true_reward": np.random.default_rng(0).normal(size=5)}}
    judged = session_judging.JudgedRun(users, {"aligned": {8: {"true_reward": 1.5}}}, 2.0)
    file = tmp_path / "judged.json"
    assert session_judging.JudgedRun.load(file, {"weights": "a"}) is None
    judged.save(file, {"weights": "a"})
    found = session_judging.JudgedRun.load(file, {"weights": "a"})
    np.testing.assert_array_equal(
        found.per_user["aligned"]["true_reward"], users["aligned"]["true_reward"]
    )
    assert (found.curves, found.seconds) == (judged.curves, 2.0)
    assert session_judging.JudgedRun.load(file, {"weights": "b"}) is None


def test_looks_at_the_same_users_are_counted(tmp_path):
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "paper.json").write_text('{"test_runs": 3}')
    assert onerec_sessions.looks(tmp_path, "paper") == 3
    assert onerec_sessions.looks(tmp_path, "none") == 0


@pytest.mark.slow
def test_tiny_runs_become_a_result(tmp_path):
    task_file, recipe_file = tmp_path / "tiny.yaml", tmp_path / "recipe.yaml"
    task_file.write_text(yaml.safe_dump(TASK))
    recipe_file.write_text(yaml.safe_dump({**RECIPE, "task": str(task_file)}))
    plan_file = tmp_path / "tiny-plan.yaml"
    variants = {"random pairs": ["model.alignment.pick=random"], "ipo": ["model.beam=11"]}
    plan_file.write_text(
        yaml.safe_dump(
            {"recipe": str(recipe_file), "seeds": [1], "best_of": 3, "curve": [1, 3],
             "variants": variants}
        )
    )  # fmt: skip
    plan, place = onerec_sessions.Plan.read(plan_file), onerec_sessions.Place(tmp_path / "runs")
    task = load_task(str(task_file))
    split = task.split(load_dataset(task.dataset))
    for variant in (None, "random pairs"):
        onerec_sessions.train_missing(plan, place, variant, 1, split)
    result = onerec_sessions.record(plan, place, task, split, "abc", tmp_path)
    best = result.systems[onerec_sessions.BEST]["true_reward"].mean
    for system in (onerec_sessions.SFT, onerec_sessions.IPA):
        figures = result.systems[system]
        assert figures["legality"].mean == 1.0
        assert figures["true_reward"].mean < best
        assert "ndcg@10" in figures
        assert result.best_of[system][1]["true_reward"] == pytest.approx(
            figures["true_reward"].mean, abs=1e-4
        )
        one, three = (result.best_of[system][number] for number in (1, 3))
        assert one["possible"] == one["true_reward"]
        assert three["possible"] >= max(three["true_reward"], one["possible"])
        together = result.systems[f"{system}, 12 next items, the 3 best together by reward"]
        assert together["legality"].mean == 1.0
    before, after = (
        result.systems[name]["true_reward"].mean
        for name in (onerec_sessions.SFT, onerec_sessions.IPA)
    )
    assert result.closed.mean == pytest.approx((after - before) / (best - before))
    assert list(result.ablations) == ["random pairs"]  # the other was not trained
    assert result.test_runs == 1
    assert onerec_sessions.record(plan, place, task, split, "abc", tmp_path) == result  # as kept
    assert result.systems[onerec_sessions.SAME]["true_reward"].mean < best

    recipe_file.write_text(recipe_file.read_text().replace("beam: 12", "beam: 13"))
    with pytest.raises(ArtifactError, match="was made by another recipe or seed"):
        onerec_sessions.record(plan, place, task, split, "abc", tmp_path)
