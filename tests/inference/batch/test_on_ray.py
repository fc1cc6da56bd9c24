"""Jobs on a local Ray cluster of two workers, against the same jobs in this process."""

import functools
import os
import subprocess

import batch_models
import pytest
import torch

from llmrec.errors import ConfigError
from llmrec.inference.batch.on_ray import run_on_ray
from llmrec.inference.batch.ray_cluster import ray_cluster
from llmrec.inference.batch.single import run_here
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.result_tables import read_results
from llmrec.testing.tiny_llama import save_tiny_llama

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generation_requests(count=60):
    return [
        GenerateRequest(
            "The film " + "was good " * (number % 6) + str(number),
            Decoding(max_tokens=3 + number % 4, temperature=number % 2, seed=number),
            logprobs=4,
        )
        for number in range(count)
    ]


def test_a_killed_worker_loses_nothing(tmp_path, one_thread):
    folder = save_tiny_llama(tmp_path / "model")
    requests, marker = generation_requests(), tmp_path / "killed"
    open_model = functools.partial(batch_models.Killed, folder, requests[33].prompt, marker)
    report = run_on_ray(open_model, requests, tmp_path / "ray.parquet", block_size=8)
    assert marker.exists()
    assert int(marker.read_text()) != os.getpid()
    assert (report.answered, report.failed) == (60, 0)
    model = HFLanguageModel(folder, device="cpu")
    here = run_here(model, requests, tmp_path / "here.parquet", block_size=8)
    assert report.path.read_bytes() == here.path.read_bytes()
    whole = model.generate(requests)
    for (_, found), expected in zip(read_results(report.path), whole, strict=True):
        assert (found.text, found.tokens) == (expected.text, expected.tokens)
        assert found.logprob == pytest.approx(expected.logprob, abs=1e-3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "here.parquet", "killed", "model", "ray.parquet",
    ]  # fmt: skip


def test_finished_blocks_outlive_an_error_and_are_not_asked_again(tmp_path):
    requests = [ScoreRequest(f"item {number}", ("a", "bc")) for number in range(40)]
    marker, path = tmp_path / "marker", tmp_path / "out.parquet"
    open_model = functools.partial(batch_models.Choosy, "item 37", marker)
    with pytest.raises(ConfigError, match=r"^the key was refused; set another\.$"):
        run_on_ray(open_model, requests, path, block_size=4)
    assert not path.exists()
    kept = len(list((tmp_path / "out.parquet.blocks").glob("*.parquet")))
    assert 1 <= kept <= 9
    marker.touch()
    model = open_model()
    report = run_here(model, requests, path, block_size=4)
    assert model.requests == report.answered == 4 * (10 - kept)
    whole = run_here(FakeLanguageModel(), requests, tmp_path / "whole.parquet", block_size=4)
    assert path.read_bytes() == whole.path.read_bytes()


def test_a_model_that_does_not_open_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"^there is no model 'tinny:office'"):
        run_on_ray(
            batch_models.no_model, generation_requests(2), tmp_path / "out.parquet", workers=1
        )
    assert list(tmp_path.iterdir()) == []


def test_the_local_cluster_listens_on_loopback_only(tmp_path):
    listening = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=False)
    lines = [line for line in listening.stdout.splitlines() if "ray" in line or "gcs" in line]
    if not lines:
        pytest.skip("ss does not tell whose sockets they are")
    assert [line for line in lines if "127.0.0.1" not in line.split()[3]] == []


def test_a_connection_that_is_there_is_left_alone():
    import ray

    with ray_cluster(cpus=1):
        assert ray.cluster_resources()["CPU"] == 2
    assert ray.is_initialized()


def test_arguments_out_of_range(tmp_path):
    for wrong in ({"workers": 0}, {"cpus": 0}):
        (name,) = wrong
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            run_on_ray(FakeLanguageModel, generation_requests(1), tmp_path / "out.parquet", **wrong)
