import json
from pathlib import Path

import numpy as np
import pytest
from scripted_recommender import noise, popularity, random_dataset, toy_split

from llmrec.data import leave_one_out
from llmrec.errors import ArtifactError, ConfigError, ProtocolError
from llmrec.evaluation import Task, evaluate, load_results, make_result, results_table, write_result
from llmrec.evaluation.ablation import load_ablations
from llmrec.evaluation.results import Benchmark, load_benchmarks
from llmrec.evaluation.significance import mean_interval

COMMITTED = Path(__file__).parents[2] / "eval" / "results"

FACTS = {
    "recipe": "eval/recipes/toy.yaml",
    "commit": "abc1234",
    "test_runs": 1,
    "hardware": "2 cores",
    "wall_seconds": 3.5,
}


def toy_task(**options):
    values = {
        "name": "toy-task",
        "version": 1,
        "description": "x",
        "dataset": "toy",
        "split": {"name": "leave_one_out"},
        "metrics": ["ndcg@5", "coverage@5"],
    }
    return Task.model_validate(values | options)


def judged(seed, model="noise", split=None, **task_options):
    split = split or toy_split()
    scorer = noise(split.dataset.item_vocabulary, seed)
    return evaluate(scorer, split, toy_task(**task_options), model=model)


def test_a_result_joins_the_seeds():
    seeds = [judged(0), judged(1)]
    result = make_result(seeds, [0, 1], **FACTS)
    figure = result.metrics["ndcg@5"]
    assert figure.per_seed == tuple(e.metrics["ndcg@5"].mean for e in seeds)
    assert figure.mean == pytest.approx(np.mean(figure.per_seed))
    values = np.mean([e.per_user["ndcg@5"].to_numpy() for e in seeds], axis=0)
    assert figure.ci95 == pytest.approx(mean_interval(values))
    assert result.metrics["coverage@5"].ci95 is None
    assert result.n_users == 40


def test_results_are_read_back_and_tabled(tmp_path):
    for model in ("b-model", "a-model"):
        path = write_result(make_result([judged(0, model)], [0], **FACTS), tmp_path)
        assert path == tmp_path / "toy-task" / f"{model}.json"
    found = load_results(tmp_path)
    assert [result.model for result in found] == ["a-model", "b-model"]
    table = results_table(tmp_path).splitlines()
    assert table[0].startswith("**toy-task** (toy [")
    assert table[2] == "| model | ndcg@5 | coverage@5 | seeds |"
    figure = found[0].metrics["ndcg@5"]
    low, high = figure.ci95
    assert table[4].startswith(f"| a-model | {figure.mean:.4f} [{low:.4f}, {high:.4f}] | ")
    assert results_table(tmp_path, metrics=["mrr@5"]).endswith("| b-model | - | 1 |")
    assert results_table(tmp_path, task="another") == ""


def test_a_variant_is_a_file_of_its_own(tmp_path):
    split = toy_split()
    found = evaluate(
        popularity(split.train_histories()), split, toy_task(), model="pop", variant="recent"
    )
    path = write_result(make_result([found], [0], **FACTS), tmp_path)
    assert path.name == "pop--recent.json"
    assert load_results(tmp_path)[0].variant == "recent"


def edited(tmp_path, change):
    path = write_result(make_result([judged(0)], [0], **FACTS), tmp_path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(comit="x"), r"unknown key 'comit'; did you mean 'commit'"),
        (lambda c: c.pop("seeds"), "key 'seeds' is missing"),
        (lambda c: c["metrics"]["ndcg@5"].update(mean=0.9), "is not the mean of per_seed"),
        (lambda c: c.update(seeds=[0, 1]), "has 1 values for 2 seeds"),
        (lambda c: c.update(dataset_fingerprint="0"), "differs from the one in the protocol"),
        (lambda c: c.update(model="other"), "holds the result toy-task/other.json"),
        (lambda c: c.update(model="../up"), "cannot be part of a file name"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, change, message):
    path = edited(tmp_path, change)
    with pytest.raises(ArtifactError, match=message) as error:
        load_results(tmp_path)
    assert str(path) in str(error.value)


def test_one_table_holds_one_protocol(tmp_path):
    write_result(make_result([judged(0, "a")], [0], **FACTS), tmp_path)
    other = judged(0, "b", split=leave_one_out(random_dataset(seed=5)))
    write_result(make_result([other], [0], **FACTS), tmp_path)
    with pytest.raises(ProtocolError, match=r"toy-task: a.json and b.json: .*dataset_fingerprint"):
        results_table(tmp_path)


def test_seeds_and_evaluations_must_match():
    with pytest.raises(ConfigError, match="1 evaluations for 2 seeds"):
        make_result([judged(0)], [0, 1], **FACTS)
    with pytest.raises(ProtocolError, match="filter_seen"):
        make_result([judged(0), judged(1, filter_seen=False)], [0, 1], **FACTS)


def test_benchmarks_have_their_own_form(tmp_path):
    benchmark = Benchmark.model_validate(
        {
            "benchmark": "rank-beauty",
            "setting": "22,363 users, k=20, 2 threads",
            "ours": {"seconds": 1.0},
            "peer": {"name": "peer", "version": "1.0", "seconds": 4.0},
            "ratio": {"median": 4.0, "min": 3.5, "max": 4.5},
            "ceiling_share": 0.4,
            "machine": "2 cores",
            "commit": "abc1234",
        }
    )
    path = write_result(benchmark, tmp_path)
    assert path == tmp_path / "benchmarks" / "rank-beauty.json"
    assert load_benchmarks(tmp_path) == [benchmark]
    assert load_results(tmp_path) == []
    path.write_text(path.read_text().replace('"ours"', '"us"'))
    with pytest.raises(ArtifactError, match="unknown key 'us'"):
        load_benchmarks(tmp_path)


def test_everything_committed_has_the_form():
    others = ("benchmarks", "ablations", "signatures", "sessions", "streams")
    files = {path for path in COMMITTED.glob("*/*.json") if path.parent.name not in others}
    results = load_results(COMMITTED)
    assert {COMMITTED / each.task / each.file_name for each in results} == files
    benchmarks = {path.stem for path in (COMMITTED / "benchmarks").glob("*.json")}
    assert {each.benchmark for each in load_benchmarks(COMMITTED)} == benchmarks
    ablations = {path.stem for path in (COMMITTED / "ablations").glob("*.json")}
    assert {each.name for each in load_ablations(COMMITTED)} == ablations
    table = results_table(COMMITTED)
    assert all(f"**{each.task}**" in table for each in results)
