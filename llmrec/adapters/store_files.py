"""What a store says about itself: ``store.json`` and the copy of the experts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

import llmrec
from llmrec.adapters.bundle import Bundle
from llmrec.adapters.experts import Experts
from llmrec.errors import ArtifactError, ConfigError
from llmrec.storage import atomic_directory, read_json, write_json
from llmrec.validation import Strict, validated

MANIFEST, EXPERTS = "store.json", "experts"
_FORMAT = 1


class Settings(Strict):
    """How a store keeps things.

    Attributes:
        byte_budget: Most bytes of materialised adapters.
        ttl: Seconds after which an adapter that nobody asked for is deleted; None keeps it.
        gate_dtype: How gate weights are stored.
        keep_versions: Earlier gates kept of each user, to roll back to.
        prior_events: Events at which a user's own weights count half and the mean over users the
            other half, where numbers of events are given; 0 does not mix.
        rank: Rank of materialised adapters; None is the exact one.
        dtype: Of their weights.
    """

    byte_budget: int = Field(10 << 30, ge=1)
    ttl: float | None = Field(None, gt=0)
    gate_dtype: Literal["float16", "float32"] = "float16"
    keep_versions: int = Field(2, ge=0)
    prior_events: float = Field(0.0, ge=0)
    rank: int | None = Field(None, ge=1)
    dtype: str = "float32"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Checked settings.

        Raises:
            ConfigError: A number is out of range.
        """
        return validated(cls, dict(values), "the adapter store", ConfigError)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Settings with some values replaced.

        Raises:
            ConfigError: A number is out of range.
        """
        return self.of({**self.model_dump(), **changes})


def require_new_folder(folder: Path) -> None:
    """Refuse a place for a new store that holds something.

    Raises:
        ArtifactError: It does, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} is a file; choose a folder for the store.")
    if folder.exists() and any(folder.iterdir()):
        raise ArtifactError(f"{folder} is not empty; open it, or choose another folder.")


def create_folder(
    folder: Path, experts: Experts, bundle: Bundle | None, settings: Settings
) -> None:
    """Write the beginnings of a store.

    Raises:
        ArtifactError: The folder holds something or is a file, or the bundle is of other experts.
    """
    require_new_folder(folder)
    own = Bundle(base_model=experts.base.fingerprint, experts=experts.fingerprint)
    if bundle is not None:
        own.require(bundle)
    with atomic_directory(folder, MANIFEST) as temporary:
        experts.save(temporary / EXPERTS)
        whole = own if bundle is None else bundle.filled(own)
        text = json.dumps(_about(whole, settings), indent=2)
        (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")


def write_settings(folder: Path, bundle: Bundle, settings: Settings) -> None:
    """Replace the settings of a store."""
    write_json(folder / MANIFEST, _about(bundle, settings))


def read_folder(folder: Path) -> tuple[Bundle, Settings]:
    """What a store was made for, and how it keeps things.

    Raises:
        ArtifactError: It is no store, or its description is damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder} is not an adapter store: it has no {MANIFEST}.")
    about = read_json(path)
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise ArtifactError(f"{path}: format {found} is not {_FORMAT}.")
    missing = {"bundle", "settings"} - about.keys()
    if missing:
        raise ArtifactError(f"{path} lacks {', '.join(sorted(missing))}.")
    settings = validated(Settings, about["settings"], str(path), ArtifactError)
    return Bundle.from_dict(about["bundle"], str(path)), settings


def _about(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "llmrec": llmrec.__version__,
        "bundle": bundle.to_dict(),
        "settings": settings.model_dump(),
    }
