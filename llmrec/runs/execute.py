"""From a recipe to a finished run: load, split, train, judge, save as a whole.

Training sees the training part; the validation part is for early stopping and choosing weights.
Known users of the run are served from training and validation events together, which is also what
a model is given at the test. A run directory appears only when everything in it is there;
checkpoints lie beside it in ``<output>.checkpoints`` and stay, so that a longer training can go on.
"""

import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import yaml

from llmrec.data.named import load_dataset
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError, ConfigError, TrainingError, nearest_name
from llmrec.evaluation.harness import evaluate, require_judgeable
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.tasks import Task, load_task
from llmrec.runs.card import render_card
from llmrec.runs.directory import MARKER, MODEL, SCHEMA, RunDirectory, changed_run
from llmrec.runs.environment import hardware, source_commit, versions
from llmrec.runs.recipe import Recipe
from llmrec.runs.warned import tell_of_nothing_to_resume, tell_of_other_validation
from llmrec.storage import (
    atomic_directory,
    read_json,
    require_finished,
    require_place,
    write_json,
    write_text,
)
from llmrec.validation import validated

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender

EXAMPLES = 100
"""Users whose top lists are kept in a run; the same users for every model of a task."""

_PARTS = ("valid", "test", "none")


def train(
    recipe: Recipe,
    output: str | Path,
    *,
    seed: int | None = None,
    part: str = "valid",
    resume: bool = False,
    split: Split | None = None,
) -> RunDirectory:
    """Train a recipe's model with one seed and keep it as a run.

    Args:
        recipe: The recipe.
        output: The run directory; an earlier run there is replaced when this one is whole.
        seed: The seed; None takes the recipe's first.
        part: Part to judge on: ``"valid"``, ``"test"`` or ``"none"``. A test is preceded by the
            validation, so that both figures are kept.
        resume: Continue from the newest whole checkpoint in ``<output>.checkpoints``.
        split: The task's split, where the caller has made it already.

    Raises:
        ConfigError: The task or ``part`` is unknown, or a list of the task is longer than the
            catalog.
        DataError: A metric of the task needs something of the items that is not known.
        ArtifactError: ``output`` is something other than a run, or without ``resume`` there are
            checkpoints of a training that was broken off.
        TrainingError: The loss is not finite, or the checkpoints are of another training.
    """
    output, seed = Path(output), recipe.seeds[0] if seed is None else seed
    require_destination(output, part)
    checkpoints = checkpoints_of(output)
    if not resume:
        require_finished(checkpoints, output / MARKER)
    task = load_task(recipe.task)
    split = task.split(load_dataset(task.dataset)) if split is None else split
    require_judgeable(split, task)
    limit_threads(recipe.threads)
    tell_of_nothing_to_resume(checkpoints, resume)
    if not resume:  # older checkpoints are of another training and must not be resumed from
        shutil.rmtree(checkpoints, ignore_errors=True)
    model = recipe.make_model(seed, checkpoints, resume).use_catalog(split.dataset.catalog)
    if task.candidates == "pairs":
        model.use_judged(split.labelled_cases("valid"))
    tell_of_other_validation(model, recipe, task)
    start = time.perf_counter()
    try:
        model.fit(split.train_histories(), split.cases("valid"))
    except TrainingError as error:
        raise TrainingError(
            f"{error} No run was written; {checkpoints} holds what there is, and must be removed "
            "before a training with other settings."
        ) from error
    log = getattr(model, "log", [])
    before = log[-1]["seconds"] if log and resume else 0.0  # the log counts earlier processes, too
    seconds = {"training": max(time.perf_counter() - start, before)}
    return keep(output, recipe, model, task, split, seed=seed, part=part, seconds=seconds)


def keep(
    output: Path,
    recipe: Recipe,
    model: "BaseRecommender[Any]",
    task: Task,
    split: Split,
    *,
    seed: int,
    part: str,
    seconds: dict[str, float],
) -> RunDirectory:
    """Judge a fitted model and keep it as a run; see :func:`train` for the arguments.

    Args:
        output: The run directory.
        recipe: What it was made by.
        model: The model.
        task: The task.
        split: The task's split.
        seed: Of its training.
        part: Part to judge on.
        seconds: What took how long.
    """
    model.serve(split.train_histories(include_valid=True))
    parts = {"valid": ["valid"], "test": ["valid", "test"], "none": []}[part]
    evaluations = [_judge(model, recipe, split, task, each) for each in parts]
    info = _describe(recipe, task, split, seed, model, seconds)
    info["test_runs"] = int(part == "test")
    _save(output, info, model, evaluations)
    return RunDirectory(output)


def train_seeds(
    recipe: Recipe, output: str | Path, *, part: str = "valid", resume: bool = False
) -> list[RunDirectory]:
    """Train every seed of a recipe; more than one go to ``<output>/seed-<n>``."""
    output = Path(output)
    if len(recipe.seeds) == 1:
        return [train(recipe, output, part=part, resume=resume)]
    if (output / MARKER).exists():
        raise ConfigError(f"{output} is a run itself; choose another --output for several seeds.")
    task = load_task(recipe.task)
    split = task.split(load_dataset(task.dataset))
    return [
        train(recipe, output / f"seed-{n}", seed=n, part=part, resume=resume, split=split)
        for n in recipe.seeds
    ]


def evaluate_run(
    run: RunDirectory, task: str | Path | None = None, part: str = "test"
) -> dict[str, Any]:
    """Judge a run and keep the figures.

    On the run's own task they become the run's metrics; on another task they go to
    ``evaluations/<task>.<part>`` inside the run, and so do those of an earlier test where the
    validation part is judged after it.

    Args:
        run: The run.
        task: A task; None takes the run's own.
        part: ``"valid"`` or ``"test"``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ProtocolError: The model has seen what it would be judged on.
    """
    _require_part(part, _PARTS[:2])
    require_place(run.path)
    own = stored_task(run)
    asked = own if task is None else load_task(task)
    split = asked.split(load_dataset(asked.dataset))
    recipe = run.info["recipe"]
    evaluation = evaluate(
        run.model(),
        split,
        asked,
        part,  # type: ignore[arg-type]
        model=recipe["model"]["name"],
        variant=recipe["name"],
    )
    looked = part == "test" and split.dataset.fingerprint == run.info["dataset"]["fingerprint"]
    info = {**run.info, "test_runs": run.info.get("test_runs", 0) + looked}
    with changed_run(run.path) as copy:
        if asked != own:
            evaluation.save(copy / "evaluations" / f"{asked.name}.{part}")
        else:
            if part == "valid":
                _put_test_aside(run, copy, own)
            _write_evaluations(copy, _with_earlier_validation(run, part), evaluation)
        _write_description(copy, info)
    return evaluation.to_dict()


def checkpoints_of(output: Path) -> Path:
    """Where the checkpoints of a run lie while it is being trained."""
    return output.with_name(f"{output.name}.checkpoints")


def stored_task(run: RunDirectory) -> Task:
    """The task a run was made for, as it was then."""
    return validated(Task, run.info.get("task"), f"{run.path / MARKER}, task", ArtifactError)


def example_cases(n_cases: int) -> list[int]:
    """Rows of the cases whose lists are kept: drawn once, so that models can be compared."""
    drawn = np.random.default_rng(0).permutation(n_cases)[:EXAMPLES]
    return [int(row) for row in drawn]


def require_destination(output: Path, part: str) -> None:
    """Refuse an unknown part, or a place that holds something other than a run."""
    _require_part(part, _PARTS)
    _require_free(output)


def _require_part(part: str, known: tuple[str, ...]) -> None:
    if part not in known:
        raise ConfigError(f"unknown part {part!r}{nearest_name(part, known)}")


def _require_free(output: Path) -> None:
    """Refuse a wrong destination before hours of training, not after."""
    require_place(output)
    if (output / MARKER).is_file() or not output.exists():
        return
    if output.is_file() or any(output.iterdir()):
        raise ArtifactError(
            f"{output} exists and is not a run (it has no {MARKER}); choose another --output."
        )


def limit_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None leaves it as it is."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _judge(
    model: "BaseRecommender[Any]", recipe: Recipe, split: Split, task: Task, part: str
) -> Evaluation:
    name, variant = recipe.model.name, recipe.name
    return evaluate(model, split, task, part, model=name, variant=variant)  # type: ignore[arg-type]


def _describe(
    recipe: Recipe,
    task: Task,
    split: Split,
    seed: int,
    model: "BaseRecommender[Any]",
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The content of ``run.yaml``; nothing in it is about a user."""
    data = split.dataset
    about = {"sessions": model.details["sessions"]} if "sessions" in model.details else {}
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "recipe": recipe.as_dict(),
        "origins": recipe.origins,
        "task": task.model_dump(mode="json", by_alias=True),
        "dataset": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "users": len(data.user_vocabulary),
            "items": len(data.catalog),
            "events": len(data.interactions),
        },
        "split": {"name": split.name, "hash": split.hash, "n_too_short": split.n_too_short},
        "seen": [vars(origin) for origin in model.seen],
        **about,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "versions": versions(),
        "hardware": hardware(),
        "commit": source_commit(),
    }


def _save(
    output: Path,
    info: dict[str, Any],
    model: "BaseRecommender[Any]",
    evaluations: list[Evaluation],
) -> None:
    with atomic_directory(output, MARKER) as temporary:
        model.save_pretrained(temporary / MODEL)
        rows = [json.dumps(row, allow_nan=False) for row in getattr(model, "log", [])]
        write_text(temporary / "log.jsonl", "".join(f"{row}\n" for row in rows))
        for name, values in model.reports().items():
            write_json(temporary / f"{name}.json", values)
        if evaluations:
            earlier = evaluations[0].to_dict() if len(evaluations) > 1 else None
            _write_evaluations(temporary, earlier, evaluations[-1])
        _write_description(temporary, info)


def _write_evaluations(folder: Path, validation: dict[str, Any] | None, latest: Evaluation) -> None:
    latest.save(folder)
    if validation is not None:
        write_json(folder / "validation.json", validation)
    else:
        (folder / "validation.json").unlink(missing_ok=True)
    if latest.top is None or latest.cases is None:
        return
    lists = latest.top.frame(example_cases(len(latest.cases)))
    catalog = pl.read_parquet(folder / MODEL / "items.parquet")
    titled = lists.join(catalog, on="item_id", how="left", maintain_order="left")
    (folder / "recommendations.parquet").unlink(missing_ok=True)  # may be a link into the old run
    titled.write_parquet(folder / "recommendations.parquet")


def _put_test_aside(run: RunDirectory, folder: Path, task: Task) -> None:
    """Figures of a test are not lost where the validation part is judged again after it."""
    latest = run.path / "metrics.json"
    if latest.is_file() and read_json(latest).get("part") == "test":
        Evaluation.load(run.path).save(folder / "evaluations" / f"{task.name}.test")


def _with_earlier_validation(run: RunDirectory, part: str) -> dict[str, Any] | None:
    return run.validation if part == "test" else None


def _write_description(folder: Path, info: dict[str, Any]) -> None:
    """``README.md`` and, last, ``run.yaml``."""
    files = [folder / "metrics.json", folder / "validation.json"]
    results = [read_json(file) for file in files if file.is_file()]
    neighbors = folder / "neighbors.json"
    about = read_json(neighbors) if neighbors.is_file() else None
    card = render_card(info, results, "owner/name or a folder", about)
    write_text(folder / "README.md", card)
    text = yaml.safe_dump(info, sort_keys=False, allow_unicode=True, width=100)
    write_text(folder / MARKER, text)
