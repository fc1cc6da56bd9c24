"""The training script of OneRec: two processes align as one does, wrong arguments are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llmrec.runs.aligning import align
from llmrec.runs.directory import RunDirectory
from llmrec.runs.recipe import load_recipe

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_onerec.py"
TASK = {
    "name": "tiny",
    "version": 1,
    "description": "A simulated data set, small enough for tests.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "leave_one_out"},
    "metrics": ["ndcg@10"],
}
GENERATOR = {"form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3}
REWARD = {
    "towers": [{"name": "like", "column": "label"}],
    "dim": 8,
    "dropout": 0.0,
    "training": {"epochs": 1, "batch_size": 128},
}
RECIPE = {
    "name": "tiny-ipa",
    "task": "set by the test",
    "model": {
        "name": "onerec",
        "text_encoder": "tfidf:16",
        "tokenizer": {"codes": 8},
        "generator": {**GENERATOR, "dropout": 0.0},
        "beam": 12,
        "alignment": {
            "reward": REWARD,
            "iterations": 1,
            "share": 0.2,
            "lists": 4,
            "most_loss": 0.9,
            "training": {"epochs": 1, "batch_size": 64},
        },
    },
    "training": {"epochs": 1, "batch_size": 64},
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
def test_two_processes_align_as_one_does(recipe, tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = run(launch, tmp_path, "--recipe", recipe, "--output", "two")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "saved in two, trained by 2 processes\n"  # only the main one writes
    align(load_recipe(recipe), tmp_path / "one")
    one, two = (RunDirectory(tmp_path / name).alignment for name in ("one", "two"))
    for ours, theirs in zip(one["iterations"], two["iterations"], strict=True):
        assert ours["pairs"] == theirs["pairs"]
        assert ours["kept"] == theirs["kept"]
        for name in ("reward", "ndcg@10"):
            assert theirs["figures"][name] == pytest.approx(ours["figures"][name], abs=0.02)
    alone, shared = (learnt(told["iterations"][1]) for told in (one, two))
    assert shared["pairs"] == alone["pairs"] == two["iterations"][1]["pairs"]["pairs"]
    # not accuracy: the first step's margins are zero but for rounding, so their signs are a coin
    for name in ("preference_loss", "chosen", "rejected", "margin"):
        assert shared[name] == pytest.approx(alone[name], rel=0.02, abs=0.02)


def learnt(iteration):
    """What an iteration's training tells of its pairs."""
    (row,) = (row for row in iteration["log"] if "margin" in row)
    return row


@pytest.mark.slow
def test_two_processes_train_experts_as_one_does(recipe, tmp_path):
    told = []
    changes = ["model.generator.experts=3", "model.generator.writer_layers=1"]
    changes += ["model.alignment=null"]
    for count, name in ((1, "one"), (2, "two")):
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        done = run(launch, tmp_path, "--recipe", recipe, "--output", name, *changes)
        assert done.returncode == 0, done.stderr[-3000:]
        (row,) = (r for r in RunDirectory(tmp_path / name).log if "expert_load_max" in r)
        told.append(row)
    one, two = told
    for name in ("loss", "expert_load_max", "expert_load_min"):
        assert two[name] == pytest.approx(one[name], rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model.alignment.lits=3"], "unknown key 'alignment.lits'"),
        (["model={name: popularity}", "training={}"], "is for popularity; use 'llmrec train'"),
        (["--run", "a-run", "model.alignment=null"], "--run is a run to align, but"),
    ],
)
def test_mistakes_end_with_a_sentence_before_training(recipe, tmp_path, arguments, sentence):
    done = run([], tmp_path, "--recipe", recipe, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
