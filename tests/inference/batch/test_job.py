"""Jobs in this process: blocks, going on, and what is refused."""

import json

import polars as pl
import pytest

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.batch.job import BatchJob
from llmrec.inference.batch.single import run_here
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.request_keys import request_key
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.result_bytes import result_to_bytes
from llmrec.inference.result_tables import read_results
from llmrec.inference.shards import merge, write_shard

REQUESTS = [
    GenerateRequest(f"item {number}", Decoding(max_tokens=1 + number % 5), logprobs=2)
    for number in range(23)
]


class Interrupted(FakeLanguageModel):
    """Is stopped by the user in its third call."""

    def generate(self, requests):
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().generate(requests)


def test_results_are_those_of_one_call_in_the_order_of_the_requests(tmp_path):
    report = run_here(FakeLanguageModel(), REQUESTS, tmp_path / "out.parquet", block_size=5)
    assert (report.requests, report.answered, report.failed) == (23, 23, 0)
    expected = FakeLanguageModel().generate(REQUESTS)
    found = read_results(report.path)
    assert [key for key, _ in found] == [request_key(request) for request in REQUESTS]
    for (_, result), wanted in zip(found, expected, strict=True):
        assert result_to_bytes(result) == result_to_bytes(wanted)
    assert list(tmp_path.iterdir()) == [report.path]


def test_the_file_is_a_shard_too(tmp_path):
    path = write_shard(tmp_path / "a", 1, 1, REQUESTS, FakeLanguageModel().generate(REQUESTS))
    run_here(FakeLanguageModel(), REQUESTS, tmp_path / "b" / path.name, block_size=7)
    assert pl.read_parquet(tmp_path / "b" / path.name).equals(pl.read_parquet(path))
    assert len(merge(tmp_path / "b", REQUESTS)) == 23


def test_a_job_that_was_stopped_goes_on_and_ends_the_same(tmp_path):
    path = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run_here(Interrupted(), REQUESTS, path, block_size=5)
    assert not path.exists()
    model = FakeLanguageModel()
    report = run_here(model, REQUESTS, path, block_size=5)
    assert (model.requests, report.answered) == (13, 13)
    whole = run_here(FakeLanguageModel(), REQUESTS, tmp_path / "whole.parquet", block_size=5)
    assert path.read_bytes() == whole.path.read_bytes()


def test_failed_requests_are_counted_and_kept_as_results(tmp_path):
    requests = [ScoreRequest("a"), ScoreRequest("b", adapter="none"), ScoreRequest("c")]
    report = run_here(FakeLanguageModel(), requests, tmp_path / "out.parquet")
    assert report.failed == 1
    errors = [result.error for _, result in read_results(report.path)]
    assert "there is no adapter 'none'" in errors[1]
    assert (errors[0], errors[2]) == (None, None)


def test_no_requests(tmp_path):
    report = run_here(FakeLanguageModel(), [], tmp_path / "out.parquet")
    assert read_results(report.path) == []


def half_done(tmp_path, requests=REQUESTS, block_size=5):
    with pytest.raises(KeyboardInterrupt):
        run_here(Interrupted(), requests, tmp_path / "out.parquet", block_size=block_size)
    return tmp_path / "out.parquet"


def test_blocks_of_other_requests_or_sizes_are_refused(tmp_path):
    path = half_done(tmp_path)
    with pytest.raises(ArtifactError, match=r"another job \(unlike: requests\)"):
        run_here(FakeLanguageModel(), REQUESTS[:-1], path, block_size=5)
    with pytest.raises(ArtifactError, match=r"another job \(unlike: block_size\)"):
        run_here(FakeLanguageModel(), REQUESTS, path, block_size=6)


def test_blocks_of_another_model_are_refused(tmp_path):
    path = half_done(tmp_path)
    before = sorted(file.name for file in BatchJob(REQUESTS, path, 5).folder.iterdir())
    with pytest.raises(ArtifactError, match=r"answered by another model \(unlike: model\)"):
        run_here(FakeLanguageModel(seed=1), REQUESTS, path, block_size=5)
    folder = BatchJob(REQUESTS, path, 5).folder
    assert sorted(file.name for file in folder.iterdir()) == before
    assert json.loads((folder / "job.json").read_text())["model"]["model"] == "hashed-0"


def test_what_cannot_be_a_job(tmp_path):
    (tmp_path / "there.parquet").write_text("something dear")
    with pytest.raises(ConfigError, match="exists; delete it"):
        run_here(FakeLanguageModel(), REQUESTS, tmp_path / "there.parquet")
    with pytest.raises(ConfigError, match="block_size is 0"):
        run_here(FakeLanguageModel(), REQUESTS, tmp_path / "out.parquet", block_size=0)
    with pytest.raises(ConfigError, match="make two jobs"):
        run_here(FakeLanguageModel(), [*REQUESTS, ScoreRequest("a")], tmp_path / "out.parquet")
