"""Runs under a launcher: trains with the base model whole in every process, and parted among them.

Each process writes what came out to ``<folder>/<case>.<process>.json`` and the trained weights to
``<folder>/<case>.<process>.safetensors``.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from reclora_worlds import liking_world, make_model
from safetensors.torch import save_file

from llmrec.training.setup import end_processes, processes

SPLIT = liking_world()
OPTIONS = {
    "lora": {"gate_dropout": 0.0},
    "training": {"epochs": 2, "batch_size": 10},
    "tokens_at_once": 400,  # several passes a step, not equally many in both processes
}
CASES = {
    "whole": {},
    "parted": {"shard_base": True},
    "recomputed": {"shard_base": True, "gradient_checkpointing": True},
}


def fitted(base, **options):
    model = make_model(base, **OPTIONS, **options)
    model.use_catalog(SPLIT.dataset.catalog).use_judged(SPLIT.labelled_cases("valid"))
    return model.fit(SPLIT.train_histories())


def found_by(model):
    """What a model logs and answers."""
    cases = SPLIT.labelled_cases("test")
    histories = cases.histories.take(np.arange(12)).with_vocabulary(model.vocabulary)
    frozen = [w for w in model.ranker.lora.model.parameters() if not w.requires_grad]
    return {
        "log": [{name: row[name] for name in row if name != "seconds"} for row in model.log],
        "pairs": model.score_pairs(histories, cases.items[:12]).tolist(),
        "lists": model.score_catalog(histories.take([0, 1, 2])).tolist(),
        "weights": sum(weight.numel() for weight in frozen),
        "held": sum(getattr(w, "_local_tensor", w).numel() for w in frozen),
    }


def main(folder, base):
    torch.set_num_threads(1)
    assert processes().num_processes == 2
    place = processes().process_index
    for name, options in CASES.items():
        model = fitted(base, **options)
        (folder / f"{name}.{place}.json").write_text(json.dumps(found_by(model)))
        save_file(model.experts().tensors, folder / f"{name}.{place}.safetensors")
        model.save_pretrained(folder / f"{name}.{place}")
    end_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
