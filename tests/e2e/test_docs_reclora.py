"""What docs/reclora.md shows runs as it stands, and its figures are the committed ones."""

import re
from pathlib import Path

import pytest

from llmrec.evaluation.ablation import load_ablations

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reclora.md").read_text(encoding="utf-8")
ROWS = {
    "RecLoRA, K 8, r 8, user gates": "RecLoRA",
    "shared LoRA, r 64 (as many weights)": "shared LoRA of equal parameters (r 64)",
    "RecLoRA served with somebody else's gates": "somebody else's gates at serving only",
    "base model without adapters": "base model without adapters",
    "its CTR model alone (DIN, earlier half)": "its CTR model alone (DIN on the earlier half)",
    "both, mean log-odds": "RecLoRA and its CTR model, mean log-odds",
}
TABLES = ["", "-uauc", "-logloss", "-ece", "-auc-warm", "-auc-cold"]


@pytest.mark.slow
def test_the_python_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "reclora.md", "exec"), names)
    assert names["model"].details["action"] == "like"


def test_the_figures_are_the_committed_ones():
    found = {table.name: table for table in load_ablations(ROOT / "eval" / "results")}
    tables = [found[f"ml-1m-collm-reclora{suffix}"] for suffix in TABLES]
    for shown, name in ROWS.items():
        cells = [next(v for v in table.variants if v.name == name).figure.mean for table in tables]
        row = " | ".join(f"{value:.4f}".lstrip("0") for value in cells)
        assert f"| {shown} | {row} |" in PAGE
