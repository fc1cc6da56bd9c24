"""Time our SASRec on Amazon Beauty without a peer, each repeat in a fresh process."""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import ceiling
import compare
import prepared
import record
from setting import Setting

from llmrec.data import leave_one_out
from llmrec.data.named import load_dataset
from llmrec.storage import read_json

_SCRIPT = Path(__file__).with_name("ours_sasrec.py")
_NAMES = {"epoch": "sasrec_epoch", "recommend": "rank_catalogue"}


def measure(section: str, repeats: int = 3) -> list[Path]:
    """Time an ``epoch``, or ``recommend``: ranking the whole catalogue for every user."""
    setting = Setting()
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "events.parquet", Path(folder) / "out.json"
        prepared.write_events(leave_one_out(load_dataset("amazon-beauty")), data)
        needed = compare.Needed(data, setting, ceiling.measure(setting.threads))
        command = [sys.executable, str(_SCRIPT), section, "--data", str(data), "--out", str(out)]
        runs = []
        for _ in range(repeats):
            subprocess.run([*command, "--setting", setting.as_json()], check=True)
            runs.append(read_json(out))
    least = needed.of(section)
    seconds = [run[section]["seconds"] for run in runs]
    path = record.write_benchmark(
        _NAMES[section],
        setting.as_dict() | {f"needed_{key}": value for key, value in least.items()},
        seconds,
        ceiling_share=least["seconds_at_ceiling"] / median(seconds),
        details={"ceiling": needed.ceiling, "runs": runs},
    )
    return [path]
