"""With several processes every process ends with the bank rows of all."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from two_process_sra_cl import CASES, WRITTEN

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory, in_two_processes):
    folder = tmp_path_factory.mktemp("two")
    in_two_processes(Path(__file__).with_name("two_process_sra_cl.py"), folder, timeout=540)
    return folder


def states(folder, name):
    return [load_file(folder / f"{name}.{process}.safetensors") for process in (0, 1)]


def test_rows_of_unequal_number_reach_both_banks(folder):
    expected = torch.zeros(9, 2)
    for process, rows in WRITTEN.items():
        for row in rows:
            expected[row] = torch.tensor([row + 0.5, process])
    for found in states(folder, "written"):
        assert torch.equal(found["states"], expected)


@pytest.mark.parametrize("name", CASES)
def test_processes_end_with_equal_weights_and_banks(folder, name):
    first, second = states(folder, name)
    assert first.keys() == second.keys()
    for key in first.keys() - {"sums"}:
        assert torch.equal(first[key], second[key]), key
    assert first["bank.states"].any(1).all()


@pytest.mark.parametrize("name", CASES)
def test_the_logs_are_of_all_processes(folder, name):
    first, second = (json.loads((folder / f"logs.{p}.json").read_text())[name] for p in (0, 1))
    assert first == second
    assert all(np.isfinite(row["loss"]) for row in first)
    assert "loss_inter_user" in first[-1]
