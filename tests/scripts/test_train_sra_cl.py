"""The training script of SRA-CL: alone, with two processes, and with wrong arguments."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

import llmrec
from llmrec.runs.directory import RunDirectory
from llmrec.storage import read_json

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_sra_cl.py"
DATA = ["--dataset", "simulate:tiny@1"]
SMALL = [
    *("model.dim=8", "model.blocks=1", "model.feed_forward=16", "model.dropout=0.0"),
    *("model.neighbors=3", "model.item_neighbors=3", "model.warmup_epochs=0"),
    *("training.epochs=2", "training.batch_size=32", "training.learning_rate=0.01"),
]
TEXT = ["--text-encoder", "tfidf:16"]
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def run(command, folder, *arguments):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "LLMREC_HOME": str(folder / "cache"),
    }
    return subprocess.run(
        [sys.executable, *command, str(SCRIPT), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.slow
def test_options_reach_model_task_and_run(tmp_path):
    options = ["--alpha", 0.3, "--beta", 0, "--coarse-intent", 0.2, "--bank", "momentum"]
    place = ["--split", "ratio", "--output", "out/own", "--seed", 5, "--part", "none"]
    done = run([], tmp_path, *DATA, *TEXT, *options, "--profiles", "prefix", *place, *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "saved in out/own, trained by 1 processes\n"
    made = RunDirectory(tmp_path / "out" / "own")
    model = made.info["recipe"]["model"]
    expected = {"text_encoder": "tfidf:16", "alpha": 0.3, "beta": 0, "coarse_intent": 0.2}
    expected |= {"neighbor_bank": "momentum", "user_text": "prefix", "fine_intent": 0, "dim": 8}
    assert {name: model[name] for name in expected} == expected
    assert made.info["seed"] == 5
    assert made.info["dataset"]["name"] == "simulate:tiny@1"
    assert made.info["split"]["name"] == "ratio"
    assert made.info["origins"]["model.alpha"] == "override"
    task = yaml.safe_load((tmp_path / "out" / "own.task.yaml").read_text())
    assert (task["name"], task["split"]["name"]) == ("own-task", "ratio")
    assert {"loss_inter_user", "loss_coarse_intent"} <= made.log[0].keys()


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    done = run(TWO, tmp_path, *DATA, *TEXT, "--output", "two", *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "saved in two, trained by 2 processes\n"  # only the main one writes
    made = RunDirectory(tmp_path / "two")
    losses = [row["loss"] for row in made.log if "loss" in row]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert all(np.isfinite(values).all() for values in weights(tmp_path / "two").values())
    sequences = read_json(tmp_path / "two" / "neighbors.json")["sequences"]
    assert sequences["described"] > 0
    assert (sequences["same_user_slots"], sequences["holds_target"]) == (0, 0)
    user = made.model().known_histories.user_ids[:1]
    assert llmrec.load(tmp_path / "two").recommend(user, k=3).height == 3


@pytest.mark.slow
def test_without_contrasts_two_processes_give_the_run_of_one(tmp_path):
    plain = [*DATA, "--alpha", 0, "--beta", 0, "--part", "none", *SMALL]
    for command, output in ((TWO, "two"), ([], "one")):
        done = run(command, tmp_path, *plain, "--output", output)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    assert not (tmp_path / "one" / "neighbors.json").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bank", "writethrough"], "neighbor_bank"),
        (["--profiles", "weekly"], "user_text"),
        (["training.epoch=3"], "unknown key 'epoch'; did you mean 'epochs'"),
        (["--split", "leave_two_out"], "unknown split 'leave_two_out'; did you mean"),
        (["model={name: popularity}", "training={}"], "is for popularity; use 'llmrec train'"),
    ],
)
def test_mistakes_get_one_sentence_and_status_2(tmp_path, arguments, sentence):
    done = run([], tmp_path, *DATA, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "cache"])
