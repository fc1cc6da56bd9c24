"""The GPU measurement, tiny and on a CPU."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from llmrec.errors import ConfigError

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_inference.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("gpu_inference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tiny_mode_measures_and_writes(script, monkeypatch, tmp_path, capsys):
    output = tmp_path / "out.json"
    arguments = ["--tiny", "--device", "cpu", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["gpu_inference.py", *arguments])
    script.main()
    found = json.loads(output.read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert (found["device"], found["dtype"]) == ("cpu", "bfloat16")
    tiny = found["models"]["tiny"]
    assert tiny["weights"] == script.SHAPES["tiny"].weights
    assert {"score", "generate", "generate_k20"} < tiny.keys()
    assert (tiny["score"]["tokens"], tiny["generate"]["tokens"]) == (8 * 24, 4 * 6)
    for name in ("score", "generate", "generate_k20"):
        job = tiny[name]
        assert job["tokens_per_second"] == pytest.approx(job["tokens"] / job["seconds"])
        assert job["share_of_matmul"] > 0


def test_the_shapes_are_those_of_models_of_that_size(script):
    assert script.SHAPES["1b"].weights == pytest.approx(1.236e9, rel=1e-3)
    assert script.SHAPES["8b"].weights == pytest.approx(7.50e9, rel=1e-2)  # output layer shared


def test_without_a_gpu_it_says_so(script, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_inference.py"])
    with pytest.raises(ConfigError, match="no GPU here; try --tiny --device cpu"):
        script.main()
