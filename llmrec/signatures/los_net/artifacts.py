"""Saved detectors: safetensors and one JSON file with a hash for every other file.

``los_net.json`` is written last and marks a whole directory. It holds the settings (normaliser and
K among them), the sources of training, and versions. Loading runs no code from the directory.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

import llmrec
from llmrec.errors import ArtifactError
from llmrec.signatures.los_net.config import LOSNetConfig
from llmrec.signatures.los_net.origins import Origin
from llmrec.signatures.manifests import checked_manifest
from llmrec.storage import atomic_directory, file_sha256

MANIFEST, WEIGHTS, LOG = "los_net.json", "model.safetensors", "log.jsonl"
_FORMAT = 1
_REQUIRED = {"config", "origins", "shift", "vocab_size"}


@dataclass(frozen=True)
class State:
    """Everything a fitted model is.

    Attributes:
        config: Its settings.
        weights: Tensors of all members, their names after the member's number.
        origins: Sources it was trained on.
        shift: Taken off every logit.
        vocab_size: That of the one-hot rank encoding, or None.
        log: Of training.
    """

    config: LOSNetConfig
    weights: dict[str, torch.Tensor]
    origins: tuple[Origin, ...]
    shift: float
    vocab_size: int | None
    log: list[dict[str, Any]]


def save(state: State, directory: str | Path) -> None:
    """Write a model atomically."""
    with atomic_directory(directory, MANIFEST) as folder:
        save_file(state.weights, folder / WEIGHTS)
        lines = [json.dumps(row) + "\n" for row in state.log]
        (folder / LOG).write_text("".join(lines), encoding="utf-8")
        manifest = {
            "format": _FORMAT,
            "model": "los_net",
            "llmrec": llmrec.__version__,
            "config": state.config.model_dump(mode="json"),
            "origins": [origin.to_json() for origin in state.origins],
            "shift": state.shift,
            "vocab_size": state.vocab_size,
            "sha256": {name: file_sha256(folder / name) for name in (WEIGHTS, LOG)},
        }
        text = json.dumps(manifest, indent=2, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load(name: str | Path) -> State:
    """Read what :func:`save` wrote.

    Raises:
        ArtifactError: The directory is missing, incomplete, changed, or of another kind.
    """
    folder = Path(name)
    manifest = checked_manifest(
        folder / MANIFEST, "los_net", _FORMAT, _REQUIRED, "a LOS-Net", "is not a saved LOS-Net"
    )
    try:
        config = LOSNetConfig.model_validate(manifest["config"])
        origins = tuple(Origin.from_json(values) for values in manifest["origins"])
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{folder / MANIFEST} holds settings that this llmrec {llmrec.__version__} does not "
            f"know (written by {manifest.get('llmrec')}): {error}"
        ) from None
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    return State(
        config,
        load_file(folder / WEIGHTS),
        origins,
        float(manifest["shift"]),
        manifest["vocab_size"],
        [json.loads(line) for line in lines],
    )


def put_in(network: nn.Module, weights: Mapping[str, torch.Tensor], name: str | Path) -> None:
    """Give a network its weights.

    Raises:
        ArtifactError: They are those of another architecture.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise ArtifactError(f"{name}: the weights do not fit the settings: {error}") from None
