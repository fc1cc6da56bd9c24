"""Two processes give what one gives: same batches, gradients summed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_training import ToyModel, fit, same_bits
from two_process_worker import CASES, stopped_early

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory, in_two_processes):
    folder = tmp_path_factory.mktemp("two")
    in_two_processes(Path(__file__).with_name("two_process_worker.py"), folder)
    return folder


def weights(folder, name, process=0):
    return load_file(folder / f"{name}.{process}.safetensors")


def logs(folder, process=0):
    return json.loads((folder / f"logs.{process}.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_same_result_as_one_process(folder, name):
    model = ToyModel()
    log = fit(model, **CASES[name])
    for key, value in weights(folder, name).items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    losses = [row["loss"] for row in logs(folder)[name]]
    assert losses == pytest.approx([row["loss"] for row in log], rel=1e-5)


@pytest.mark.parametrize("name", [*CASES, "stopped early", "straight", "resumed"])
def test_processes_hold_the_same_weights(folder, name):
    assert same_bits(weights(folder, name, 0), weights(folder, name, 1))
    assert logs(folder, 0)[name] == logs(folder, 1)[name]


def test_early_stopping_on_the_main_process_stops_all(folder):
    model = ToyModel()
    log = stopped_early(model)
    found = logs(folder)["stopped early"]
    assert [row["epoch"] for row in found] == [row["epoch"] for row in log]
    assert len(found) < 60  # it did stop early
    for key, value in weights(folder, "stopped early").items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_resumed_equals_uninterrupted(folder):
    assert same_bits(weights(folder, "straight"), weights(folder, "resumed"))
    assert logs(folder)["straight"] == logs(folder)["resumed"]


def test_a_bad_loss_stops_every_process_with_the_same_sentence(folder):
    first, second = (logs(folder, process)["bad loss"] for process in (0, 1))
    assert first == second
    assert "the loss is nan at step " in first


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted on Linux")
@pytest.mark.parametrize("process", [0, 1])
def test_no_thread_outlives_the_processes_group(folder, process):
    threads = json.loads((folder / f"threads.{process}.json").read_text())
    assert threads
    assert not [name for name in threads if "gloo" in name]
