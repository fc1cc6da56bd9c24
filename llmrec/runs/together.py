"""One run trained by several processes, as accelerate or torchrun start them.

All processes fit the same model on their shares of every batch; only the main one writes, and only
it judges, unless the model is parted among them. With one process this is
:func:`~llmrec.runs.execute.train`.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.data.splits import Split
from llmrec.evaluation.tasks import load_task
from llmrec.runs.directory import RunDirectory
from llmrec.runs.execute import checkpoints_of, keep, train
from llmrec.runs.recipe import Recipe

if TYPE_CHECKING:
    from accelerate.state import PartialState


def train_together(
    state: "PartialState",
    recipe: Recipe,
    output: Path,
    split: Split,
    *,
    seed: int,
    part: str = "valid",
    resume: bool = False,
) -> RunDirectory | None:
    """Train a recipe's model with one seed in all processes of a launch.

    Args:
        state: The processes, of :func:`llmrec.training.setup.processes`.
        recipe: The recipe.
        output: The run directory.
        split: The task's split.
        seed: The seed.
        part: Part to judge on: ``"valid"``, ``"test"`` or ``"none"``.
        resume: Continue from the newest whole checkpoint.

    Returns:
        The run in the main process, None in the others.
    """
    if state.is_main_process:
        return train(recipe, output, seed=seed, part=part, resume=resume, split=split)
    task, model = load_task(recipe.task), recipe.make_model(seed, checkpoints_of(output), resume)
    model.use_catalog(split.dataset.catalog)
    if task.candidates == "pairs":
        model.use_judged(split.labelled_cases("valid"))
    model.fit(split.train_histories(), split.cases("valid"))
    if getattr(model.config, "shard_base", False):  # the main process cannot judge alone
        with tempfile.TemporaryDirectory() as folder:
            unread = Path(folder) / "run"
            keep(unread, recipe, model, task, split, seed=seed, part=part, seconds={})
    return None
