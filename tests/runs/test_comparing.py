"""Comparisons and reports of run directories."""

import shutil

import pytest

from llmrec.errors import ArtifactError, ConfigError, ProtocolError
from llmrec.runs.comparing import compare_runs
from llmrec.runs.directory import RunDirectory
from llmrec.runs.execute import evaluate_run
from llmrec.runs.reporting import report_runs


def test_differences_are_those_of_the_means(trained):
    rows = compare_runs([trained / "pop", trained / "sasrec"])
    means = [RunDirectory(trained / name).metrics["metrics"] for name in ("pop", "sasrec")]
    assert [row["metric"] for row in rows] == ["ndcg@10", "hit_rate@10"]
    for row in rows:
        expected = means[1][row["metric"]]["mean"] - means[0][row["metric"]]["mean"]
        assert row["difference"] == pytest.approx(expected)
        assert row["ci95"][0] <= expected <= row["ci95"][1]
        assert row["p"] <= row["p_holm"] <= 1
        assert (row["other"], row["reference"]) == ("sasrec", "popularity")


def test_a_run_does_not_differ_from_its_copy(runs):
    shutil.copytree(runs / "pop", runs / "copy")
    for row in compare_runs([runs / "pop", runs / "copy"]):
        assert row["difference"] == 0
        assert row["p_holm"] == 1
        assert row["other"] != row["reference"]


def test_seeds_of_a_recipe_count_as_one_model(runs):
    for seed in (1, 2):
        shutil.copytree(runs / "sasrec", runs / "both" / f"seed-{seed}")
    one = compare_runs([runs / "pop", runs / "sasrec"])
    both = compare_runs([runs / "pop", runs / "both"])
    assert [row["difference"] for row in both] == [row["difference"] for row in one]


def test_runs_of_different_recipes_are_no_seeds(runs):
    for seed, name in ((1, "sasrec"), (2, "pop")):
        shutil.copytree(runs / name, runs / "mixed" / f"seed-{seed}")
    with pytest.raises(ConfigError, match=r"seed-2 was made by another recipe than .*seed-1"):
        compare_runs([runs / "pop", runs / "mixed"])


def test_unlike_parts_are_refused(runs):
    evaluate_run(RunDirectory(runs / "pop"), part="test")
    with pytest.raises(ProtocolError, match=r"part \('test' and 'valid'\)"):
        compare_runs([runs / "pop", runs / "sasrec"])


@pytest.mark.parametrize(
    ("names", "metrics", "error", "sentence"),
    [
        (["pop"], None, ConfigError, "two runs or more"),
        (["pop", "pop"], None, ConfigError, "named twice"),
        (["pop", "sasrek"], None, ArtifactError, "did you mean 'sasrec'"),
        (["pop", "sasrec"], ["ndgc@10"], ConfigError, "did you mean 'ndcg@10'"),
        (["pop", "sasrec"], ["coverage@10"], ConfigError, "no value per user"),
    ],
)
def test_mistakes(trained, names, metrics, error, sentence):
    with pytest.raises(error, match=sentence):
        compare_runs([trained / name for name in names], metrics)


def test_report_shows_models_titles_and_differences(trained, tmp_path):
    path = report_runs([trained / "pop", trained / "sasrec"], tmp_path / "report.html")
    text = path.read_text()
    title = RunDirectory(trained / "pop").recommendations["title"][0]
    assert "popularity" in text
    assert "sasrec" in text
    assert title.split(":")[0] in text
    assert "<script" not in text


def test_report_needs_no_data(runs, tmp_path, monkeypatch):
    def no_data(name):
        raise ArtifactError(f"{name} is not here.")

    monkeypatch.setattr("llmrec.runs.reporting.load_dataset", no_data)
    assert report_runs([runs / "pop"], tmp_path / "report.html").stat().st_size > 10_000
