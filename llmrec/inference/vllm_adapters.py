"""LoRA adapters of a vLLM engine: their names, what fits, and what vLLM is told about them.

vLLM reads an adapter's files when a request needs them, again after it made room for others, and
tells adapters apart by a name and a number. Both are the hash of the files here, and files that
changed since an adapter was added are refused, so a name always means the same weights. An engine
has room for adapters on the layers and of the rank that were fixed when it started.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.lora_files import CONFIG, WEIGHTS, LoraFiles, check_fit, read_lora_files
from llmrec.vllm_rooms import ROOMS, room_for

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Room:
    """What adapters an engine takes.

    Attributes:
        rank: Most rank; 0 for an engine without adapters.
        layers: Last names of the layers that adapters may change.
    """

    rank: int = 0
    layers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Adapter:
    files: LoraFiles
    hash: str
    stamp: Stamp


class VLLMAdapters:
    """The adapters of one model.

    Args:
        model_name: What adapters of this model call it.
        shape_of: Shape of a layer's weight by the layer's name; None for no such layer.
    """

    def __init__(self, model_name: str, shape_of: Callable[[str], Sequence[int] | None]) -> None:
        self._model_name, self._shape_of = model_name, shape_of
        self._known: dict[str, _Adapter] = {}
        self._room: Room | None = None

    @property
    def names(self) -> list[str]:
        """Known names, in the order they were added."""
        return list(self._known)

    def hash_of(self, name: str) -> str:
        """Hash of an adapter's files."""
        return self._known[name].hash

    def add(self, name: str, folder: str | Path, any_base: bool = False) -> None:
        """Make an adapter known, in peft's layout.

        Args:
            name: The name that requests will use.
            folder: Where it lies, and stays.
            any_base: Take it although it says that it was made for another base model.

        Raises:
            ConfigError: The name is taken, or the engine that runs has no room for it.
            ArtifactError: A file is missing or damaged, or the adapter does not fit this model.
        """
        if name in self._known:
            raise ConfigError(
                f"there is an adapter {name!r} already, and a name never changes its meaning; "
                "give the new one another, such as one with its version."
            )
        files = read_lora_files(Path(folder).resolve(), self._model_name, any_base)
        check_fit(files, self._model_name, self._shape_of)
        _check_kind(files)
        if self._room is not None:
            _check_room(name, files, self._room)
        self._known[name] = _Adapter(files, files.hash(), _stamp(files.folder))

    def settle(self, rank: int | None, layers: Collection[str]) -> Room:
        """Fix the room, before the engine starts.

        Args:
            rank: Room for adapters of this rank that come later; None for those known now only.
            layers: Where those that come later may act.

        Raises:
            ConfigError: ``rank`` is too small for an adapter, or beyond what vLLM has room for.
        """
        known = [adapter.files for adapter in self._known.values()]
        if rank is None and not known:
            self._room = Room()
            return self._room
        needed = max([files.rank for files in known]) if rank is None else rank
        room = room_for(needed)
        if room is None or needed < 1:
            raise ConfigError(
                f"the rank of adapters is {needed}; vLLM has room for 1 to {ROOMS[-1]}."
            )
        later = frozenset() if rank is None else frozenset(layers)
        self._room = Room(room, later.union(*(files.layers for files in known)))
        for name, adapter in self._known.items():
            _check_room(name, adapter.files, self._room)
        return self._room

    def request_of(self, name: str | None) -> Any:
        """What vLLM is told: its ``LoRARequest``, or None for the base model.

        Raises:
            ConfigError: The files changed since the adapter was added.
        """
        if name is None:
            return None
        adapter = self._known[name]
        folder = adapter.files.folder
        if _stamp(folder) != adapter.stamp:
            raise ConfigError(
                f"the files of adapter {name!r} in {folder} changed or went since it was added, "
                "and a name never changes its meaning; add the new ones under another name."
            )
        from vllm.lora.request import LoRARequest

        return LoRARequest(adapter.hash, number_of(adapter.hash), str(folder))


def number_of(hashed: str) -> int:
    """Number of an adapter in vLLM, the same in every process: ``hashed`` is hexadecimal.

    >>> number_of("00000000000000ff")
    256
    """
    return int(hashed, 16) % (2**63 - 1) + 1


def linear_layers(shapes: Iterable[str], head: str) -> frozenset[str]:
    """Last names of the layers of a model but its last one.

    >>> sorted(linear_layers(["model.layers.0.q_proj", "model.layers.1.q_proj", "lm_head"],
    ...                      "lm_head"))
    ['q_proj']
    """
    return frozenset(path.rpartition(".")[2] for path in shapes if path != head)


def _check_kind(files: LoraFiles) -> None:
    own = [key for key in files.shapes if ".lora_" not in key]
    if files.is_plain and not own:
        return
    more = f"it also brings {own[0]}" if own else "it is more than two matrices per linear layer"
    raise ArtifactError(
        f"vLLM cannot serve the adapter in {files.folder}: {more} (DoRA, whole modules and layers "
        "of its own are not supported); use the Hugging Face backend."
    )


def _check_room(name: str, files: LoraFiles, room: Room) -> None:
    if room.rank == 0:
        raise ConfigError(
            f"this engine was started without room for adapters, so {name!r} cannot be added; give "
            f"adapters when the model is made, or lora_rank={files.rank}."
        )
    if files.rank > room.rank:
        raise ConfigError(
            f"adapter {name!r} has rank {files.rank}, and this engine was started with room for "
            f"{room.rank}; make the model with lora_rank={files.rank}."
        )
    beyond = sorted(files.layers - room.layers)
    if beyond:
        raise ConfigError(
            f"adapter {name!r} changes {', '.join(beyond)}, and this engine was started with room "
            f"on {', '.join(sorted(room.layers))}; give the adapter when the model is made."
        )


def _stamp(folder: Path) -> Stamp:
    """What tells that files are still the same, without reading them."""
    try:
        found = [os.stat(folder / name) for name in (CONFIG, WEIGHTS)]
    except OSError:
        return ()
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found)
