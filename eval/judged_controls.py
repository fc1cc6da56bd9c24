"""Train the variants of a plan on judged pairs and record how each differs from the first.

    python eval/judged_controls.py eval/ablations/ml-1m-collm-reclora.yaml --runs runs/controls
    python eval/judged_controls.py eval/ablations/ml-1m-collm-reclora.yaml --runs runs/controls \
        --record

A table is of a ``metric`` over all pairs, or over a ``group``: those whose columns have the values
of ``where``, or whose histories have from least to most ``events``, both included.

The first form trains what is missing (``--shard 1/2`` takes every second run) and keeps, for every
variant and seed, the scores of all pairs; ``--part valid`` leaves the test part alone. The second
reads the scores, judges them on the test part and writes a table for every metric and group of the
plan. Plan and recipes must be committed unchanged before that.

A variant is a list of overrides, or a mapping: ``recipe`` (another one than the plan's),
``overrides``, ``result`` (also write its figures as a result of its own, under that name of a
variant), ``of`` and ``output`` (no training: another output of that variant's runs), ``oracle``.
A RecLoRA run has the outputs ``score``, ``base`` (the base model without adapters), ``ctr`` (its
CTR model alone), ``both`` (mean log-odds of RecLoRA and that), ``swapped`` (gates of somebody else
at serving time only) and ``centroids-C`` (everybody's gates replaced by the nearest of C centroids
of all people's gates at the end of training, as a store whose users are clustered serves them).
With a ``grid`` of overrides the first seed is trained with each, and the one that is best on
validation is taken for all seeds; ``grid_of`` takes over what was best for another variant.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from judged_outputs import Scores, outputs
from judged_plan import Choice, Plan, folder_of, grid_file, read_plan, settled
from judged_tables import ABOUT, record

from llmrec.data.named import load_dataset
from llmrec.data.splits import Split
from llmrec.errors import run_script
from llmrec.metric_direction import higher_is_better
from llmrec.runs.environment import hardware
from llmrec.runs.recipe import Recipe
from llmrec.storage import atomic_directory, write_json


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
    trainer = Runs(plan, split, parts)
    for seed, choice in wanted[number - 1 :: of]:
        source = plan.searched(choice)
        if source is not None and not grid_file(runs, source.name).is_file():
            search(trainer, source, runs)
        folder = folder_of(runs, choice.name, seed)
        if not (folder / ABOUT).is_file():
            trainer.train(choice, seed, folder, settled(plan, choice, runs))


def search(trainer: "Runs", choice: Choice, runs: Path) -> None:
    """Train the first seed with every value of a grid; the best on validation becomes the run."""
    seed = trainer.plan.seeds[0]
    target = folder_of(runs, choice.name, seed)
    tried = {
        value: trainer.train(choice, seed, target.with_name(f"tried-{place}"), (value,))
        for place, value in enumerate(choice.grid)
    }
    metric = trainer.plan.recipe_of(choice).training["metric"]
    found = {value: best_validation(about, metric) for value, about in tried.items()}
    best = (max if higher_is_better(metric) else min)(found, key=lambda value: found[value])
    for place, value in enumerate(choice.grid):
        folder = target.with_name(f"tried-{place}")
        if value == best:
            folder.rename(target)
        else:
            shutil.rmtree(folder)  # its test scores are never looked at
    write_json(grid_file(runs, choice.name), {"chosen": best, "validation": found})


def best_validation(about: dict[str, Any], metric: str) -> float:
    found = [row["valid"][metric] for row in about["log"] if "valid" in row]
    return max(found) if higher_is_better(metric) else min(found)


class Runs:
    """Trains runs of a plan and keeps their scores; CTR models are fitted once."""

    def __init__(self, plan: Plan, split: Split, parts: tuple[str, ...]) -> None:
        self.plan, self._split, self._parts = plan, split, parts
        self._train = split.train_histories()
        self._ctr: dict[str, Any] = {}

    def train(
        self, choice: Choice, seed: int, folder: Path, extra: tuple[str, ...]
    ) -> dict[str, Any]:
        """Train one run."""
        import torch

        recipe = self.plan.recipe_of(choice, extra)
        torch.set_num_threads(recipe.threads or torch.get_num_threads())
        started = time.perf_counter()
        model = self._fitted(recipe, seed, folder.with_name(f"{folder.name}.checkpoints"))
        trained = time.perf_counter()
        wanted = {c.output for c in self.plan.choices.values() if c.of == choice.name}
        scores = {
            part: outputs(model, self._split.labelled_cases(part), {"score", *wanted}, self._train)  # type: ignore[arg-type]
            for part in self._parts
        }
        about = {
            "recipe": recipe.as_dict(),
            "variant": choice.name,
            "overrides": [*choice.overrides, *extra],
            "seed": seed,
            "seconds": round(trained - started, 1),
            "scoring_seconds": round(time.perf_counter() - trained, 1),
            "seen": [vars(origin) for origin in model.seen],
            "hardware": hardware(),
            "details": model.details,
            "log": model.log,
        }
        keep(folder, about, scores)
        print(f"{choice.name} {extra}, seed {seed}: {about['log'][-1]}", flush=True)
        return about

    def _fitted(self, recipe: Recipe, seed: int, checkpoints: Path) -> Any:
        split, settings = self._split, recipe.model.settings
        model: Any = recipe.make_model(seed, checkpoints, True)
        model.use_catalog(split.dataset.catalog).use_judged(split.labelled_cases("valid"))
        stages = model.name == "reclora"
        about_ctr = repr((seed, settings.get("ctr"), settings.get("ctr_share")))
        if stages and about_ctr in self._ctr:
            model.use_ctr(self._ctr[about_ctr])
        model.fit(self._train, split.cases("valid"))
        if stages:
            self._ctr[about_ctr] = model.ctr
        shutil.rmtree(checkpoints, ignore_errors=True)  # only the scores are kept
        return model


def keep(folder: Path, about: dict[str, Any], scores: dict[str, dict[str, Scores]]) -> None:
    with atomic_directory(folder, ABOUT) as temporary:
        for part, found in scores.items():
            for name, values in found.items():
                np.save(temporary / f"{part}.{name}.npy", values.astype(np.float32))
        (temporary / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
