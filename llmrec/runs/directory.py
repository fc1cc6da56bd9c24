"""A run on disk: a trained model, how it was made, and how it did.

``run.yaml`` (what was trained on what, each value with where it came from), ``metrics.json`` and
``per_user.parquet`` (the latest evaluation on the run's own task), ``validation.json`` (the metrics
on the validation part, once the latest evaluation is on another), ``log.jsonl``,
``recommendations.parquet`` (examples), ``neighbors.json`` (what a model that learns from texts was
given as alike, with examples), ``model/`` (weights, items and, apart from the weights,
``histories.parquet`` with the events of known users), ``evaluations/`` (figures on other tasks) and
``README.md`` (the card). A directory is written as a whole or not at all.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from llmrec.errors import ArtifactError, nearest_name
from llmrec.storage import atomic_directory, read_json

if TYPE_CHECKING:
    import polars as pl

    from llmrec.recommenders.base import BaseRecommender

MARKER = "run.yaml"
MODEL = "model"
SCHEMA = 1
# Everything about users; a push to a hub leaves these out unless they are asked for by name.
PAPERS = ("README.md", "run.yaml", "metrics.json", "validation.json", "log.jsonl")
ABOUT_USERS = (
    "histories.parquet",
    "users.safetensors",
    "per_user.parquet",
    "recommendations.parquet",
    "neighbors.json",  # tells sequences of users by title
    "alignment.json",  # likewise
)


class RunDirectory:
    """A finished run.

    Args:
        path: The directory.

    Raises:
        ArtifactError: It does not exist or is not a run; the sentence says which.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise ArtifactError(f"{self.path} is a file, not a run directory.")
        if not self.path.is_dir():
            raise ArtifactError(f"{self.path} does not exist{self._neighbour()}")
        if not (self.path / MARKER).is_file():
            raise ArtifactError(f"{self.path} is not a run directory: {self._what_it_is()}.")

    def _what_it_is(self) -> str:
        runs = sorted(child.parent.name for child in self.path.glob(f"*/{MARKER}"))
        if runs:
            return f"it has no {MARKER} but holds the runs {', '.join(runs)}; name one of them"
        return f"it has no {MARKER}; 'llmrec train RECIPE --output DIR' writes one"

    def _neighbour(self) -> str:
        """The run nearby whose name is closest, or how to make one."""
        runs = [marker.parent.name for marker in self.path.parent.glob(f"*/{MARKER}")]
        if runs:
            return nearest_name(self.path.name, runs)
        return "; 'llmrec train RECIPE --output DIR' writes a run."

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of ``run.yaml``.

        Raises:
            ArtifactError: The file is not YAML or was written by a newer version.
        """
        file = self.path / MARKER
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            raise ArtifactError(f"{file} is not valid YAML; the run is damaged.") from None
        if not isinstance(values, dict) or "recipe" not in values:
            raise ArtifactError(f"{file} does not describe a run; it has no 'recipe'.")
        if values.get("schema", 0) > SCHEMA:
            raise ArtifactError(
                f"{file} has schema {values['schema']}, newer than the {SCHEMA} known here; "
                "update llmrec."
            )
        return values

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.info["recipe"]["name"])

    @property
    def task(self) -> str:
        """The task the run was made for."""
        return str(self.info["recipe"]["task"])

    @property
    def metrics(self) -> dict[str, Any]:
        """The latest evaluation, as in ``metrics.json``.

        Raises:
            ArtifactError: The run was never evaluated.
        """
        if not (self.path / "metrics.json").is_file():
            raise ArtifactError(
                f"{self.path} has no metrics yet; run 'llmrec evaluate {self.path}' first."
            )
        return dict(read_json(self.path / "metrics.json"))

    @property
    def validation(self) -> dict[str, Any] | None:
        """Metrics on the validation part, or None if it was never looked at."""
        if (self.path / "validation.json").is_file():
            return dict(read_json(self.path / "validation.json"))
        latest = self.metrics if (self.path / "metrics.json").is_file() else {}
        return latest if latest.get("part") == "valid" else None

    @property
    def per_user(self) -> "pl.DataFrame":
        """One row per case of the latest evaluation."""
        return self._table("per_user.parquet")

    @property
    def recommendations(self) -> "pl.DataFrame":
        """What the model recommends to a few example users."""
        return self._table("recommendations.parquet")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Training and validation rows; empty for models without a training loop."""
        file = self.path / "log.jsonl"
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    @property
    def alignment(self) -> dict[str, Any]:
        """What an alignment came to, as in ``alignment.json``.

        Raises:
            ArtifactError: The run is not an aligned one.
        """
        if not (self.path / "alignment.json").is_file():
            raise ArtifactError(
                f"{self.path} has no alignment.json; 'llmrec align RECIPE' writes aligned runs."
            )
        return dict(read_json(self.path / "alignment.json"))

    def model(self) -> "BaseRecommender[Any]":
        """The trained model, with the histories of its known users if they are here."""
        from llmrec.runs.loading import load

        return load(self.path)

    def push_to_hub(
        self, repository: str, include: Sequence[str] = (), private: bool = True
    ) -> str:
        """Upload the run; nothing about users goes along unless named.

        Args:
            repository: ``owner/name`` on the Hugging Face hub.
            include: Files of ``ABOUT_USERS`` to upload all the same.
            private: Whether a repository made for this is private.

        Returns:
            The address.

        Raises:
            ArtifactError: ``include`` names something else, or a file that the run does not have.
        """
        from huggingface_hub import HfApi

        api = HfApi()
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            self.stage(folder, include)
            api.create_repo(repository, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repository, folder_path=folder))

    def stage(self, folder: Path, include: Sequence[str] = ()) -> None:
        """Copy what a push would upload to ``folder``: the model on top, its papers beside it."""
        for name in include:
            if name not in ABOUT_USERS:
                raise ArtifactError(f"{name!r} cannot be included{nearest_name(name, ABOUT_USERS)}")
        allowed = {*PAPERS, *include}
        files = [path for path in self.path.iterdir() if path.name in allowed]
        model = [
            path
            for path in (self.path / MODEL).iterdir()
            if path.name not in ABOUT_USERS or path.name in include
        ]
        missing = set(include) - {path.name for path in [*files, *model]}
        if missing:
            raise ArtifactError(f"{self.path} has no file {missing.pop()!r} to include.")
        for path in [*files, *model]:
            shutil.copy2(path, folder / path.name)

    def _table(self, name: str) -> "pl.DataFrame":
        import polars as pl

        if not (self.path / name).is_file():
            raise ArtifactError(f"{self.path} has no {name}; it is written by an evaluation.")
        return pl.read_parquet(self.path / name)


@contextmanager
def changed_run(path: str | Path) -> Iterator[Path]:
    """Yield a copy of a run that replaces it when the block ends without an error.

    Files are linked, not copied; a writer must replace files, which ``llmrec.storage`` does.
    """
    path = Path(path)
    with atomic_directory(path, MARKER) as temporary:
        shutil.copytree(path, temporary, copy_function=_link_or_copy, dirs_exist_ok=True)
        yield temporary


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
