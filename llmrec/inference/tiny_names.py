"""Names of embedded language models, ``tiny:DATASET@HASH``, and the folders they stand for.

They lie under ``LLMREC_HOME`` in ``language_models/tiny``, one folder per data set and split. The
folder's record says which; its own name is for people. Nothing here trains a model: a name without
a folder is an error that names the command.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from llmrec.data.histories import Origin
from llmrec.data.named import cache_home
from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.seen import SEEN, seen_of
from llmrec.storage import read_json

PREFIX = "tiny:"
_HASH = re.compile(r"[0-9a-f]{1,16}")


@dataclass(frozen=True)
class TinyModel:
    """An embedded model on disk.

    Attributes:
        folder: Where it lies.
        origin: The events it was trained on.
    """

    folder: Path
    origin: Origin

    @property
    def name(self) -> str:
        """``tiny:DATASET@HASH`` with the whole hash of the split."""
        return f"{PREFIX}{self.origin.dataset}@{self.origin.split_hash}"


def tiny_home() -> Path:
    """The folder of all embedded models."""
    return cache_home() / "language_models" / "tiny"


def tiny_folder(origin: Origin) -> Path:
    """Where the model of a data set and a split belongs."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", origin.dataset)
    return tiny_home() / f"{readable}@{origin.split_hash}"


def tiny_models() -> list[TinyModel]:
    """All embedded models on this machine, by name. Their weights are not checked here."""
    found = []
    for path in sorted(tiny_home().glob(f"*/{SEEN}")):
        try:
            (origin,) = read_json(path)["seen"]
            found.append(TinyModel(path.parent, Origin(**origin)))
        except (ArtifactError, KeyError, TypeError, ValueError):
            continue  # damaged; opening it by its folder says how
    return sorted(found, key=lambda model: model.name)


def find_tiny(name: str) -> TinyModel:
    """The model that a name stands for.

    Args:
        name: ``tiny:DATASET``, or ``tiny:DATASET@`` and the beginning of the split's hash.

    Raises:
        ConfigError: The name stands for no model, or for several.
        ArtifactError: The model's files are not those it was saved with.
    """
    wanted = name.removeprefix(PREFIX)
    there = tiny_models()
    found = [model for model in there if _matches(model.origin, wanted)]
    if len(found) == 1:
        seen_of(found[0].folder)
        return found[0]
    if found:
        names = ", ".join(model.name for model in found)
        raise ConfigError(f"{name!r} stands for several models: {names}; give more of the hash.")
    dataset, _, tail = wanted.rpartition("@")
    plain = dataset if dataset and ":" not in dataset and _HASH.fullmatch(tail) else wanted
    others = f"; there are {', '.join(model.name for model in there)}" if there else ""
    raise ConfigError(
        f"there is no language model {name!r} in {tiny_home()}{others}. Train it with "
        f"'llmrec lm train {plain or 'DATASET'}'."
    )


def _matches(origin: Origin, wanted: str) -> bool:
    if wanted == origin.dataset:
        return True
    dataset, _, prefix = wanted.rpartition("@")
    return bool(prefix) and dataset == origin.dataset and origin.split_hash.startswith(prefix)
