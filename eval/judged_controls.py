"""Train the variants of a plan on judged pairs and record how each differs from the first.

    python eval/judged_controls.py eval/ablations/ml-1m-collm-reclora.yaml --runs runs/controls
    python eval/judged_controls.py eval/ablations/ml-1m-collm-reclora.yaml --runs runs/controls \
        --record

The first form trains what is missing (``--shard 1/2`` takes every second run) and keeps, for every
variant and seed, the scores of all pairs; ``--part valid`` leaves the test part alone. The second
reads the scores, judges them on the test part and writes a table for every metric and group of the
plan. Plan and recipes must be committed unchanged before that.

A variant is a list of overrides, or a mapping: ``recipe`` (another one than the plan's),
``overrides``, ``result`` (also write its figures as a result of its own, under that name of a
variant), ``of`` and ``output`` (no training: another output of that variant's runs), ``oracle``.
A RecLoRA run has the outputs ``score``, ``base`` (the base model without adapters), ``ctr`` (its
CTR model alone), ``both`` (mean log-odds of RecLoRA and that) and ``swapped`` (gates of somebody
else at serving time only).
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from judged_plan import Choice, Plan, folder_of, read_plan
from judged_tables import ABOUT, record

from llmrec.data.named import load_dataset
from llmrec.data.splits import LabelledCases, Split
from llmrec.errors import LlmrecError
from llmrec.runs.environment import hardware
from llmrec.storage import atomic_directory

Scores = npt.NDArray[np.float64]


def main() -> None:
    arguments = parse_arguments()
    plan = read_plan(arguments.plan)
    if arguments.record:
        for path in record(plan, arguments.plan, arguments.runs):
            print(path)
    else:
        parts = ("valid", "test") if arguments.part == "test" else ("valid",)
        train_missing(plan, arguments.runs, arguments.shard, parts, arguments.only)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where scores are or will be")
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th run from the i-th")
    parser.add_argument("--part", choices=("valid", "test"), default="test", help="last part")
    parser.add_argument("--only", action="append", help="train only this variant; may be repeated")
    parser.add_argument("--record", action="store_true", help="judge on test and write results")
    return parser.parse_args()


def train_missing(
    plan: Plan, runs: Path, shard: str, parts: tuple[str, ...], only: list[str] | None
) -> None:
    """Train every variant and seed whose scores are not there."""
    number, of = (int(part) for part in shard.split("/"))
    chosen = [c for c in plan.choices.values() if c.trains and (not only or c.name in only)]
    split = plan.task.split(load_dataset(plan.task.dataset))
    wanted = [(seed, choice) for seed in plan.seeds for choice in chosen]
    known: dict[str, Any] = {}
    for seed, choice in wanted[number - 1 :: of]:
        folder = folder_of(runs, choice.name, seed)
        if not (folder / ABOUT).is_file():
            about = train_one(plan, choice, seed, split, folder, parts, known)
            print(f"{choice.name}, seed {seed}: {about['log'][-1]}", flush=True)


def train_one(
    plan: Plan,
    choice: Choice,
    seed: int,
    split: Split,
    folder: Path,
    parts: tuple[str, ...],
    known: dict[str, Any],
) -> dict[str, Any]:
    """Train one run and keep its scores; ``known`` are CTR models that other runs have fitted."""
    import torch

    recipe = plan.recipe_of(choice)
    wanted = {"score", *(c.output for c in plan.choices.values() if c.of == choice.name)}
    torch.set_num_threads(recipe.threads or torch.get_num_threads())
    started = time.perf_counter()
    checkpoints = folder.with_name(f"{folder.name}.checkpoints")
    model: Any = recipe.make_model(seed, checkpoints, False)
    model.use_catalog(split.dataset.catalog).use_judged(split.labelled_cases("valid"))
    about_ctr = repr(
        (seed, recipe.model.settings.get("ctr"), recipe.model.settings.get("ctr_share"))
    )
    if about_ctr in known and model.name == "reclora":
        model.use_ctr(known[about_ctr])
    model.fit(split.train_histories(), split.cases("valid"))
    if model.name == "reclora":
        known[about_ctr] = model.ctr
    trained = time.perf_counter()
    shutil.rmtree(checkpoints, ignore_errors=True)  # only the scores are kept
    scores = {part: outputs(model, split.labelled_cases(part), wanted) for part in parts}  # type: ignore[arg-type]
    about = {
        "recipe": recipe.as_dict(),
        "variant": choice.name,
        "overrides": list(choice.overrides),
        "seed": seed,
        "seconds": round(trained - started, 1),
        "scoring_seconds": round(time.perf_counter() - trained, 1),
        "seen": [vars(origin) for origin in model.seen],
        "hardware": hardware(),
        "details": model.details,
        "log": model.log,
    }
    with atomic_directory(folder, ABOUT) as temporary:
        for part, found in scores.items():
            for name, values in found.items():
                np.save(temporary / f"{part}.{name}.npy", values.astype(np.float32))
        (temporary / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    return about


def outputs(model: Any, cases: LabelledCases, wanted: set[str]) -> dict[str, Scores]:
    """Probabilities of all pairs, of a model and of its parts."""
    histories = cases.histories.with_vocabulary(model.vocabulary)
    if model.name != "reclora":
        return {"score": model.score_pairs(histories, cases.items)}
    ranker = model.ranker
    pairs = ranker.prepare(histories, cases.items)
    found = {"score": ranker.pair_odds(pairs)}
    if "base" in wanted:
        found["base"] = ranker.base_odds(pairs)
    if "swapped" in wanted:
        order = np.random.default_rng(0).permutation(len(cases))
        found["swapped"] = ranker.pair_odds(pairs.with_inputs(pairs.inputs[order]))
    if wanted & {"ctr", "both"}:
        own = np.clip(model.ctr.score_pairs(histories, cases.items).astype(np.float64), 1e-6, 1)
        found["ctr"] = np.log(own / np.maximum(1 - own, 1e-6))
        found["both"] = (found["ctr"] + found["score"]) / 2
    return {
        name: 1 / (1 + np.exp(-odds.astype(np.float64)))
        for name, odds in found.items()
        if name in wanted
    }


if __name__ == "__main__":
    try:
        main()
    except LlmrecError as error:
        sys.exit(str(error))
