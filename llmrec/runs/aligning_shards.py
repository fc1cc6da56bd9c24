"""Lists of an alignment in shards: what all of them share is made first, then each its part.

Any number of machines may write shards, at the same time, for they only read what
:func:`prepare` has made. The run then goes on with :func:`llmrec.runs.aligning.align` and
``resume``.
"""

import shutil
from pathlib import Path

from llmrec.data.named import load_dataset
from llmrec.errors import ArtifactError
from llmrec.evaluation.tasks import load_task
from llmrec.runs.aligning import (
    alignment_loop,
    opened,
    processes,
    reward_model,
    starting_model,
    supervised_folder,
    work_folder,
)
from llmrec.runs.aligning_checks import require_alignment
from llmrec.runs.directory import MARKER
from llmrec.runs.execute import limit_threads
from llmrec.runs.recipe import Recipe


def prepare(
    recipe: Recipe,
    output: str | Path,
    *,
    start: str | Path | None = None,
    seed: int | None = None,
    resume: bool = False,
) -> None:
    """Make what :func:`write_shard` needs: the supervised run and the reward model.

    Args:
        recipe: As for :func:`~llmrec.runs.aligning.align`, which goes on from here with ``resume``.
        output: The run directory of the aligned model.
        start: A run to start from instead of training one.
        seed: The seed; None takes the recipe's first.
        resume: Leave what is there already.

    Raises:
        ConfigError: As for :func:`~llmrec.runs.aligning.align`.
        ArtifactError: As for :func:`~llmrec.runs.aligning.align`.
        TrainingError: As for :func:`~llmrec.runs.aligning.align`.
    """
    output, seed = Path(output), recipe.seeds[0] if seed is None else seed
    _, split, model = opened(recipe, output, start, seed, "none", resume, None)
    state = processes()
    if not resume and state.is_main_process:  # shards are not for iterations of an earlier run
        shutil.rmtree(work_folder(output), ignore_errors=True)
    state.wait_for_everyone()
    reward_model(model, split, work_folder(output), resume)


def write_shard(
    recipe: Recipe,
    output: str | Path,
    shard: tuple[int, int],
    *,
    start: str | Path | None = None,
    seed: int | None = None,
) -> int:
    """Write one shard of the lists of the iteration that is under way.

    The run that the shards are for then goes on with ``resume``.

    Args:
        recipe: As for :func:`prepare`, after which the supervised run and the reward model are
            there. No shard makes them: all would, at the same time and place.
        output: The run directory of the aligned model.
        shard: ``(i, n)``, ``i`` from 1.
        start: As for :func:`~llmrec.runs.aligning.align`.
        seed: The seed; None takes the recipe's first.

    Returns:
        How many parts were written.

    Raises:
        ArtifactError: The supervised run or the reward model is missing.
    """
    output, seed = Path(output), recipe.seeds[0] if seed is None else seed
    require_alignment(recipe)
    _require_prepared(recipe, output, start)
    task = load_task(recipe.task)
    split = task.split(load_dataset(task.dataset))
    limit_threads(recipe.threads)
    model = starting_model(recipe, output, start, seed, True, split)
    folder = work_folder(output)
    judged = reward_model(model, split, folder, resume=True)
    return alignment_loop(model, split, judged, folder, resume=True).roll_out(shard)


def _require_prepared(recipe: Recipe, output: Path, start: str | Path | None) -> None:
    """Refuse a shard before there is what all shards share."""
    from llmrec.recommenders.onerec.alignment.judging import Judged

    missing = []
    if start is None and not (supervised_folder(output) / MARKER).is_file():
        missing.append(f"the supervised run {supervised_folder(output)}")
    if not Judged.is_in(work_folder(output)):
        missing.append(f"the reward model in {work_folder(output)}")
    if missing:
        run = "" if start is None else f" --run {start}"
        raise ArtifactError(
            f"shards need {' and '.join(missing)}; 'llmrec align {recipe.source} --output {output}"
            f"{run} --prepare --resume', with the same --set and --seed, makes what is missing."
        )
