"""A base model parted among two processes trains, judges and scores as a whole one does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parted_worker import CASES, fitted, found_by
from safetensors.torch import load_file

from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.gated_lora import GatedLora
from llmrec.errors import ConfigError
from llmrec.recommenders.reclora import RecLoRA, parting


@pytest.fixture(scope="module")
def folder(tmp_path_factory, base_folder, in_two_processes):
    folder = tmp_path_factory.mktemp("parted")
    in_two_processes(Path(__file__).with_name("parted_worker.py"), folder, base_folder)
    return folder


def result(folder, name, process=0):
    return json.loads((folder / f"{name}.{process}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parted", "recomputed"])
def test_a_parted_base_model_gives_what_a_whole_one_gives(folder, name):
    whole, parted = result(folder, "whole"), [result(folder, name, each) for each in (0, 1)]
    assert whole["held"] == whole["weights"]
    for each in parted:
        assert 0.4 * each["weights"] < each["held"] < 0.6 * each["weights"]
    assert sum(each["held"] for each in parted) == whole["weights"]
    assert len([row for row in whole["log"] if "valid" in row]) == 2  # and training went on between
    for process, each in enumerate(parted):
        assert each["log"] == result(folder, "whole", process)["log"]
        np.testing.assert_allclose(each["pairs"], whole["pairs"], rtol=1e-5)
        np.testing.assert_allclose(each["lists"], whole["lists"], rtol=1e-5, atol=1e-6)
    expected = load_file(folder / "whole.0.safetensors")
    for process in (0, 1):
        found = load_file(folder / f"{name}.{process}.safetensors")
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_what_was_trained_in_parts_is_loaded_whole_by_one_process(folder):
    parted = result(folder, "parted")
    found = found_by(RecLoRA.from_pretrained(folder / "parted.0"))
    assert found["held"] == parted["weights"]
    np.testing.assert_allclose(found["pairs"], parted["pairs"], rtol=1e-5)


def test_one_process_keeps_the_base_model_whole(base_folder):
    found, expected = (found_by(fitted(base_folder, **CASES[n])) for n in ("parted", "whole"))
    assert found["held"] == found["weights"]
    assert found == expected


def test_a_model_that_does_not_name_its_blocks_is_refused(monkeypatch):
    class Blockless(torch.nn.Module):
        config = None
        _no_split_modules = None

        def __init__(self):
            super().__init__()
            self.q_proj = torch.nn.Linear(4, 4)

    lora = GatedLora(Blockless(), GatedLoraConfig(target_modules=("q_proj",), gate_dim=2), "x")
    two = type("Two", (), {"num_processes": 2, "device": torch.device("cpu")})
    monkeypatch.setattr(parting, "processes", two)
    with pytest.raises(ConfigError, match="Blockless does not say which modules are its blocks"):
        parting.part_base(lora)
