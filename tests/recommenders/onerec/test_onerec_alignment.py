"""The loop end to end on simulated data: what it leaves, what it keeps, how it goes on."""

import copy
import math
import shutil
from dataclasses import replace

import pytest
import torch

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ArtifactError, ConfigError
from llmrec.recommenders.artifacts import load
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.alignment import judging, on_ray
from llmrec.recommenders.onerec.alignment import loop as module
from llmrec.recommenders.onerec.alignment import rollouts as rollouts_module
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig, RewardSettings, TowerRule
from llmrec.recommenders.onerec.alignment.judging import Judged, train_reward_model
from llmrec.recommenders.onerec.alignment.loop import Alignment
from llmrec.recommenders.onerec.alignment.pairs import Pairs
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.training.config import TrainingConfig

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
TRAIN, VALID = SPLIT.train_histories(), SPLIT.cases("valid")
TOWERS = [
    TowerRule(name="like", column="label"),
    TowerRule(name="stay", column="dwell", label="high"),
]
REWARD = RewardSettings(
    towers=TOWERS, most=5, dim=8, history=10, training=TrainingConfig(epochs=1, batch_size=128)
)


@pytest.fixture(scope="module")
def judged():
    return train_reward_model(SPLIT, REWARD)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    generator = {"form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3}
    model = OneRec(
        tokenizer={"codes": 8},
        text_encoder="tfidf:16",
        generator=generator,
        training={"epochs": 1, "batch_size": 64, "learning_rate": 3e-3},
        beam=12,
    )
    folder = tmp_path_factory.mktemp("trained") / "model"
    model.use_catalog(DATA.catalog).fit(TRAIN).save_pretrained(folder)
    return folder


def settings(**options):
    training = TrainingConfig(
        epochs=2, batch_size=64, learning_rate=3e-3, checkpoint_steps=2, patience=5
    )
    plain = {
        "iterations": 2,
        "share": 0.2,
        "lists": 4,
        "weight": 3.0,
        "most_loss": 0.99,
        "watched": 20,
    }
    return AlignmentConfig(**{"reward": REWARD, "training": training, **plain, **options})


def aligned(trained, judged, folder, resume=False, **options):
    model = OneRec.from_pretrained(trained)
    loop = Alignment(model, TRAIN, VALID, judged.model, settings(**options), folder, resume)
    return model, loop.run()


def test_rewards_rise_and_everything_is_kept(trained, judged, tmp_path):
    model, iterations = aligned(trained, judged, tmp_path)
    before, *_, after = iterations
    assert [one.number for one in iterations] == list(range(len(iterations)))
    assert after.figures["reward"] > before.figures["reward"] + 0.02
    assert after.figures["legality"] == 1.0
    assert after.figures["kl"] > 0
    first = iterations[1]
    assert first.pairs["pairs"] > 50
    learnt = next(row for row in first.log if "preference_loss" in row)
    assert learnt["pairs"] == first.pairs["pairs"]
    assert learnt["preference_loss"] < math.log(2) + 0.05
    assert any("aligned" in row.get("valid", {}) for row in first.log)
    kept = [one for one in iterations if one.kept]
    assert weights_version(model.generator) == kept[-1].policy
    names = {path.name for path in (tmp_path / "iteration-01").iterdir()}
    assert names == {"iteration.json", "pairs.parquet", "policy.safetensors", "rollouts"}


def test_lists_put_together_by_reward_are_preferred(trained, judged, tmp_path):
    tables = []
    for pool in (0, 12):
        folder = tmp_path / str(pool)
        aligned(trained, judged, folder, iterations=1, compose_from=pool)
        tables.append(Pairs.load(folder / "iteration-01" / "pairs.parquet").frame)
    before, after = (table["chosen_reward"].to_numpy() for table in tables)
    assert (tables[0]["rejected"] == tables[1]["rejected"]).all()
    assert (after >= before).all()
    assert after.mean() > before.mean() + 0.01


class Killed(Exception):
    pass


def _killed_at(number):
    """Batches of a training that stops after some steps, when checkpoints are there."""
    calls = {"batches": 0}
    original = module.AlignmentRows.batch

    def batch(self, rows, generator):
        calls["batches"] += 1
        if calls["batches"] == number:
            raise Killed
        return original(self, rows, generator)

    return batch


def test_a_run_that_was_killed_goes_on_to_the_same_bits(trained, judged, tmp_path, monkeypatch):
    whole, expected = aligned(trained, judged, tmp_path / "whole")

    for moment in (1, 4, 9):
        with monkeypatch.context() as patch:
            patch.setattr(module.AlignmentRows, "batch", _killed_at(moment))
            with pytest.raises(Killed):
                aligned(trained, judged, tmp_path / "cut", resume=True)
    model, found = aligned(trained, judged, tmp_path / "cut", resume=True)
    assert weights_version(model.generator) == weights_version(whole.generator)
    assert [one.policy for one in found] == [one.policy for one in expected]
    assert [dict(one.figures) for one in found] == [dict(one.figures) for one in expected]


def test_finished_iterations_are_taken_as_they_are(trained, judged, tmp_path, monkeypatch):
    _, expected = aligned(trained, judged, tmp_path)
    monkeypatch.setattr(module, "roll_out", None)  # would fail if it were called
    model, found = aligned(trained, judged, tmp_path, resume=True)
    assert found == expected
    assert weights_version(model.generator) == [one for one in expected if one.kept][-1].policy


def test_without_resume_only_a_finished_alignment_is_replaced(trained, judged, tmp_path):
    place = tmp_path / "iterations"
    aligned(trained, judged, place, iterations=1)
    _, found = aligned(trained, judged, place, iterations=1, share=0.1)
    assert found[1].number == 1
    (place / "iteration-02").mkdir()  # begun after the end that is told of
    (place / "finished.json").unlink()
    with pytest.raises(ArtifactError, match="holds work that was broken off"):
        aligned(trained, judged, place, iterations=1)
    assert (place / "iteration-01" / "iteration.json").is_file()


def test_a_folder_of_other_things_is_left_alone(trained, judged, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"it has no about\.json"):
        aligned(trained, judged, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_what_does_not_fit_is_refused_before_anything_is_removed(trained, judged, tmp_path):
    aligned(trained, judged, tmp_path, iterations=1)
    shorter = RewardSettings(
        towers=TOWERS, most=2, dim=8, training=TrainingConfig(epochs=1, batch_size=256)
    )
    judge = train_reward_model(SPLIT, shorter)
    other = copy.deepcopy(judged.model)
    other.config = other.config.model_copy(update={"vocabulary": "of other items"})
    mistyped = settings().training.model_copy(update={"metric": "ndgc@10"})
    for changes, sentence in (
        ({"judged": judge}, "judges lists of 2 items at most"),
        ({"judged": replace(judged, model=other)}, "was trained on other items"),
        ({"training": mistyped}, "unknown metric 'ndgc@10'"),
        ({"compose_from": 2}, "compose_from=2 next items are too few"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            aligned(**{"trained": trained, "judged": judged, "folder": tmp_path, **changes})
    assert (tmp_path / "finished.json").is_file()


def test_where_the_metric_falls_the_policy_before_is_kept(trained, judged, tmp_path, monkeypatch):
    values = iter([0.5, *[0.1] * 100])
    monkeypatch.setattr(module, "beam_metrics", lambda *_: {"ndcg@10": next(values)})
    model, found = aligned(trained, judged, tmp_path, most_loss=0.1, retries=1)
    assert [one.kept for one in found] == [True, False]
    assert weights_version(model.generator) == found[0].policy == found[1].policy
    rates = [row["learning_rate"] for row in found[1].log if "learning_rate" in row]
    assert rates == pytest.approx([1e-3] * 2)  # the second attempt learns a third as fast
    changed = settings(most_loss=0.1, retries=1)
    loop = Alignment(model, TRAIN, VALID, judged.model, changed, tmp_path, resume=True)
    assert loop.roll_out((1, 1)) == 0  # nothing is under way any more
    assert not (tmp_path / "iteration-02").exists()


def test_without_a_pair_nothing_is_trained_and_the_loop_goes_on(trained, judged, tmp_path):
    _, found = aligned(trained, judged, tmp_path, min_gap=1e9)
    assert [one.number for one in found] == [0, 1, 2]
    for one in found[1:]:
        assert one.kept
        assert one.log == []
        assert one.policy == found[0].policy
        assert one.pairs["pairs"] == 0
        assert one.pairs["tiny_gap"] > 50
        assert one.figures["reward"] == found[0].figures["reward"]


def test_equal_rewards_make_no_pair(trained, judged, tmp_path):
    alike = copy.deepcopy(judged.model)
    with torch.no_grad():
        for weight in alike.parameters():
            weight.zero_()
    _, found = aligned(trained, replace(judged, model=alike), tmp_path, iterations=1)
    assert found[1].kept
    assert found[1].pairs["all_equal"] == found[1].pairs["prompts"] > 50


def test_shards_of_lists_are_taken_over(trained, judged, tmp_path, monkeypatch):
    _, expected = aligned(trained, judged, tmp_path / "one", iterations=1)
    monkeypatch.setattr(module, "roll_out", _counting(module.roll_out, counted := []))
    for shard in ((1, 2), (2, 2)):
        loop = Alignment(
            OneRec.from_pretrained(trained), TRAIN, VALID, judged.model, settings(iterations=1),
            tmp_path / "two", resume=True,
        )  # fmt: skip
        loop.roll_out(shard)
    _, found = aligned(trained, judged, tmp_path / "two", resume=True, iterations=1)
    assert counted[-1] == 0  # nothing was left to write
    assert found[1].policy == expected[1].policy


def test_every_iterations_lists_are_written_by_the_model_as_it_is_then(
    trained, judged, tmp_path, monkeypatch
):
    _, expected = aligned(trained, judged, tmp_path / "alone")
    sent = []

    def by_a_worker(rollouts, model, **counts):
        sent.append(counts)
        opened = load(model)  # refused where its weights are not those of the rollouts
        return rollouts_module.roll_out(rollouts, opened.writer, opened.trie)

    monkeypatch.setattr(on_ray, "roll_out_on_ray", by_a_worker)
    monkeypatch.setattr(module, "roll_out", _counting(module.roll_out, here := []))
    model = OneRec.from_pretrained(trained)
    loop = Alignment(model, TRAIN, VALID, judged.model, settings(), tmp_path / "sent")
    found = loop.run(lambda: loop.roll_out_on_ray(workers=3))
    assert len(found) == 3
    assert [one.policy for one in found] == [one.policy for one in expected]
    assert sent == [{"workers": 3, "cpus": 1, "gpus": 0}] * 2
    assert here == [0, 0]  # nothing was left to write
    assert loop.roll_out_on_ray() == 0  # nothing is under way any more


def _counting(function, counted):
    def count(*arguments):
        counted.append(function(*arguments))
        return counted[-1]

    return count


def test_iterations_of_another_alignment_are_refused_by_name(trained, judged, tmp_path):
    _, before = aligned(trained, judged, tmp_path, iterations=1)

    def refused(unlike, judge=judged, train=TRAIN, model=None, **options):
        model = OneRec.from_pretrained(trained) if model is None else model
        with pytest.raises(ArtifactError, match=rf"another alignment \(unlike: {unlike}\)"):
            Alignment(model, train, VALID, judge.model, settings(**options), tmp_path, resume=True)

    refused(r"settings\.beta, settings\.loss_type", beta=0.5, loss_type="ipo")
    refused(r"settings\.compose_from", compose_from=12)
    refused(r"settings\.share", share=0.1)
    slower = settings().training.model_copy(update={"learning_rate": 1e-3})
    refused(r"settings\.training\.learning_rate", training=slower)
    refused("reward", train_reward_model(SPLIT, _with(REWARD, seed=9)))
    other = OneRec.from_pretrained(trained)
    with torch.no_grad():
        other.generator.places.weight += 1
    refused("policy", model=other)
    fewer = SPLIT.train_histories().block(0, 40)
    refused(r"train\.events", train=fewer)
    kept = settings().training.model_copy(update={"checkpoint_steps": 50})
    _, after = aligned(trained, judged, tmp_path, resume=True, training=kept)
    assert after[:2] == before
    assert len(after) == 3


def test_more_iterations_may_be_asked_for_inside_one(trained, judged, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module.AlignmentRows, "batch", _killed_at(4))
        with pytest.raises(Killed):
            aligned(trained, judged, tmp_path, iterations=1)
    _, found = aligned(trained, judged, tmp_path, resume=True, iterations=2)
    assert [one.number for one in found] == [0, 1, 2]


def test_iterations_of_nobody_knows_what_are_refused(trained, judged, tmp_path):
    aligned(trained, judged, tmp_path, iterations=1)
    (tmp_path / "about.json").unlink()
    with pytest.raises(ArtifactError, match=r"but no about\.json that says what they were made"):
        aligned(trained, judged, tmp_path, resume=True, iterations=1)


def _with(settings, **training):
    """Settings of a reward model with another training."""
    values = TrainingConfig(**{"epochs": 1, **training})
    return settings.model_copy(update={"training": values})


def test_a_model_of_single_items_has_no_lists_to_align(judged, tmp_path):
    model = OneRec(
        tokenizer={"codes": 8}, text_encoder="tfidf:16", beam=12,
        generator={"form": "item_decoder", "dim": 16, "heads": 2, "session": 1},
        training={"epochs": 1},
    ).use_catalog(DATA.catalog).fit(TRAIN)  # fmt: skip
    with pytest.raises(ConfigError, match="this model writes single items"):
        Alignment(model, TRAIN, VALID, judged.model, settings(), tmp_path)


def test_a_saved_reward_model_is_the_same_and_knows_its_settings(judged, tmp_path):
    judged.save(tmp_path, {"settings": 1})
    loaded = Judged.load(tmp_path, {"settings": 1})
    assert weights_version(loaded.model) == weights_version(judged.model)
    assert loaded.figures == judged.figures
    assert Judged.load(tmp_path / "nothing", {}) is None
    with pytest.raises(ArtifactError, match=r"made from something else \(unlike: settings\)"):
        Judged.load(tmp_path, {"settings": 2})
    shutil.copy(tmp_path / "reward.safetensors", tmp_path / "kept")
    other = train_reward_model(
        SPLIT, REWARD.model_copy(update={"training": TrainingConfig(epochs=1, seed=5)})
    )
    other.save(tmp_path / "other", {"settings": 1})
    shutil.copy(tmp_path / "other" / "reward.safetensors", tmp_path / "reward.safetensors")
    with pytest.raises(ArtifactError, match="are not those it names"):
        Judged.load(tmp_path, {"settings": 1})


def test_two_judges_share_no_user(monkeypatch):
    learnt = []

    class Rows(judging.FeedbackRows):
        def __init__(self, histories, spans, labels, history):
            learnt.append(set(spans.first.tolist()))  # where the user's events begin
            super().__init__(histories, spans, labels, history)

    monkeypatch.setattr(judging, "FeedbackRows", Rows)
    for half in ("even", "odd"):
        train_reward_model(SPLIT, REWARD, users=half)
    even, rest, odd, same_rest = learnt
    assert len(even) > 10
    assert len(odd) > 10
    assert not even & odd
    assert not (even | odd) & rest
    assert rest == same_rest


def test_rewards_below_zero_may_rise_too(trained, judged, tmp_path):
    against = copy.deepcopy(judged.model)
    against.config = against.config.model_copy(update={"weights": (-1.0, 1.05)})
    against.weights = torch.tensor([-1.0, 1.05])
    judge = replace(judged, model=against)
    _, found = aligned(trained, judge, tmp_path, iterations=1, retries=1)
    assert found[0].figures["reward"] < found[1].figures["reward"]
    assert found[0].figures["reward"] < 0
    assert found[1].kept
    rates = [row["learning_rate"] for row in found[1].log if "learning_rate" in row]
    assert rates == pytest.approx([3e-3] * 2)  # no second attempt
