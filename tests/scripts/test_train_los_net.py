"""The training script of LOS-Net: alone, with two processes, and with wrong arguments."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from llmrec.signatures.los_net import LOSNet

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "train_los_net.py"
RECIPE = ROOT / "eval" / "signatures" / "mcq-mistral-7b.yaml"
QUICK = ["file=answers.csv.gz", "detector.hidden=16", "detector.training.epochs=3"]


@pytest.fixture
def home(tmp_path):
    """Answers whose best probability says how likely they are right."""
    rng = np.random.default_rng(0)
    lines = ["question_id,subject,mode,gold,tokens,probs"]
    for number in range(400):
        values = np.sort(rng.dirichlet(np.full(5, 0.4)))[::-1]
        gold = "a" if rng.random() < values[0] else "b"
        shown = " ".join(f"{value:.4f}" for value in values)
        mode = "Direct" if number % 4 else "afterThinking"
        lines.append(f"q{number},s{number % 30},{mode},{gold},a b c d e,{shown}")
    with gzip.open(tmp_path / "answers.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    return tmp_path


def run(home, *arguments, launcher=()):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "LLMREC_DATA_HOME": str(home),
    }
    return subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), *map(str, arguments)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_trains_and_saves(home):
    done = run(home, "--recipe", RECIPE, "--output", home / "model", *QUICK)
    assert done.returncode == 0, done.stderr
    assert '"n_test": 9' in done.stdout
    model = LOSNet.from_pretrained(home / "model")
    assert model.config.hidden == 16
    assert model.config.training.epochs == 3


def test_two_processes_train_one_model(home):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29641"]
    done = run(home, "--recipe", RECIPE, "--output", home / "two", *QUICK, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved in") == 1
    assert LOSNet.from_pretrained(home / "two").is_fitted


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["file=nothing.csv.gz"], "nothing.csv.gz is missing"),
        (["detector.hiden=3"], "hiden"),
        (["colour=red"], "unknown ['colour']"),
        (["nonsense"], "not of the form name=value"),
    ],
)
def test_mistakes_are_one_sentence(home, arguments, sentence):
    done = run(home, "--recipe", RECIPE, "--output", home / "model", *QUICK, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "model").exists()


def test_the_shipped_recipe_is_valid():
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    assert LOSNet(**recipe["detector"]).config.k == recipe["detector"]["k"]
