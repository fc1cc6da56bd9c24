"""Aligned runs: what lies in them, from where they start, what is refused."""

import json
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import llmrec
from llmrec.cli import main
from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.recommenders.onerec.config import OneRecConfig
from llmrec.recommenders.onerec.language.config import OneRecLMConfig
from llmrec.runs import aligning_shards
from llmrec.runs.aligning import align, starting_model
from llmrec.runs.aligning_checks import require_same_settings
from llmrec.runs.aligning_shards import prepare, write_shard
from llmrec.runs.directory import RunDirectory
from llmrec.runs.recipe import load_recipe
from llmrec.runs.session_truth import SessionTruth
from llmrec.testing.tiny_llama import save_tiny_llama

TASK = {
    "name": "tiny",
    "version": 1,
    "description": "A simulated data set, small enough for tests.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "leave_one_out"},
    "metrics": ["ndcg@10"],
}
TOWERS = [
    {"name": "like", "column": "label"},
    {"name": "stay", "column": "dwell", "label": "high"},
]
RECIPE = {
    "name": "tiny-ipa",
    "task": "set by the test",
    "model": {
        "name": "onerec",
        "text_encoder": "tfidf:16",
        "tokenizer": {"codes": 8},
        "generator": {
            "form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3,
            "marks_lists": True,
        },
        "beam": 12,
        "best_of": 3,
        "alignment": {
            "reward": {
                "towers": TOWERS, "dim": 8, "history": 10,
                "training": {"epochs": 1, "batch_size": 128},
            },
            "iterations": 1,
            "share": 0.2,
            "lists": 4,
            "most_loss": 0.9,
            "training": {"epochs": 1, "batch_size": 64},
        },
    },
    "training": {"epochs": 1, "batch_size": 64},
    "seeds": [3],
}  # fmt: skip


def recipe_file(folder):
    folder.mkdir(parents=True, exist_ok=True)
    task = folder / "tiny.yaml"
    task.write_text(yaml.safe_dump(TASK))
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "task": str(task)}))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned")
    align(load_recipe(recipe_file(folder)), folder / "run")
    return folder


def outcome(run):
    """Everything but the seconds it took."""
    told = run.alignment
    iterations = [(one["policy"], one["figures"], one["pairs"]) for one in told["iterations"]]
    return iterations, told["examples"], told["best"]


def test_both_runs_are_whole(place):
    before, after = RunDirectory(place / "run.sft"), RunDirectory(place / "run")
    assert after.metrics["metrics"]["ndcg@10"]
    assert before.model().reward_model is None
    assert after.log == before.log != []  # the supervised training; iterations tell of themselves
    model = llmrec.load(after.path)
    assert model.reward_model is not None
    assert model.recommend_session([1, 2]).height == 6


def test_the_run_tells_what_alignment_came_to(place):
    told = RunDirectory(place / "run").alignment
    assert [one["number"] for one in told["iterations"]] == [0, 1]
    for one in told["iterations"]:
        assert {"reward", "true_reward", "true_diversity", "ndcg@10"} <= one["figures"].keys()
        assert one["figures"]["true_reward"] < told["best"]
    stages = [each["stage"] for each in told["examples"][0]["lists"]]
    assert stages == ["before alignment", "aligned", "aligned, best of 3"]
    titles = set(simulate("simulate:tiny@1").dataset.catalog.titles.to_list())
    assert set(told["examples"][0]["newest"]) <= titles
    assert set(told["reward"]["figures"]) == {"like", "stay"}


def test_a_run_goes_on_or_starts_from_another(place, tmp_path):
    recipe = load_recipe(place / "recipe.yaml")
    from_run = align(recipe, tmp_path / "other", start=place / "run.sft", part="none")
    resumed = align(recipe, place / "run", resume=True)
    assert outcome(resumed) == outcome(from_run) == outcome(RunDirectory(place / "run"))


def test_an_alignment_that_was_broken_off_is_not_thrown_away(place, tmp_path):
    recipe = load_recipe(place / "recipe.yaml")
    for left in ("run.sft", "run.alignment"):
        shutil.copytree(place / left, tmp_path / left / left)
        with pytest.raises(ArtifactError, match=f"{left} holds work that was broken off"):
            align(recipe, tmp_path / left / "run")


def test_shards_are_written_before_the_run_goes_on(place, tmp_path):
    recipe = load_recipe(place / "recipe.yaml")
    output = tmp_path / "sharded"
    prepare(recipe, output)
    assert RunDirectory(tmp_path / "sharded.sft").metrics
    assert not output.exists()
    written = [write_shard(recipe, output, shard) for shard in ((1, 2), (2, 2))]
    assert sum(written) == 1  # few prompts: one part
    run = align(recipe, output, part="none", resume=True)
    assert outcome(run) == outcome(RunDirectory(place / "run"))
    # prepared anew, nothing of the earlier iterations is taken for theirs
    prepare(recipe, output, start=place / "run.sft")
    assert {path.name for path in (tmp_path / "sharded.alignment").iterdir()} == {
        "reward.json", "reward.safetensors",
    }  # fmt: skip
    assert sum(write_shard(recipe, output, (n, 2), start=place / "run.sft") for n in (1, 2)) == 1


def test_no_shard_trains_what_all_share(place, tmp_path, monkeypatch):
    recipe = load_recipe(place / "recipe.yaml")
    monkeypatch.setattr(aligning_shards, "load_dataset", None)  # would fail if it were reached
    sentence = (
        r"shards need the supervised run .*run\.sft and the reward model in .*run\.alignment;"
    )
    with pytest.raises(ArtifactError, match=sentence + r" 'llmrec align .* --prepare --resume'"):
        write_shard(recipe, tmp_path / "run", (1, 2))
    with pytest.raises(ArtifactError, match=r"shards need the reward model in .* --run .*run\.sft"):
        write_shard(recipe, tmp_path / "run", (1, 2), start=place / "run.sft")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            ["model={name: popularity}", "training={}"],
            "is for popularity, but only onerec and onerec_lm",
        ),
        (["model.alignment=null"], "has no model.alignment"),
    ],
)
def test_recipes_that_cannot_be_aligned(place, tmp_path, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        align(load_recipe(place / "recipe.yaml", changes), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("model.alignment.reward.most=2", r"judges lists of 2 items at most, .* writes 3"),
        ("model.generator.session=1", "this model writes single items"),
        (
            "model.alignment.reward.towers=[{name: like, column: lable}]",
            "no column 'lable'; did you mean 'label'",
        ),
        ("model.alignment.training.metric=ndgc@10", r"alignment\.training\.metric: unknown metric"),
        ("training.metric=coverage@10", r"^training\.metric: coverage@10 is not computed while"),
        ("model.alignment.compose_from=2", "compose_from=2 next items are too few for a list of 3"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(place, tmp_path, change, sentence):
    with pytest.raises((ConfigError, DataError), match=sentence):
        align(load_recipe(place / "recipe.yaml", [change]), tmp_path / "run")
    assert not list(tmp_path.iterdir())


OTHER = {
    "tokenizer": {"codes": 9},
    "text_encoder": "tfidf:8",
    "item_text": "title",
    "semantic_ids": "mine",
    "behaviour": 1.0,
    "beam": 13,
    "cold_items": True,
    "validation_filters_seen": False,
    "training": {"epochs": 2},
    "best_of": 4,
    "alignment": {"reward": {"towers": TOWERS}},
    "generator": {"dim": 8},
    "sessions": {"group": "gap"},
    "language_model": "tiny:another",
    "history": 3,
    "session": 4,
    "titles": False,
    "text_history": 2,
}


@pytest.mark.parametrize("config", [OneRecConfig, partial(OneRecLMConfig, language_model="tiny:a")])
def test_every_setting_is_that_of_the_start_or_the_alignments_own(config, tmp_path):
    recipe, plain = SimpleNamespace(source="RECIPE"), config()
    for name in type(plain).model_fields:
        wanted = config(**{name: OTHER[name]})
        assert wanted != plain
        arguments = SimpleNamespace(config=plain), wanted, tmp_path, recipe, True
        if name in ("alignment", "best_of", "beam"):
            require_same_settings(*arguments)
            continue
        told = "training" if name == "training" else rf"model\.{name}"
        with pytest.raises(ArtifactError, match=f"under {told} than RECIPE has"):
            require_same_settings(*arguments)


def test_what_an_alignment_has_of_its_own_is_applied(place, tmp_path):
    split = leave_one_out(simulate("simulate:tiny@1").dataset)
    changes = ["model.beam=20", "model.best_of=2", "model.alignment.lists=5"]
    changes += ["training.checkpoint_every=7"]  # changes nothing of what was learnt
    recipe = load_recipe(place / "recipe.yaml", changes)
    config = starting_model(recipe, tmp_path / "run", place / "run.sft", 4, False, split).config
    assert (config.beam, config.best_of, config.alignment.lists) == (20, 2, 5)
    assert config.alignment.training.seed == config.alignment.reward.training.seed == 4
    # with a start of its own the seed is the alignment's; otherwise it is that of both runs
    with pytest.raises(ArtifactError, match="other settings under training than"):
        starting_model(recipe, place / "run", None, 4, True, split)


def test_a_start_of_other_settings_is_refused(place, tmp_path):
    recipe = load_recipe(place / "recipe.yaml", ["model.behaviour=1", "model.generator.dim=8"])
    with pytest.raises(ArtifactError, match=r"under model\.behaviour and model\.generator than"):
        align(recipe, tmp_path / "run", start=place / "run.sft")


def test_a_start_of_another_kind_is_refused(place, tmp_path):
    reward = "{towers: [{name: like, column: label}]}"
    model = f"{{name: onerec_lm, language_model: tiny, alignment: {{reward: {reward}}}}}"
    recipe = load_recipe(place / "recipe.yaml", [f"model={model}"])
    with pytest.raises(ArtifactError, match=r"holds a onerec model, but .* is for onerec_lm"):
        align(recipe, tmp_path / "run", start=place / "run.sft")


def test_a_language_model_is_aligned_as_a_run(place, tmp_path):
    settings = {**RECIPE["model"], "name": "onerec_lm", "tokenizer": {"levels": 2, "codes": 16}}
    del settings["generator"]
    settings |= {"language_model": str(save_tiny_llama(tmp_path / "llama")), "titles": False}
    settings |= {"history": 6, "session": 3}
    task = load_recipe(place / "recipe.yaml").task
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "task": str(task), "model": settings}))
    run = align(load_recipe(path), tmp_path / "run")
    assert run.alignment["iterations"][1]["pairs"]["pairs"] > 0
    assert len(run.alignment["examples"][0]["lists"]) == 3
    loaded = llmrec.load(tmp_path / "run")
    user = loaded.known_histories.user_ids[:1]
    assert loaded.recommend_session(user, best_of=3).height == 3
    again = load_recipe(path, ["model.history=7"])
    with pytest.raises(ArtifactError, match=r"other settings under model\.history"):
        align(again, tmp_path / "other", start=tmp_path / "run.sft")


def test_a_reward_model_of_other_settings_is_not_gone_on_with(place):
    recipe = load_recipe(place / "recipe.yaml", ["model.alignment.reward.dim=16"])
    with pytest.raises(ArtifactError, match=r"made from something else \(unlike: settings\)"):
        align(recipe, place / "run", resume=True)


def test_plain_runs_have_no_alignment(place):
    with pytest.raises(ArtifactError, match=r"has no alignment\.json"):
        _ = RunDirectory(place / "run.sft").alignment


def test_the_verb(place, tmp_path, capsys):
    words = ["align", str(place / "recipe.yaml"), "--output", str(tmp_path / "cli")]
    words += ["--run", str(place / "run.sft"), "--json"]
    with pytest.raises(SystemExit) as done:
        main(words)
    assert done.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["iterations"][1]["pairs"]["pairs"] > 0
    for wrong, sentence in (
        (["--shard", "3/2"], "shard 3 of 2"),
        (["--shard", "1/2", "--prepare"], "--prepare comes before --shard"),
    ):
        with pytest.raises(SystemExit) as done:
            main([*words, *wrong])
        assert done.value.code == 2
        assert sentence in capsys.readouterr().err


def test_the_verb_in_shards(place, tmp_path, capsys):
    words = ["align", str(place / "recipe.yaml"), "--output", str(tmp_path / "cli")]
    words += ["--run", str(place / "run.sft"), "--json"]
    told = []
    for more in (["--prepare"], ["--shard", "1/1"], ["--resume", "--part", "none"]):
        with pytest.raises(SystemExit) as done:
            main([*words, *more])
        assert done.value.code == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[:2] == [{"prepared": str(tmp_path / "cli")}, {"shard": "1/1", "parts": 1}]
    assert told[2]["iterations"][1]["pairs"]["pairs"] > 0


def test_sessions_are_worth_what_the_simulator_says():
    simulation = simulate("simulate:tiny@1")
    split = leave_one_out(simulation.dataset)
    truth = SessionTruth.of(split, "valid")
    lists, values = truth.best(3)
    np.testing.assert_allclose(truth.values(lists), values)
    frame = simulation.dataset.interactions.frame
    for row in (0, 7, 30):
        user = truth.histories.user_ids[row]
        own = frame.filter(frame["user_id"] == user)
        moment = own["timestamp"][len(truth.histories[row])]
        items = simulation.dataset.catalog.vocabulary.decode(lists[row]).to_list()
        expected = simulation.truth.session_value(user, items, int(moment))
        assert values[row] == pytest.approx(expected)
    seen = np.array([[int(truth.histories[row][0])] * 3 for row in range(len(values))], np.int32)
    assert not truth.values(seen).any()  # taken before, so worth nothing


def test_real_data_have_no_truth(tmp_path):
    data = simulate("simulate:tiny@1", seed=5).dataset
    assert SessionTruth.of(leave_one_out(data), "valid") is None
