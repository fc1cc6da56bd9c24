"""Training, judging and resuming runs."""

import json

import pytest
import yaml

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.named import load_dataset
from llmrec.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    ProtocolError,
    StorageError,
    TrainingError,
)
from llmrec.evaluation.outcome import Evaluation
from llmrec.runs.directory import RunDirectory
from llmrec.runs.execute import EXAMPLES, evaluate_run, example_cases, train, train_seeds
from llmrec.runs.recipe import parse_recipe


def weights(run):
    from safetensors.numpy import load_file

    return load_file(run.path / "model" / "model.safetensors")


def changed(recipe, **values):
    written = {key: value for key, value in recipe.as_dict().items() if key != "schema"}
    return parse_recipe({**written, **values})


def test_popularity_run_equals_counting(trained):
    """The scores served are the training counts, known here from the simulator's own table."""
    from llmrec.data.splits import leave_one_out

    split = leave_one_out(load_dataset("simulate:tiny@1"))
    events = split.dataset.interactions.frame.filter(split.parts == 0)
    counts = dict(events["item_id"].value_counts().iter_rows())
    lists = RunDirectory(trained / "pop").model().recommend([1], k=5, exclude_seen=False)
    best = sorted(counts.values(), reverse=True)[:5]
    assert [counts[item] for item in lists["item_id"]] == best


def test_known_users_are_served_as_they_were_at_the_test(trained):
    from llmrec.data.splits import leave_one_out

    cases = leave_one_out(load_dataset("simulate:tiny@1")).cases("test")
    known = RunDirectory(trained / "pop").model().known_histories
    assert known.user_ids.to_list() == cases.histories.user_ids.to_list()
    assert known.items.tolist() == cases.histories.items.tolist()


def test_a_test_keeps_the_validation_figures_and_is_counted(runs):
    before = RunDirectory(runs / "pop")
    validation = before.metrics
    result = evaluate_run(before, part="test")
    after = RunDirectory(runs / "pop")
    assert after.metrics == result
    assert result["part"] == "test"
    assert after.validation == validation
    assert (before.info["test_runs"], after.info["test_runs"]) == (0, 1)
    evaluate_run(after, part="test")
    assert RunDirectory(runs / "pop").info["test_runs"] == 2
    card = (runs / "pop" / "README.md").read_text()
    assert "test part" in card
    assert "validation part" in card


def test_figures_of_a_test_stay_where_the_validation_is_judged_after_it(runs):
    tested = evaluate_run(RunDirectory(runs / "pop"), part="test")
    again = evaluate_run(RunDirectory(runs / "pop"), part="valid")
    run = RunDirectory(runs / "pop")
    assert (run.metrics, run.info["test_runs"]) == (again, 1)
    kept = runs / "pop" / "evaluations" / f"{run.info['task']['name']}.test"
    assert Evaluation.load(kept).to_dict() == tested


def test_training_with_a_test_gives_the_same_figures_as_judging_later(runs, popularity_recipe):
    at_once = train(popularity_recipe, runs / "again", part="test")
    later = evaluate_run(RunDirectory(runs / "pop"), part="test")
    assert at_once.metrics["metrics"] == later["metrics"]
    assert at_once.validation["metrics"] == RunDirectory(runs / "pop").validation["metrics"]


def test_another_task_does_not_touch_the_runs_own_metrics(runs, tiny_task, tmp_path):
    other = tmp_path / "kept.yaml"
    other.write_text(
        tiny_task.read_text().replace("name: tiny", "name: kept") + "filter_seen: no\n"
    )
    run = RunDirectory(runs / "pop")
    before = run.metrics
    result = evaluate_run(run, other, part="test")
    assert result["task"] == "kept"
    assert RunDirectory(runs / "pop").metrics == before
    assert RunDirectory(runs / "pop").info["test_runs"] == 1  # the same events were looked at
    assert (runs / "pop" / "evaluations" / "kept.test" / "metrics.json").is_file()


def test_a_model_is_not_judged_on_what_it_has_seen(runs, tiny_task, tmp_path):
    other = tmp_path / "ratio.yaml"
    other.write_text(tiny_task.read_text().replace("leave_one_out", "ratio"))
    with pytest.raises(ProtocolError, match="may have seen"):
        evaluate_run(RunDirectory(runs / "pop"), other, part="test")


def test_without_judging_there_are_no_metrics(tmp_path, popularity_recipe):
    run = train(popularity_recipe, tmp_path / "run", part="none")
    assert run.validation is None
    with pytest.raises(ArtifactError, match="no metrics yet"):
        _ = run.metrics


def test_resuming_equals_training_without_interruption(tmp_path, trained, sasrec_recipe):
    short = {**sasrec_recipe.training, "epochs": 1}
    train(changed(sasrec_recipe, training=short), tmp_path / "run")
    resumed = train(sasrec_recipe, tmp_path / "run", resume=True)
    uninterrupted = RunDirectory(trained / "sasrec")
    expected = weights(uninterrupted)
    assert {name: value.tolist() for name, value in weights(resumed).items()} == {
        name: value.tolist() for name, value in expected.items()
    }


def test_a_resumed_training_took_as_long_as_all_its_parts(tmp_path, sasrec_recipe, monkeypatch):
    took = train(sasrec_recipe, tmp_path / "run").info["seconds"]["training"]
    manifests = sorted((tmp_path / "run.checkpoints").glob("*/manifest.json"))
    long_ago = json.loads(manifests[-1].read_text())
    for row in long_ago["progress"]["log"]:
        row["seconds"] += 3600
    long_ago["progress"]["seconds"] += 3600
    manifests[-1].write_text(json.dumps(long_ago))
    resumed = train(sasrec_recipe, tmp_path / "run", resume=True)
    assert took < 3600 < resumed.info["seconds"]["training"]


def test_training_anew_forgets_older_checkpoints(tmp_path, sasrec_recipe):
    train(sasrec_recipe, tmp_path / "run")
    short = changed(sasrec_recipe, training={**sasrec_recipe.training, "epochs": 1})
    train(short, tmp_path / "run")
    steps = {path.name for path in (tmp_path / "run.checkpoints").iterdir()}
    assert len(steps) == 1


def test_a_training_that_was_broken_off_is_not_thrown_away(tmp_path, sasrec_recipe, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    output = tmp_path / "run"
    monkeypatch.setattr("llmrec.runs.execute.keep", stop)
    with pytest.raises(KeyboardInterrupt):
        train(sasrec_recipe, output)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"run\.checkpoints holds work that was broken off"):
        train(sasrec_recipe, output)
    assert list((tmp_path / "run.checkpoints").iterdir())
    train(sasrec_recipe, output, resume=True)
    train(sasrec_recipe, output)  # a run that is whole may be trained anew


def test_seeds_get_a_run_each(tmp_path, sasrec_recipe):
    short = {**sasrec_recipe.training, "epochs": 1}
    recipe = changed(sasrec_recipe, seeds=[3, 4], training=short)
    runs = train_seeds(recipe, tmp_path / "both")
    assert [run.path.name for run in runs] == ["seed-3", "seed-4"]
    assert [run.info["seed"] for run in runs] == [3, 4]
    first, second = (weights(run) for run in runs)
    assert any((first[name] != second[name]).any() for name in first)


def test_seeds_do_not_go_into_a_run(runs, sasrec_recipe):
    with pytest.raises(ConfigError, match="is a run itself"):
        train_seeds(changed(sasrec_recipe, seeds=[1, 2]), runs / "pop")


def test_a_wrong_destination_is_refused_before_training(tmp_path, sasrec_recipe):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("dear")
    with pytest.raises(ArtifactError, match="is not a run"):
        train(sasrec_recipe, tmp_path / "thesis")
    with pytest.raises(StorageError, match=r"chapter\.tex is a file"):
        train(sasrec_recipe, tmp_path / "thesis" / "chapter.tex" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


@pytest.mark.parametrize(
    ("metric", "error", "sentence"),
    [
        ("hit_rate@5000", ConfigError, "k=5000 must lie between 1 and"),
        ("intra_list_diversity@5", DataError, "needs a column 'category'"),
    ],
)
def test_what_cannot_be_judged_is_not_trained(
    tmp_path, tiny_task, sasrec_recipe, monkeypatch, metric, error, sentence
):
    task = yaml.safe_load(tiny_task.read_text()) | {"metrics": [metric]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    plain = load_dataset("simulate:tiny@1")
    bare = Catalog(plain.catalog.frame.drop("category", strict=False))
    monkeypatch.setattr(
        "llmrec.runs.execute.load_dataset",
        lambda name: Dataset(name, plain.interactions, bare),
    )
    monkeypatch.setattr("llmrec.recommenders.sasrec.model.SASRec.fit", None)
    with pytest.raises(error, match=sentence):
        train(changed(sasrec_recipe, task=str(tmp_path / "task.yaml")), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["task.yaml"]


def test_a_resume_with_nothing_to_resume_says_so(tmp_path, popularity_recipe):
    with pytest.warns(UserWarning, match=r"nothing to resume in .*run\.checkpoints; the training"):
        train(popularity_recipe, tmp_path / "run", resume=True)


def test_weights_chosen_otherwise_than_they_are_judged_are_told_of(
    tmp_path, tiny_task, sasrec_recipe, recwarn
):
    task = yaml.safe_load(tiny_task.read_text()) | {"filter_seen": False}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    model = {**sasrec_recipe.as_dict()["model"]}
    del model["validation_filters_seen"]
    training = {"epochs": 1, "batch_size": 16}
    kept = {"task": str(tmp_path / "task.yaml"), "training": training}
    told = {}
    for number, extra in enumerate(({}, {"validation_filters_seen": False})):
        recwarn.clear()
        train(changed(sasrec_recipe, **kept, model={**model, **extra}), tmp_path / f"run{number}")
        told[number] = sum("set model.validation_filters_seen" in str(w.message) for w in recwarn)
    assert (told[0], told[1]) == (1, 0)


def test_a_training_that_diverges_says_what_is_left(tmp_path, sasrec_recipe):
    wild = changed(sasrec_recipe, training={**sasrec_recipe.training, "learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"No run was written; .*run\.checkpoints holds what"):
        train(wild, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", [None, {"name": "x"}])
def test_a_run_without_a_whole_task_is_refused(runs, task):
    path = runs / "pop" / "run.yaml"
    about = yaml.safe_load(path.read_text()) | {"task": task}
    path.write_text(yaml.safe_dump(about))
    with pytest.raises(ArtifactError, match=r"run\.yaml, task"):
        evaluate_run(RunDirectory(runs / "pop"), part="valid")


def test_a_failed_training_leaves_the_earlier_run(runs, popularity_recipe, monkeypatch):
    before = (runs / "pop" / "run.yaml").read_text()

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmrec.evaluation.outcome.Evaluation.save", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        train(popularity_recipe, runs / "pop")
    assert (runs / "pop" / "run.yaml").read_text() == before
    assert RunDirectory(runs / "pop").model().is_fitted
    assert sorted(path.name for path in runs.iterdir()) == [
        *("pop", "sasrec", "sasrec.checkpoints"),
    ]


@pytest.mark.parametrize("part", ["tset", "train"])
def test_unknown_part(tmp_path, popularity_recipe, part):
    with pytest.raises(ConfigError, match="unknown part"):
        train(popularity_recipe, tmp_path / "run", part=part)


def test_unknown_task(tmp_path, popularity_recipe):
    with pytest.raises(ConfigError, match="did you mean 'ml-1m'"):
        train(changed(popularity_recipe, task="ml1m"), tmp_path / "run")


def test_example_cases_are_few_fixed_and_distinct():
    rows = example_cases(5000)
    assert rows == example_cases(5000)
    assert len(set(rows)) == EXAMPLES
    assert sorted(example_cases(3)) == [0, 1, 2]
