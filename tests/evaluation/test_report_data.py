"""Reading run directories: every missing or broken file is named."""

import json

import polars as pl
import pytest
from report_fixture import evaluation, write_run

from llmrec.errors import ArtifactError, DataError
from llmrec.evaluation.report_data import ReportRun


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", evaluation("pop", 1), log=True)


def test_a_run_is_read_whole(run):
    read = ReportRun.from_directory(run)
    assert read.name == "pop"
    assert read.evaluation.n_skipped == 2
    assert len(read.log) == 402
    assert read.recommendations.height == 400
    assert read.histories.height == 40


def test_optional_files_may_be_absent(run):
    for name in ("log.jsonl", "recommendations.parquet", "histories.parquet"):
        (run / name).unlink()
    read = ReportRun.from_directory(run)
    assert read.log == ()
    assert read.recommendations is None
    assert read.histories is None


@pytest.mark.parametrize("name", ["run.yaml", "metrics.json", "per_user.parquet"])
def test_a_missing_file_is_named(run, name):
    (run / name).unlink()
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        ReportRun.from_directory(run)


def test_a_directory_that_does_not_exist_is_no_run(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere is not a run directory"):
        ReportRun.from_directory(tmp_path / "nowhere")


def test_broken_metrics_name_the_file_and_the_key(run):
    file = run / "metrics.json"
    values = json.loads(file.read_text())
    del values["model"]
    file.write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=r"metrics\.json: .*model"):
        ReportRun.from_directory(run)


@pytest.mark.parametrize("name", ["per_user.parquet", "recommendations.parquet"])
def test_a_file_that_is_not_parquet_is_named(run, name):
    (run / name).write_text("not parquet")
    with pytest.raises(ArtifactError, match=f"{name} is not a readable parquet file"):
        ReportRun.from_directory(run)


def test_a_missing_column_is_named_with_its_nearest_name(run):
    table = pl.read_parquet(run / "recommendations.parquet").rename({"rank": "ranks"})
    table.write_parquet(run / "recommendations.parquet")
    with pytest.raises(DataError, match="no column 'rank'; did you mean 'ranks'"):
        ReportRun.from_directory(run)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_run_yaml_must_hold_keys_and_values(run, text):
    (run / "run.yaml").write_text(text)
    with pytest.raises(ArtifactError, match=r"run\.yaml (is not valid YAML|must hold keys)"):
        ReportRun.from_directory(run)


def test_a_broken_log_line_is_named_by_number(run):
    (run / "log.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": \n{"step": 3}\n')
    with pytest.raises(ArtifactError, match=r"log\.jsonl line 2 is not valid JSON"):
        ReportRun.from_directory(run)
    (run / "log.jsonl").write_text('{"step": 1}\n{"loss": 2}\n')
    with pytest.raises(ArtifactError, match=r"line 2 is not a log row"):
        ReportRun.from_directory(run)


def test_a_last_log_line_cut_short_by_a_kill_is_left_out(run):
    (run / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert [row["step"] for row in ReportRun.from_directory(run).log] == [1]


def test_a_popularity_table_needs_its_columns(run):
    with pytest.raises(DataError, match="popularity table: there is no column 'popularity'"):
        ReportRun.from_directory(run, popularity=pl.DataFrame({"item_id": [1], "n": [2]}))
