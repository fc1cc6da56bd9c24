"""The training script: alone, with two processes, and with wrong arguments."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

import llmrec
from llmrec.runs.execute import train
from llmrec.runs.recipe import load_recipe

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_sasrec.py"
TASK = {
    "name": "tiny",
    "version": 1,
    "description": "A simulated data set, small enough for tests.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "leave_one_out"},
    "metrics": ["ndcg@10", "hit_rate@10"],
}
RECIPE = {
    "name": "tiny-sasrec",
    "task": "set by the test",
    "model": {"name": "sasrec", "dim": 8, "blocks": 1, "feed_forward": 16, "dropout": 0.0},
    "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01},
    "seeds": [3],
}


@pytest.fixture
def recipe(tmp_path):
    task = tmp_path / "tiny.yaml"
    task.write_text(yaml.safe_dump(TASK))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "task": str(task)}))
    return path


def run(command, folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *command, str(SCRIPT), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
def test_two_processes_give_the_run_of_one(recipe, tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = run(launch, tmp_path, "--recipe", recipe, "--output", "two", "training.epochs=3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "saved in two, trained by 2 processes\n"  # only the main one writes
    train(load_recipe(recipe, ["training.epochs=3"]), tmp_path / "one")

    one, two = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 6
    user = llmrec.load(tmp_path / "two").known_histories.user_ids[:1]
    assert llmrec.load(tmp_path / "two").recommend(user, k=3).height == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["training.epoch=3"], "unknown key 'epoch'; did you mean 'epochs'"),
        (["model={name: popularity}", "training={}"], "is for popularity; use 'llmrec train'"),
    ],
)
def test_mistakes_get_one_sentence_and_status_2(recipe, tmp_path, arguments, sentence):
    done = run([], tmp_path, "--recipe", recipe, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()
