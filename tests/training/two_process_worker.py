"""Runs under a launcher: trains the toy system in every way that processes can differ in.

Each process writes its weights to ``<folder>/<case>.<process>.safetensors`` and its logs to
``<folder>/logs.<process>.json``, and at last the names of its threads.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from toy_training import ToyModel, ToySource, accuracy_of, fit

from llmrec.errors import TrainingError
from llmrec.training.setup import end_processes, processes

CASES = {
    "plain": {"epochs": 3},
    "accumulated": {"epochs": 2, "accumulation": 2},
    "clipped": {"epochs": 2, "clip_norm": 0.1, "weight_decay": 0.1},
    # 21 rows in steps of 3 and of 1: some processes, or micro-batches, get no row
    "three rows": {"epochs": 1, "batch_size": 3, "accumulation": 2},
    "single rows": {"epochs": 1, "batch_size": 1},
}


def stopped_early(model):
    """Validated by the main process only; the others must stop at the same epoch."""
    return fit(model, validate=accuracy_of(model), epochs=30, patience=2, learning_rate=0.05)


def main(folder):
    torch.set_num_threads(1)
    assert processes().num_processes == 2
    process = processes().process_index
    logs = {}

    def keep(name, model, log):
        save_file(model.weights(), folder / f"{name}.{process}.safetensors")
        logs[name] = log

    for name, settings in CASES.items():
        model = ToyModel()
        keep(name, model, fit(model, **settings))
    model = ToyModel()
    keep("stopped early", model, stopped_early(model))

    for name, epochs in (("straight", [4]), ("resumed", [2, 4])):
        for until in epochs:
            model = ToyModel(dropout=0.4)
            log = fit(model, ToySource(noise=0.1), None, folder / name, resume=True, epochs=until)
        keep(name, model, log)

    model, source = ToyModel(), ToySource()
    source.features[4] = np.nan
    try:
        fit(model, source)
    except TrainingError as error:
        logs["bad loss"] = str(error)
    (folder / f"logs.{process}.json").write_text(json.dumps(logs))
    end_processes()
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (folder / f"threads.{process}.json").write_text(json.dumps(threads))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
