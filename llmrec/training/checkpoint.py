"""Checkpoints: everything that resuming needs, as safetensors and JSON.

A checkpoint is a directory ``step-000123`` that is either whole or ignored: it is written under
another name and renamed, and its manifest holds the hash of every file. Nothing is pickled.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from llmrec.errors import ArtifactError
from llmrec.storage import atomic_directory, file_sha256, read_json

MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A point in training.

    Attributes:
        progress: JSON values: epoch, step, best metric, log rows and so on.
        weights: Model weights now.
        optimizer: Optimiser state, flattened to named tensors.
        best: Weights of the best validation so far; empty before the first.
        average: Moving average of the weights; empty where it is off.
        generators: Random generator states as byte tensors.
    """

    progress: dict[str, Any]
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    generators: dict[str, torch.Tensor]


_TENSORS = tuple(f.name for f in dataclasses.fields(Checkpoint) if f.name != "progress")


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write a checkpoint; keep it and the ``keep - 1`` before it, delete all others.

    Returns:
        The directory written.
    """
    folder = Path(folder)
    target = folder / f"step-{checkpoint.progress['step']:09d}"
    if target.exists() and not (target / MANIFEST).is_file():
        shutil.rmtree(target)  # half of a checkpoint; resuming passed it over
    with atomic_directory(target, MANIFEST) as temporary:
        for name in _TENSORS:
            tensors = {k: t.contiguous() for k, t in getattr(checkpoint, name).items()}
            save_file(tensors, temporary / f"{name}.safetensors")
        hashes = {file.name: file_sha256(file) for file in sorted(temporary.iterdir())}
        manifest = {"format": _FORMAT, "progress": checkpoint.progress, "sha256": hashes}
        (temporary / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    # Later steps are of an abandoned training, or damaged: they must not win over this one.
    earlier = sorted(path for path in folder.glob("step-*") if path.name < target.name)
    later = [path for path in folder.glob("step-*") if path.name > target.name]
    for old in [*earlier[: max(0, len(earlier) + 1 - keep)], *later]:
        shutil.rmtree(old)
    return target


def load_latest(folder: str | Path) -> Checkpoint | None:
    """Read the newest whole checkpoint; half-written or damaged ones are passed over.

    Returns:
        The checkpoint, or None where there is none.
    """
    for path in sorted(Path(folder).glob("step-*"), reverse=True):
        try:
            return load_checkpoint(path)
        except ArtifactError:
            continue
    return None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read one checkpoint directory.

    Raises:
        ArtifactError: A file is missing or differs from its hash, or the format is unknown.
    """
    path = Path(path)
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or not {"progress", "sha256"} <= manifest.keys():
        raise ArtifactError(f"{path / MANIFEST} does not describe a checkpoint.")
    if manifest.get("format") != _FORMAT:
        raise ArtifactError(f"{path}: checkpoint format {manifest.get('format')} is not {_FORMAT}.")
    for name, expected in manifest["sha256"].items():
        file = path / name
        if not file.is_file() or file_sha256(file) != expected:
            raise ArtifactError(f"{file} is missing or does not match its hash.")
    tensors = {name: load_file(path / f"{name}.safetensors") for name in _TENSORS}
    return Checkpoint(progress=manifest["progress"], **tensors)


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Name every tensor of an optimiser's per-parameter state ``<index>.<name>``."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu().clone()
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: Mapping[str, torch.Tensor]) -> None:
    """Put back what :func:`flatten_optimizer` took; parameter groups stay as constructed."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
