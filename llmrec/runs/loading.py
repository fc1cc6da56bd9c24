"""From a name to a recommender: run directories, saved models and the hub alike."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ArtifactError
from llmrec.runs.directory import MODEL, RunDirectory

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender


def load(name: str | Path) -> "BaseRecommender[Any]":
    """Load a trained recommender; see :func:`llmrec.load`."""
    from llmrec.recommenders.artifacts import load as load_artifact

    path = Path(name)
    if (path / MODEL).is_dir():
        return load_artifact(path / MODEL)
    if (path / "model.json").is_file() or _may_be_on_the_hub(name):
        return load_artifact(name)
    run = RunDirectory(path)  # says what the path is instead, if it is no run
    raise ArtifactError(f"{run.path} is a run without its model: {path / MODEL} is missing.")


def _may_be_on_the_hub(name: str | Path) -> bool:
    """``owner/name`` where neither that directory nor one called ``owner`` is here."""
    if isinstance(name, Path) or name.startswith((".", "/", "~")):
        return False
    return name.count("/") == 1 and not Path(name).parent.is_dir()
