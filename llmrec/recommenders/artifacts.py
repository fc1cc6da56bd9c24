"""Saved models: directories of safetensors, parquet and JSON with a hash for every file.

``model.json`` is written last and marks a whole directory. Loading checks hashes and refuses by
name; it never runs code from the directory.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file, save_file

import llmrec
from llmrec.data.histories import Histories, Origin
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError
from llmrec.recommenders.registry import model_class
from llmrec.storage import atomic_directory, file_sha256, read_json

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender

    ModelT = TypeVar("ModelT", bound=BaseRecommender[Any])

MANIFEST = "model.json"
WEIGHTS, ITEMS, HISTORIES = "model.safetensors", "items.parquet", "histories.parquet"
USERS = "users.safetensors"
_ABOUT_USERS = (HISTORIES, USERS)
_FORMAT = 1
_REQUIRED = {"model", "config", "items", "seen", "sha256"}


def save(model: "BaseRecommender[Any]", directory: str | Path, include_users: bool) -> None:
    """Write ``model`` to ``directory`` atomically."""
    with atomic_directory(directory, MANIFEST) as folder:
        state = model._state()
        save_file(dict(state), folder / WEIGHTS)
        items = pl.DataFrame({"item_id": model.vocabulary.ids})
        if model.titles is not None:
            items = items.with_columns(model.titles.alias("title"))
        items.write_parquet(folder / ITEMS)
        personal = model._personal_state() if include_users else {}
        if personal:
            save_file(dict(personal), folder / USERS)
        if include_users and model.known_histories is not None:
            model.known_histories.to_parquet(folder / HISTORIES)
        files = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
        manifest = {
            "format": _FORMAT,
            "model": model.name,
            "llmrec": llmrec.__version__,
            "config": model.config.model_dump(mode="json"),
            "items": model.vocabulary.fingerprint,
            "seen": [vars(origin) for origin in model.seen],
            "details": model.details,
            "sha256": files,
        }
        text = json.dumps(manifest, indent=2, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load(name: str | Path) -> "BaseRecommender[Any]":
    """Read a model of any class from a directory or the hub."""
    folder = _folder_of(name)
    manifest = _checked_manifest(folder)
    return _read(model_class(manifest["model"]), folder, manifest)


def load_as(cls: "type[ModelT]", name: str | Path) -> "ModelT":
    """Read a model that must be of class ``cls`` (or of a subclass).

    Raises:
        ArtifactError: It is of another class.
    """
    folder = _folder_of(name)
    manifest = _checked_manifest(folder)
    if manifest["model"] != cls.name:
        raise ArtifactError(
            f"{folder} holds a {manifest['model']} model, not {cls.name}; use llmrec.load."
        )
    return _read(cls, folder, manifest)


def push(
    model: "BaseRecommender[Any]",
    repository: str,
    include_users: bool,
    private: bool,
    **options: Any,
) -> str:
    """Upload a model directory; histories travel only if ``include_users``."""
    from huggingface_hub import HfApi

    api = HfApi()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        save(model, folder, include_users)
        (folder / "README.md").write_text(_card(model), encoding="utf-8")
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder, **options))


def _folder_of(name: str | Path) -> Path:
    path = Path(name)
    if path.is_dir():
        return path
    looks_like_repository = isinstance(name, str) and name.count("/") == 1 and "." not in name[:2]
    if not looks_like_repository:
        raise ArtifactError(f"{name} is not a directory.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    allowed = [MANIFEST, WEIGHTS, ITEMS, *_ABOUT_USERS]
    try:
        return Path(snapshot_download(str(name), allow_patterns=allowed))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{name} is neither a directory here nor a repository that the hub gave: {error}"
        ) from None


def _checked_manifest(folder: Path) -> Mapping[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{folder} is not a saved model: it has no {MANIFEST}.")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{folder / MANIFEST} does not describe a model.")
    if manifest.get("format") != _FORMAT:
        raise ArtifactError(
            f"{folder}: model format {manifest.get('format')} is not {_FORMAT}; "
            f"it was written by llmrec {manifest.get('llmrec')}."
        )
    missing = _REQUIRED - manifest.keys()
    if missing:
        raise ArtifactError(f"{folder / MANIFEST} is incomplete: {', '.join(sorted(missing))}.")
    for name, expected in manifest["sha256"].items():
        file = folder / name
        if not file.is_file():
            if name in _ABOUT_USERS:  # left out on purpose when a model is published
                continue
            raise ArtifactError(f"{file} is missing.")
        if file_sha256(file) != expected:
            raise ArtifactError(f"{file} does not match the hash in {MANIFEST}; it was changed.")
    return dict(manifest)


def _read(cls: "type[ModelT]", folder: Path, manifest: Mapping[str, Any]) -> "ModelT":
    model = cls(**manifest["config"])
    items = pl.read_parquet(folder / ITEMS)
    vocabulary = Vocabulary(items["item_id"], "item")
    if vocabulary.fingerprint != manifest["items"]:
        raise ArtifactError(f"{folder / ITEMS} is not the item table that {MANIFEST} names.")
    model._vocabulary = vocabulary
    model.titles = items["title"] if "title" in items.columns else None
    model._seen = tuple(Origin(**origin) for origin in manifest["seen"])
    model.details = manifest.get("details", {})
    state: dict[str, npt.NDArray[Any]] = load_file(folder / WEIGHTS)
    if (folder / USERS).is_file():
        state |= load_file(folder / USERS)
    model._load_state(state)
    if (folder / HISTORIES).is_file():
        model._known = Histories.from_parquet(folder / HISTORIES, vocabulary)
    return model


def _card(model: "BaseRecommender[Any]") -> str:
    seen = "\n".join(
        f"- {origin.dataset}, part {origin.part} of split {origin.split_hash}"
        for origin in model.seen
    )
    return (
        f"---\nlibrary_name: llmrec\ntags: [recommendation, {model.name}]\n---\n\n"
        f"# {model.name}\n\nA recommender over {len(model.vocabulary):,} items, made with llmrec "
        f"{llmrec.__version__}.\n\n```python\nimport llmrec\n\n"
        'model = llmrec.load("owner/name")\n```\n\n'
        f"Trained on:\n\n{seen or '- events given by the caller'}\n"
    )
