"""Every verb on a small run: what it prints for people, and what for machines."""

import json

import polars as pl
import pytest

from llmrec.runs.directory import RunDirectory


def test_train_says_where_and_how_good(llmrec_cli, small_run, tmp_path):
    recipe = small_run.parent / "recipe.yaml"
    shown = llmrec_cli("train", recipe, "--output", tmp_path / "run", "--set", "name=renamed")
    assert shown.status == 0
    assert f"renamed: saved in {tmp_path / 'run'}" in shown.out
    assert "ndcg@10" in shown.out
    assert shown.err == ""
    assert RunDirectory(tmp_path / "run").info["origins"]["name"] == "override"


def test_train_for_machines(llmrec_cli, small_run, tmp_path):
    recipe = small_run.parent / "recipe.yaml"
    shown = llmrec_cli("train", recipe, "--output", tmp_path / "r", "--seed", 5, "--json")
    (result,) = json.loads(shown.out)
    assert result["metrics"] == RunDirectory(tmp_path / "r").metrics
    assert RunDirectory(tmp_path / "r").info["seed"] == 5


def test_evaluate(llmrec_cli, small_run):
    shown = llmrec_cli("evaluate", small_run, "--part", "valid")
    assert shown.status == 0
    mean = RunDirectory(small_run).metrics["metrics"]["ndcg@10"]["mean"]
    assert f"{mean:.4f}" in shown.out
    machine = llmrec_cli("evaluate", small_run, "--part", "valid", "--json")
    assert json.loads(machine.out)["metrics"]["ndcg@10"]["mean"] == mean


def test_recommend(llmrec_cli, small_run):
    rows = json.loads(llmrec_cli("recommend", small_run, "--user", 3, "--k", 4, "--json").out)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    shown = llmrec_cli("recommend", small_run, "--user", 3, "--k", 4)
    assert "user 3" in shown.out
    assert all(row["title"] in shown.out for row in rows)


def test_recommend_chooses_from_candidates(llmrec_cli, small_run):
    words = ("--user", 3, "--k", 2, "--include-seen", "--candidates", "10001,10002")
    rows = json.loads(llmrec_cli("recommend", small_run, *words, "--json").out)
    assert {row["item_id"] for row in rows} == {10001, 10002}


def test_recommend_to_everyone(llmrec_cli, small_run, tmp_path):
    words = ("recommend", small_run, "--k", 2, "--everyone")
    shown = llmrec_cli(*words, tmp_path / "all.parquet")
    served = pl.read_parquet(tmp_path / "all.parquet")
    assert f"lists for {served['user_id'].n_unique():,} users" in shown.out
    halves = []
    for part in ("1/2", "2/2"):
        file = tmp_path / f"{part[0]}.parquet"
        told = json.loads(llmrec_cli(*words, file, "--shard", part, "--json").out)
        halves.append(pl.read_parquet(file))
        assert told == {"users": halves[-1]["user_id"].n_unique(), "file": str(file)}
    assert pl.concat(halves).equals(served)


def test_rank(llmrec_cli, small_run):
    words = ("--history", "10003", "--candidates", "10001,10002")
    rows = json.loads(llmrec_cli("rank", small_run, *words, "--json").out)
    assert {row["item_id"] for row in rows} == {10001, 10002}
    assert "history 1" in llmrec_cli("rank", small_run, *words).out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--user", "999"], "unknown user id 999"),
        (["--user", "3", "--k", "81"], "k=81 must lie between 1 and the 80"),
        (["--history", "10001,5"], "unknown item id 5"),
        ([], "give either --user"),
        (["--user", "3", "--session", "3"], "popularity, ranks items one by one"),
        (["--user", "3", "--session", "3", "--k", "4"], "give either --k"),
        (["--user", "3", "--k", "3", "--candidates", "10001,10002"], "1 and the 2 items"),
        (["--user", "3", "--everyone", "lists.parquet"], "leave out --user and --history"),
        (["--user", "3", "--shard", "1/2"], "--everyone FILE; give that, too"),
        (["--everyone", "lists.parquet", "--shard", "3/2"], "from 1 to 2"),
    ],
)
def test_recommend_refuses(llmrec_cli, small_run, words, sentence):
    shown = llmrec_cli("recommend", small_run, *words)
    assert (shown.status, shown.out) == (2, "")
    assert sentence in shown.err


def test_compare_and_report(llmrec_cli, small_run, tmp_path):
    recipe = small_run.parent / "recipe.yaml"
    llmrec_cli("train", recipe, "--output", tmp_path / "b", "--set", "model.half_life_days=7")
    rows = json.loads(llmrec_cli("compare", small_run, tmp_path / "b", "--json").out)
    assert {row["metric"] for row in rows} == {"ndcg@10"}
    assert f"{rows[0]['difference']:+.4f}" in llmrec_cli("compare", small_run, tmp_path / "b").out
    page = tmp_path / "page.html"
    shown = llmrec_cli("report", small_run, tmp_path / "b", "--output", page)
    assert shown.out == f"report: {page}\n"
    assert page.read_text().startswith("<!doctype html>") or "<html" in page.read_text()


def test_data_list_says_what_is_at_hand(llmrec_cli, tmp_path, monkeypatch):
    folder = tmp_path / "home" / "ml-latest-small"
    folder.mkdir(parents=True)
    (folder / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    monkeypatch.setenv("LLMREC_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "cache"))
    rows = {row["name"]: row for row in json.loads(llmrec_cli("data", "list", "--json").out)}
    assert rows["ml-latest-small"]["found"] == str(folder)
    assert rows["ml-20m"]["found"] is None
    assert rows["simulate:small@1"]["found"] == "simulator"


def test_data_info(llmrec_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path))
    shown = llmrec_cli("data", "info", "ml-20m")
    assert "GroupLens" in shown.out
    assert "no copy here" in shown.out
    facts = json.loads(llmrec_cli("data", "info", "simulate:tiny@1", "--json").out)
    assert (facts["users"], facts["items"]) == (60, 80)


def test_data_simulate_writes_what_is_found_by_name(llmrec_cli, tmp_path, monkeypatch):
    shown = llmrec_cli("data", "simulate", "tiny@1", "--output", tmp_path / "mine", "--seed", 9)
    assert shown.status == 0
    monkeypatch.setenv("LLMREC_DATA_HOME", str(tmp_path))
    facts = json.loads(llmrec_cli("data", "info", "mine", "--json").out)
    assert facts["users"] == 60
    copy = tmp_path / "copy"
    assert llmrec_cli("data", "prepare", "mine", "--output", copy).status == 0
    assert any(copy.iterdir())


def test_data_validate(llmrec_cli, tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("user_id,item_id,timestamp\n1,2,1000000000\n")
    bad.write_text("user_id,item_id,timestamp\n1,,1000000000\n")
    assert llmrec_cli("data", "validate", good).status == 0
    shown = llmrec_cli("data", "validate", bad, "--json")
    assert shown.status == 1
    assert json.loads(shown.out)["errors"] >= 1
    assert "row 1, column item_id" in llmrec_cli("data", "validate", bad).out


def test_doctor_checks_and_mends(llmrec_cli, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_DATA_HOME", str(tmp_path / "gone"))
    shown = llmrec_cli("doctor")
    assert shown.status == 1
    assert "create the folder or correct the variable" in shown.out
    monkeypatch.setenv("LLMREC_DATA_HOME", str(tmp_path))
    result = json.loads(llmrec_cli("doctor", "--json").out)
    names = {check["name"] for check in result["checks"]}
    assert result["healthy"] is True
    assert names >= {
        *("python", "torch", "transformers", "peft", "accelerate", "datasets", "polars"),
        *("threads", "memory", "gpu", "LLMREC_DATA_HOME", "data sets", "free disk", "extra vllm"),
    }


def test_doctor_names_the_fix_for_a_missing_package(llmrec_cli, monkeypatch):
    monkeypatch.setattr("llmrec.runs.environment.package_version", lambda name: None)
    result = json.loads(llmrec_cli("doctor", "--json").out)
    torch = next(check for check in result["checks"] if check["name"] == "torch")
    assert (torch["good"], torch["fix"]) == (False, "pip install torch")
    assert result["healthy"] is False
