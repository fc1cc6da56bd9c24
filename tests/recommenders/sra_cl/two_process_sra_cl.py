"""Runs under a launcher: writes to a bank and trains with one, in two processes.

Each process writes what it ends with to ``<folder>/<case>.<process>.safetensors`` and its logs to
``<folder>/logs.<process>.json``.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from small_sra_cl import model_of, parts_of, random_histories, without_seconds

from llmrec.recommenders.sra_cl.bank import StateBank
from llmrec.retrieval.vectors import TextVectors
from llmrec.training.setup import end_processes, processes
from llmrec.training.trainer import Trainer

TRAIN = random_histories([7, 3, 12, 5, 2, 9, 4, 6, 1, 8], seed=4)
INTENTS = {"coarse_intent": 0.1, "fine_intent": 0.1}
CASES = {
    "write_through": {"neighbor_bank": "write_through", **INTENTS},
    "momentum": {"neighbor_bank": "momentum"},
    # 13 windows in steps of 1: one process always has a batch that does not count
    "single rows": {"training": {"batch_size": 1, "epochs": 2}},
    # few sequences have a neighbour: a process may meet a batch in which nobody has
    "hardly any text": {"training": {"batch_size": 2, "epochs": 2}},
}
WRITTEN = {0: [3, 1, 7], 1: [0, 6]}  # rows by process


def vectors():
    values = np.random.default_rng(1).normal(size=(12, 5))
    values[2:] = 0
    return TextVectors.from_array(values, TRAIN.vocabulary)


def train(name, folder):
    given = vectors() if name == "hardly any text" else None
    model = model_of(TRAIN, given, dropout=0.2, **CASES[name])
    module, source = parts_of(model, TRAIN)
    log = Trainer(model.config.training).fit(module, source)
    return {k: v.contiguous() for k, v in module.state_dict().items()}, without_seconds(log)


def main(folder):
    torch.set_num_threads(1)
    process = processes().process_index
    assert processes().num_processes == 2

    bank = StateBank(9, 2)
    rows = torch.tensor(WRITTEN[process])
    bank.write(rows, torch.stack([rows + 0.5, rows * 0 + process], dim=1))
    save_file(bank.state_dict(), folder / f"written.{process}.safetensors")

    logs = {}
    for name in CASES:
        state, logs[name] = train(name, folder)
        save_file(state, folder / f"{name}.{process}.safetensors")
    (folder / f"logs.{process}.json").write_text(json.dumps(logs))
    end_processes()
    sys.stderr.flush()
    os._exit(0)  # threads of wrapped models from earlier cases may abort an ordinary exit


if __name__ == "__main__":
    main(Path(sys.argv[1]))
