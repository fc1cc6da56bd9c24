"""What of an alignment is refused before anything is trained, and what a start must agree in."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.data.splits import Split
from llmrec.errors import ArtifactError, ConfigError
from llmrec.evaluation.monitoring import require_ranking_metric
from llmrec.runs.recipe import Recipe

if TYPE_CHECKING:
    from llmrec.recommenders.onerec.list_recommender import ListRecommender

_ALIGNED = ("onerec", "onerec_lm")
APPLIED = frozenset({"alignment", "best_of", "beam"})
"""Settings that an alignment has of its own; in all others it is as the run it starts from."""


def require_alignment(recipe: Recipe) -> None:
    """Refuse a recipe that says nothing about alignment.

    Raises:
        ConfigError: It is for another model, or has no ``model.alignment``.
    """
    if recipe.model.name not in _ALIGNED:
        raise ConfigError(
            f"{recipe.source} is for {recipe.model.name}, but only {' and '.join(_ALIGNED)} write "
            "lists that can be aligned; use 'llmrec train'."
        )
    if not recipe.model.settings.get("alignment"):
        raise ConfigError(
            f"{recipe.source} has no model.alignment, so there is nothing to align with; add it, "
            "or use 'llmrec train'."
        )


def require_settings_that_work(recipe: Recipe, split: Split) -> None:
    """Refuse settings that training would only stumble over at its end.

    Raises:
        ConfigError: The model writes single items or longer lists than are judged, or a metric is
            none.
        DataError: A column that a tower learns from is missing, or holds no numbers.
    """
    from llmrec.recommenders.onerec.alignment.beforehand import require_alignable

    model: Any = recipe.make_model(recipe.seeds[0], Path("not trained"), False)
    require_alignable(model.config.alignment, model.longest_session, split)
    require_ranking_metric(model.config.training.metric, "training.metric")


def require_same_settings(
    model: "ListRecommender[Any]", wanted: Any, run: Path, recipe: Recipe, same_seed: bool
) -> None:
    """Refuse a start that was trained otherwise than the recipe says: it would not be told.

    Args:
        model: The model of the run.
        wanted: The settings of the recipe.
        run: The run.
        recipe: The recipe.
        same_seed: Whether also the seed of the training must be the recipe's.

    Raises:
        ArtifactError: A setting differs; all that do are named.
    """
    there, now = (
        _lasting(config.model_dump(mode="json"), same_seed) for config in (model.config, wanted)
    )
    unlike = [name for name in there if there[name] != now[name]]
    if unlike:
        places = [name if name == "training" else f"model.{name}" for name in unlike]
        raise ArtifactError(
            f"{run} was trained with other settings under {' and '.join(places)} than "
            f"{recipe.source} has; align it with the recipe it was trained by."
        )


def _lasting(settings: dict[str, Any], with_seed: bool) -> dict[str, Any]:
    """Settings that shape a supervised run."""
    from llmrec.recommenders.onerec.alignment.continuing import CHANGES_NOTHING_IN_TRAINING

    left_out: Collection[str] = CHANGES_NOTHING_IN_TRAINING | (set() if with_seed else {"seed"})
    training = {k: v for k, v in settings["training"].items() if k not in left_out}
    lasting = {name: value for name, value in settings.items() if name not in APPLIED}
    return lasting | {"training": training}
