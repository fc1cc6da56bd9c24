"""A LoRA adapter as peft writes it to a folder: what local backends check before they load one.

Only the configuration and the names and shapes of the weights are read here. Adapters of another
kind than LoRA, and such with trained biases, are refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from llmrec.errors import ArtifactError
from llmrec.storage import file_sha256, read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

PREFIX = "base_model.model."
"""What peft puts before the name of a layer."""


@dataclass(frozen=True)
class LoraFiles:
    """An adapter's files.

    Attributes:
        folder: Where they lie.
        config: What peft wrote about it.
        shapes: Of its tensors, by their names.
    """

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, Sequence[int]]

    @property
    def is_plain(self) -> bool:
        """Whether it is two matrices per linear layer and nothing more."""
        added = {key: shape for key, shape in self.shapes.items() if ".base_layer." not in key}
        pairs = all(key.endswith((".lora_A.weight", ".lora_B.weight")) for key in added)
        flat = all(len(shape) == 2 for shape in added.values())
        return pairs and flat and not self.config.get("use_dora")

    @property
    def rank(self) -> int:
        """The largest rank of its matrices."""
        return max((shape[0] for key, shape in self.shapes.items() if "lora_A" in key), default=0)

    @property
    def layers(self) -> set[str]:
        """Last names of the layers that it changes, such as ``q_proj``."""
        return {
            key.partition(".lora_")[0].rpartition(".")[2] for key in self.shapes if ".lora_" in key
        }

    def hash(self) -> str:
        """Hash of both files."""
        hashed = [file_sha256(self.folder / name) for name in (CONFIG, WEIGHTS)]
        return "".join(hashed)[::8]


def read_lora_files(folder: Path, model_name: str, any_base: bool) -> LoraFiles:
    """Read what is said about an adapter.

    Args:
        folder: Where it lies.
        model_name: Name or folder of the base model.
        any_base: Take it although it says that it was made for another base model.

    Raises:
        ArtifactError: A file is missing or damaged, or it is an adapter of another kind or base.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ArtifactError(
            f"{folder} holds no adapter: looked for {CONFIG} and {WEIGHTS}, did not find "
            f"{' and '.join(missing)}."
        )
    config: dict[str, Any] = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        raise ArtifactError(
            f"{folder / CONFIG} has peft_type {config.get('peft_type')!r} and bias "
            f"{config.get('bias')!r}; this backend takes 'LORA' without trained biases."
        )
    base = config.get("base_model_name_or_path") or ""
    if not any_base and base and Path(base).name != Path(model_name).name:
        raise ArtifactError(
            f"the adapter in {folder} was made for {base!r}, and this model is {model_name!r}; if "
            "they are the same under two names, add it with any_base=True."
        )
    return LoraFiles(folder, config, _shapes(folder / WEIGHTS))


def check_fit(
    files: LoraFiles, model_name: str, shape_of: Callable[[str], Sequence[int] | None]
) -> None:
    """Refuse an adapter whose matrices do not fit the model's layers.

    Args:
        files: The adapter.
        model_name: Name or folder of the base model.
        shape_of: Shape of a layer's weight by the layer's name; None for no such layer.

    Raises:
        ArtifactError: A layer is missing or has another width.
    """
    made_for = files.config.get("base_model_name_or_path") or "an unnamed model"
    for key, shape in files.shapes.items():
        path, _, kind = key.removeprefix(PREFIX).partition(".lora_")
        if kind not in ("A.weight", "B.weight"):
            continue
        here = shape_of(path)
        width = shape[1] if kind == "A.weight" else shape[0]
        if here is None or width not in here:
            there = "no such layer" if here is None else f"a layer of {list(here)}"
            raise ArtifactError(
                f"the adapter in {files.folder} was made for {made_for} and does not fit "
                f"{model_name}: {key} has shape {list(shape)}, but the model has {there} there."
            )


def _shapes(path: Path) -> dict[str, list[int]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: list(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path} is damaged: {error}.") from None
