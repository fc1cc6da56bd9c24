"""The GPU measurement, tiny and on a CPU."""

import importlib.util
import json
import sys
from pathlib import Path
from statistics import median

import pytest

from llmrec.errors import ArtifactError, ConfigError
from llmrec.evaluation.results import load_benchmarks

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
    jobs = tiny["jobs"]
    assert jobs.keys() == {"score", "generate", "generate_k20"}
    assert (jobs["score"]["tokens"], jobs["generate"]["tokens"]) == (8 * 24, 4 * 6)
    for job in jobs.values():
        assert len(job["seconds"]) == script.REPEATS
        rate = job["tokens"] / median(job["seconds"])
        assert job["tokens_per_second"] == pytest.approx(rate)
        assert job["share_of_matmul"] > 0


def test_without_time_nothing_is_measured(script, monkeypatch, capsys):
    arguments = ["--tiny", "--device", "cpu", "--seconds", "0"]
    monkeypatch.setattr(sys, "argv", ["gpu_inference.py", *arguments])
    script.main()
    assert json.loads(capsys.readouterr().out)["models"] == {}


def test_what_was_measured_becomes_benchmarks(script, monkeypatch, tmp_path, capsys):
    output = tmp_path / "out.json"
    arguments = ["--tiny", "--device", "cpu", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["gpu_inference.py", *arguments])
    script.main()
    measured = json.loads(output.read_text())
    monkeypatch.syspath_prepend(str(SCRIPT.parents[1] / "eval" / "benchmarks"))
    import gpu_inference

    try:
        paths = gpu_inference.convert(output, "0123456789ab", tmp_path)
        output.write_text(json.dumps(measured | {"commit": "uncommitted"}))
        with pytest.raises(ArtifactError, match="which commit was measured; give --commit"):
            gpu_inference.convert(output, None, tmp_path)
        output.write_text("{}")
        with pytest.raises(ArtifactError, match="not what scripts/gpu_inference"):
            gpu_inference.convert(output, None, tmp_path)
    finally:
        for name in ("gpu_inference", "record"):
            sys.modules.pop(name, None)
    assert [path.stem for path in paths] == [
        "gpu_tiny_score",
        "gpu_tiny_generate",
        "gpu_tiny_generate_k20",
    ]
    found = {each.benchmark: each for each in load_benchmarks(tmp_path)}["gpu_tiny_generate"]
    job = measured["models"]["tiny"]["jobs"]["generate"]
    assert (found.machine, found.commit) == ("cpu", "0123456789ab")
    assert found.ours.seconds == median(job["seconds"])
    assert found.ceiling_share == job["share_of_matmul"]


def test_the_shapes_are_those_of_models_of_that_size(script):
    assert script.SHAPES["1b"].weights == pytest.approx(1.236e9, rel=1e-3)
    assert script.SHAPES["8b"].weights == pytest.approx(7.50e9, rel=1e-2)  # output layer shared


def test_without_a_gpu_it_says_so(script, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_inference.py"])
    with pytest.raises(ConfigError, match="no GPU here; try --tiny --device cpu"):
        script.main()
