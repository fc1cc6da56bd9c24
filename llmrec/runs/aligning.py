"""From a recipe with an ``alignment`` to a finished run: train, judge lists, learn preferences.

Supervised training gives a run of its own (``<output>.sft``, or one that is there already); the
aligned model is a second run with the reward model inside and ``alignment.json`` beside it. Reward
model, lists, pairs and policies of all iterations lie in ``<output>.alignment``, from where a run
that was killed goes on.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.data.named import load_dataset
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError
from llmrec.evaluation.tasks import Task, load_task
from llmrec.runs.aligning_checks import (
    APPLIED,
    require_alignment,
    require_same_settings,
    require_settings_that_work,
)
from llmrec.runs.directory import MARKER, RunDirectory
from llmrec.runs.execute import (
    keep,
    limit_threads,
    require_destination,
)
from llmrec.runs.recipe import Recipe
from llmrec.runs.session_truth import SessionTruth
from llmrec.runs.together import train_together
from llmrec.storage import require_finished

if TYPE_CHECKING:
    from accelerate.state import PartialState

    from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
    from llmrec.recommenders.onerec.alignment.judging import Judged
    from llmrec.recommenders.onerec.alignment.loop import Alignment, Also
    from llmrec.recommenders.onerec.list_recommender import ListRecommender


def processes() -> "PartialState":
    """The processes of this launch."""
    from llmrec.training.setup import processes as found

    return found()


def align(
    recipe: Recipe,
    output: str | Path,
    *,
    start: str | Path | None = None,
    seed: int | None = None,
    part: str = "valid",
    resume: bool = False,
    split: Split | None = None,
) -> RunDirectory:
    """Train the model of a recipe, then align it; keep both as runs.

    Under accelerate every process calls this; they share the work, and the main one writes.

    Args:
        recipe: For ``onerec`` or ``onerec_lm``, with ``model.alignment``.
        output: The run directory of the aligned model.
        start: A run to start from instead of training one.
        seed: The seed; None takes the recipe's first.
        part: Part to judge on: ``"valid"``, ``"test"`` or ``"none"``.
        resume: Go on with what ``<output>.sft`` and ``<output>.alignment`` hold.
        split: The task's split, where the caller has made it already.

    Raises:
        ConfigError: The recipe has no alignment, is for another model, or asks for what cannot
            work, such as a reward model of shorter lists than the model writes.
        DataError: A column that a tower learns from is missing, or holds no numbers.
        ArtifactError: ``start`` was made for other data or with other settings, ``output`` is
            something else, or without ``resume`` there is an alignment that was broken off.
        TrainingError: The loss is not finite, or checkpoints are of another training.
    """
    output, seed = Path(output), recipe.seeds[0] if seed is None else seed
    task, split, model = opened(recipe, output, start, seed, part, resume, split)
    began = time.perf_counter()
    align_model(model, split, work_folder(output), resume)
    seconds = {"alignment": time.perf_counter() - began}
    state = processes()
    if state.is_main_process:
        keep(output, recipe, model, task, split, seed=seed, part=part, seconds=seconds)
    state.wait_for_everyone()
    return RunDirectory(output)


def opened(
    recipe: Recipe,
    output: Path,
    start: str | Path | None,
    seed: int,
    part: str,
    resume: bool,
    split: Split | None,
) -> "tuple[Task, Split, ListRecommender[Any]]":
    """Task, split and the model to start from, after all that can be refused beforehand.

    The arguments and errors are those of :func:`align`.
    """
    require_alignment(recipe)
    require_destination(output, part)
    if not resume:
        for work in (work_folder(output), *([] if start else [supervised_folder(output)])):
            require_finished(work, output / MARKER)
    task = load_task(recipe.task)
    split = task.split(load_dataset(task.dataset)) if split is None else split
    require_settings_that_work(recipe, split)
    limit_threads(recipe.threads)
    return task, split, starting_model(recipe, output, start, seed, resume, split)


def work_folder(output: Path) -> Path:
    """Where reward model, lists, pairs and policies lie."""
    return output.with_name(f"{output.name}.alignment")


def supervised_folder(output: Path) -> Path:
    """Where the run before alignment lies, unless another is named."""
    return output.with_name(f"{output.name}.sft")


def starting_model(
    recipe: Recipe,
    output: Path,
    start: str | Path | None,
    seed: int,
    resume: bool,
    split: Split,
) -> "ListRecommender[Any]":
    """The model after supervised training, with the alignment of the recipe.

    Raises:
        ArtifactError: The run to start from was made for other data, by another model, or with
            other settings.
    """
    place = supervised_folder(output)
    if start is None:
        train_supervised(recipe, place, seed, "valid", resume, split)
    run = RunDirectory(place if start is None else start)
    model: Any = run.model()
    if model.name != recipe.model.name:
        raise ArtifactError(
            f"{run.path} holds a {model.name} model, but {recipe.source} is for "
            f"{recipe.model.name}; align it with the recipe it was trained by."
        )
    if run.info["split"]["hash"] != split.hash:
        raise ArtifactError(
            f"{run.path} was trained under another split of {run.info['dataset']['name']}; align "
            "it with the task it was made for."
        )
    wanted = recipe.make_model(seed, place, False).config
    if model.name == "onerec" and wanted.generator.list_layers:
        model.part_lists()  # a run that was trained without them has them from here on
    require_same_settings(model, wanted, run.path, recipe, same_seed=start is None)
    changes = {name: getattr(wanted, name) for name in APPLIED}
    changes["alignment"] = _seeded(wanted.alignment, seed)
    model.config = model.config.model_copy(update=changes)
    model.log = run.log  # what is aligned has been trained; its iterations have logs of their own
    return model.use_catalog(split.dataset.catalog)  # type: ignore[no-any-return]


def train_supervised(
    recipe: Recipe, place: Path, seed: int, part: str, resume: bool, split: Split
) -> None:
    """Supervised training by all processes, unless its run is there and to be gone on with.

    Args:
        recipe: The recipe.
        place: The run directory.
        seed: The seed.
        part: Part that the main process judges on.
        resume: Go on from checkpoints; a run that is there is then left as it is.
        split: The task's split.
    """
    state = processes()
    there = resume and (place / MARKER).is_file()
    state.wait_for_everyone()  # nobody writes before everybody has looked
    if not there:
        train_together(state, recipe, place, split, seed=seed, part=part, resume=resume)
    state.wait_for_everyone()


def _seeded(config: "AlignmentConfig", seed: int) -> "AlignmentConfig":
    """Every training of an alignment has the seed of the run."""
    update = {"seed": seed}
    reward = config.reward.model_copy(
        update={"training": config.reward.training.model_copy(update=update)}
    )
    training = config.training.model_copy(update=update)
    return config.model_copy(update={"reward": reward, "training": training})


def align_model(model: "ListRecommender[Any]", split: Split, folder: Path, resume: bool) -> None:
    """Align a model in place: reward model, iterations, and what is told of them."""
    from llmrec.recommenders.onerec.alignment.telling import ExampleSessions

    judged = reward_model(model, split, folder, resume)
    truth = SessionTruth.of(split, "valid")
    also = None if truth is None else partial(true_figures, truth)
    loop = alignment_loop(model, split, judged, folder, resume, also)
    cases = split.cases("valid")
    examples = ExampleSessions(cases.histories, split.dataset.catalog.titles, judged.model)
    examples.add("before alignment", model)
    iterations = loop.run()
    examples.add("aligned", model)
    model.use_reward_model(judged.model, {"figures": judged.figures})
    examples.add(f"aligned, best of {model.config.best_of}", model)
    model.alignment = {
        "schema": 1,
        "metric": alignment_of(model).training.metric,
        "reward": model.details["reward"],
        "iterations": [asdict(iteration) for iteration in iterations],
        "best": None if truth is None else float(truth.best(loop.items)[1].mean()),
        "examples": examples.told,
    }


def reward_model(
    model: "ListRecommender[Any]", split: Split, folder: Path, resume: bool
) -> "Judged":
    """The reward model of an alignment: the one that is there, or a new one."""
    from llmrec.recommenders.onerec.alignment.judging import Judged, train_reward_model
    from llmrec.recommenders.onerec.sources import vectors_of

    state = processes()
    settings = alignment_of(model).reward
    about: dict[str, Any] = {"split": split.hash, "settings": settings.model_dump(mode="json")}
    vectors = None
    if settings.form == "items":
        vectors = vectors_of(model.config, split.train_histories(), split.dataset.catalog, None)
        about["vectors"] = vectors.encoder
    found = Judged.load(folder, about) if resume else None
    state.wait_for_everyone()
    if found is None:
        found = train_reward_model(split, settings, vectors=vectors)
        if state.is_main_process:
            found.save(folder, about)
    return found


def alignment_loop(
    model: "ListRecommender[Any]",
    split: Split,
    judged: "Judged",
    folder: Path,
    resume: bool,
    also: "Also | None" = None,
) -> "Alignment":
    """The loop over a model that has an alignment among its settings."""
    from llmrec.recommenders.onerec.alignment.loop import Alignment

    train, valid = split.train_histories(), split.cases("valid")
    config, place = alignment_of(model), folder / "iterations"
    return Alignment(model, train, valid, judged.model, config, place, resume, also)


def true_figures(truth: SessionTruth, model: "ListRecommender[Any]") -> Mapping[str, float]:
    """What the served sessions are truly worth, in minutes, and how unlike their items are."""
    codes, _ = model.session_codes(truth.histories, best_of=1)
    values, diversity = truth.values(codes), truth.diversity(codes)
    return {"true_reward": float(values.mean()), "true_diversity": float(diversity.mean())}


def alignment_of(model: "ListRecommender[Any]") -> "AlignmentConfig":
    """The settings of the alignment."""
    config: AlignmentConfig | None = model.config.alignment
    assert config is not None
    return config
