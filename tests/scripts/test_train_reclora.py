"""The training script of RecLoRA: its options, two processes, and wrong arguments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from llmrec.runs.directory import RunDirectory
from llmrec.testing.tiny_llama import save_tiny_llama

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_reclora.py"
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
FSDP = ["-m", "accelerate.commands.launch", "--config_file", str(SCRIPT.with_name("fsdp.yaml"))]
TASK = {
    "name": "toy-pairs",
    "version": 1,
    "description": "Simulated likes.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "global_time"},
    "candidates": "pairs",
    "metrics": ["auc", "uauc", "logloss"],
}
SMALL = [
    "model.ctr={dim: 4, hidden: [8], attention_hidden: 4, dropout: 0, training: {epochs: 1}}",
    *("model.lora.experts=2", "model.lora.rank=2", "model.lora.gate_dropout=0"),
    *("model.text_history=1", "model.answers=[\"Yes\", \"No\"]", "model.subset=60"),
    *("model.max_tokens=200", "model.title_tokens=60", "model.validate_pairs=20"),
    *("training.epochs=1", "training.batch_size=32", "training.learning_rate=0.01"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("reclora")
    save_tiny_llama(made / "base")
    (made / "task.yaml").write_text(yaml.safe_dump(TASK))
    return made


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


def experts(folder):
    state = load_file(folder / "model" / "model.safetensors")
    return {name: values for name, values in state.items() if name.startswith("experts.")}


@pytest.mark.slow
def test_one_process_and_two_train_one_model(folder):
    places = [
        "--task",
        folder / "task.yaml",
        "--base",
        folder / "base",
        "--compose",
        "sum_products",
    ]
    for command, output in (([], "one"), (TWO, "two")):
        done = run(command, folder, *places, "--output", output, *SMALL)
        assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("saved in two, trained by 2 processes\n")
    made = RunDirectory(folder / "two")
    assert made.info["recipe"]["model"]["lora"]["compose"] == "sum_products"
    assert made.info["origins"]["model.base"] == "override"
    one, two = experts(folder / "one"), experts(folder / "two")
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-2, atol=2e-3, err_msg=name)
    done = run(FSDP, folder, *places, "--output", "parted", *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("saved in parted, trained by 2 processes\n")
    asked = RunDirectory(folder / "parted").info["recipe"]["model"]
    assert asked["shard_base"]
    assert asked["gradient_checkpointing"]
    for name, values in experts(folder / "parted").items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, atol=1e-7, err_msg=name)
    figures = [figures_of(folder / name) for name in ("two", "parted")]
    assert figures[0].keys() == figures[1].keys() >= {"auc", "logloss"}
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)


def figures_of(run):
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    return {name: value["mean"] for name, value in metrics.items()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--compose", "sum"], "compose"),
        (["--lora-recipe", "qwen9"], "unknown LoRA recipe 'qwen9'; did you mean"),
        (["training.epoch=3"], "unknown key 'epoch'; did you mean 'epochs'"),
        (["model={name: popularity}", "training={}"], "is for popularity; use 'llmrec train'"),
    ],
)
def test_mistakes_get_one_sentence_and_status_2(tmp_path, arguments, sentence):
    plain = [] if arguments[0].startswith("model=") else ["--base", "x"]
    done = run([], tmp_path, *plain, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_lora_recipe_sets_what_depends_on_the_base(monkeypatch):
    sys.path.insert(0, str(SCRIPT.parent))
    import train_reclora

    given = ["--lora-recipe", "tiny", "--compose", "sum_products"]
    given += ["--gradient-checkpointing", "true"]
    monkeypatch.setattr(sys, "argv", ["x", "--base", "hf:x", *given])
    arguments = train_reclora.parse_arguments()
    recipe = train_reclora.recipe_of(None, train_reclora.changes_of(arguments))
    assert recipe.model.settings["gradient_checkpointing"] is True
    lora = recipe.model.settings["lora"]
    assert lora["target_modules"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (lora["rank"], lora["compose"]) == (4, "sum_products")
