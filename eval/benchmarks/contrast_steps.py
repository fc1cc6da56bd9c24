"""Time training steps of SRA-CL on Amazon Office: neighbour bank, exact, and plain SASRec.

All three train the settings of the committed Office recipe from scratch in this process, one after
another, for as many repeats as asked; the time of the second epoch counts, with the bank's refresh
and without validation. What a step has to encode is counted beside it.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import record
import torch

from llmrec.data.named import load_dataset
from llmrec.evaluation.tasks import load_task
from llmrec.recommenders.sra_cl import SRACL
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.runs.recipe import Recipe, load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "amazon-office-unfiltered-sra-cl.yaml"
MODES: dict[str, tuple[str, ...]] = {
    "sasrec": ("model.alpha=0", "model.beta=0"),
    "bank": (),
    "exact": ("model.neighbor_bank=none",),
}


def measure(repeats: int = 3, threads: int = 1) -> list[Path]:
    """Time all modes ``repeats`` times and write two benchmarks."""
    torch.set_num_threads(threads)
    recipes = {
        mode: load_recipe(RECIPE, ["model.warmup_epochs=0", "training.epochs=2", *changes])
        for mode, changes in MODES.items()
    }
    runs: list[dict[str, float]] = []
    for _ in range(repeats):
        runs.append({mode: seconds_per_step(recipe) for mode, recipe in recipes.items()})
        print(runs[-1], flush=True)
    seconds = {mode: [run[mode] for run in runs] for mode in MODES}
    setting: dict[str, Any] = {"dataset": "amazon-office", "threads": threads} | positions(recipes)
    details = {"runs": runs, "median_seconds_per_step": {m: median(s) for m, s in seconds.items()}}
    return [
        record.write_benchmark(
            f"sra_cl_step_against_{peer}",
            setting,
            seconds["bank"],
            peer=(name, "this version", seconds[peer]),
            details=details,
        )
        for peer, name in (("exact", "SRA-CL without a bank"), ("sasrec", "SASRec, same settings"))
    ]


def seconds_per_step(recipe: Recipe) -> float:
    """Seconds of the second epoch over its steps."""
    task = load_task(recipe.task)
    split = task.split(load_dataset(task.dataset))
    model = SRACL(**recipe.model.settings, training={**recipe.training, "seed": 1})
    model.use_catalog(split.dataset.catalog).fit(split.train_histories())
    first, second = model.log
    return float((second["seconds"] - first["seconds"]) / (second["step"] - first["step"]))


def positions(recipes: Mapping[str, Recipe]) -> dict[str, float]:
    """Positions that a step encodes on average: of its own rows, and more in each mode."""
    recipe = recipes["bank"]
    task = load_task(recipe.task)
    split = task.split(load_dataset(task.dataset))
    train = split.train_histories()
    events = TrainingEvents.of(train)
    settings = recipe.model.settings
    rows = np.minimum(train.lengths[train.lengths > 1] - 1, settings["max_length"])
    base = float(rows.mean() * recipe.training["batch_size"])
    length = np.minimum(np.arange(len(events)) - events.starts + 1, settings["max_length"])
    neighbors = settings["anchors"] * settings["neighbors"] * float(length.mean())
    return {
        "positions_sasrec": round(base),
        "positions_bank": round(2 * base),
        "positions_exact_at_most": round(2 * base + neighbors),
    }
