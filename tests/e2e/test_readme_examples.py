"""The Python lines of the README run as they stand, on the data set that they name."""

import os
import re
from pathlib import Path

import pytest

from llmrec.runs.execute import train
from llmrec.runs.recipe import load_recipe

ROOT = Path(__file__).parents[2]
HOME = os.environ.get("LLMREC_DATA_HOME")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.slow,
    pytest.mark.skipif(
        HOME is None or not Path(HOME).is_dir(), reason="LLMREC_DATA_HOME is not set"
    ),
]


def python_blocks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_every_block_runs_after_the_ones_before_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ["training.epochs=1", "training.batch_size=256", "model.dim=8", "model.loss=sampled"]
    recipe = load_recipe(ROOT / "eval" / "recipes" / "quickstart-sasrec.yaml", short)
    train(recipe, tmp_path / "runs" / "quickstart" / "sasrec", part="none")
    blocks = python_blocks()
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        # Training for ten epochs shows nothing here that one small epoch does not.
        shorter = block.replace("dim=64", "dim=8").replace('"epochs": 10', '"epochs": 1')
        exec(compile(shorter, "README.md", "exec"), names)
    assert names["model"].is_fitted
    assert 0 <= names["judged"].metrics["ndcg@10"].mean <= 1
