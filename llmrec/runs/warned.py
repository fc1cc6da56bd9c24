"""What may not be meant, told before a training begins."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.evaluation.tasks import Task
from llmrec.runs.recipe import Recipe

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender


def tell_of_nothing_to_resume(checkpoints: Path, resume: bool) -> None:
    """A training that is to be resumed and begins anew; the place may be misspelt."""
    if resume and not checkpoints.is_dir():
        warnings.warn(
            f"there is nothing to resume in {checkpoints}; the training begins anew.",
            UserWarning,
            stacklevel=3,
        )


def tell_of_other_validation(model: "BaseRecommender[Any]", recipe: Recipe, task: Task) -> None:
    """A training that leaves out other items than its task is meant only where the recipe says."""
    name = "validation_filters_seen"
    filters = getattr(model.config, name, task.filter_seen)
    if filters != task.filter_seen and recipe.origins.get(f"model.{name}") == "default":
        warnings.warn(
            f"task {task.name} says filter_seen: {str(task.filter_seen).lower()}, but weights are "
            f"chosen by validation with {name}: {str(filters).lower()}; set model.{name}.",
            UserWarning,
            stacklevel=3,
        )
