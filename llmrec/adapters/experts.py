"""What gated LoRA learnt, on disk: safetensors and JSON, tied to one base model.

``gated_lora.json`` is written last and marks a whole directory; it holds settings, layout, the
identity of the base model and the hash of the weights. Loading refuses by name what does not fit.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import llmrec
from llmrec.adapters.base_weights import (
    before_rounding,
    computation_in,
    computation_of,
    hash_of,
    samples_in,
    samples_of,
)
from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.gates import GateBank
from llmrec.errors import ArtifactError
from llmrec.storage import atomic_directory, file_sha256, read_json
from llmrec.validation import validated

MANIFEST, WEIGHTS = "gated_lora.json", "gated_lora.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Site:
    """An adapted layer.

    Attributes:
        path: Its name in the base model.
        in_features: Width of its input.
        out_features: Width of its output.
        gate: Number of the gate that weighs its experts.
    """

    path: str
    in_features: int
    out_features: int
    gate: int


@dataclass(frozen=True)
class BaseModelId:
    """Which base model experts belong to.

    Attributes:
        name: What it is called, a folder or a name on the hub.
        fingerprint: Hash of the names, shapes and evenly spaced values of its weights, and of what
            its configuration says of how it computes. The values are rounded to bfloat16, so that a
            model loaded in float32 or bfloat16 is the same; one loaded in float16 is, if ``name``
            is the folder it came from.
    """

    name: str
    fingerprint: str

    @classmethod
    def of(cls, model: nn.Module, name: str | None = None) -> "BaseModelId":
        """Identify a model that has no adapters on it."""
        config = getattr(model, "config", None)
        own = name or getattr(config, "_name_or_path", "") or "unnamed"
        computation = computation_of(config) if hasattr(config, "get_text_config") else ""
        return cls(own, hash_of(before_rounding(samples_of(model), Path(own)), computation))

    @classmethod
    def of_folder(cls, folder: str | Path) -> "BaseModelId":
        """Identify a saved model from its safetensors files, without loading it.

        Raises:
            ArtifactError: It holds no causal language model, or a file is missing or damaged.
        """
        place = Path(folder)
        return cls(str(folder), hash_of(samples_in(place), computation_in(place)))

    def require(self, given: "BaseModelId") -> None:
        """Refuse another base model.

        Raises:
            ArtifactError: Its weights are not those.
        """
        if self.fingerprint != given.fingerprint:
            raise ArtifactError(
                f"these experts were trained on the base model {self.name!r} (weights "
                f"{self.fingerprint}), but the model given is {given.name!r} (weights "
                f"{given.fingerprint})."
            )


@dataclass(frozen=True)
class Experts:
    """Experts and gates without the base model.

    Attributes:
        config: Settings.
        sites: The adapted layers.
        base: The base model.
        tensors: ``<path>.lora_A [K r, d_in]``, ``<path>.lora_B [d_out, K r]`` and ``gates.*``.
    """

    config: GatedLoraConfig
    sites: tuple[Site, ...]
    base: BaseModelId
    tensors: dict[str, Tensor]

    @property
    def n_gates(self) -> int:
        """Number of gates."""
        return 1 + max(site.gate for site in self.sites)

    @property
    def gate_shape(self) -> tuple[int, int]:
        """Gates and their width: the shape of one user's weights."""
        return self.n_gates, self.config.blocks

    @cached_property
    def fingerprint(self) -> str:
        """Hash of settings, layout, weights and those of the base, 16 hexadecimal digits.

        Of the base model what it is counts and not where it lies. A setting at its default counts
        as not said, so that a setting that is new leaves what was trained before it as it was.
        """
        what = {
            **self._description(),
            "config": self.config.model_dump(mode="json", exclude_defaults=True),
            "base": self.base.fingerprint,
        }
        hashed = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            hashed.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            hashed.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
        return hashed.hexdigest()[:16]

    def gate_bank(self) -> GateBank:
        """The gates, in evaluation mode.

        Raises:
            ArtifactError: The composition has none.
        """
        if self.config.compose == "shared":
            raise ArtifactError("compose=shared has no gates: everybody has the same adapter.")
        bank = GateBank(self.config, self.n_gates)
        state = {n.removeprefix("gates."): t for n, t in self.tensors.items() if "gates." in n}
        bank.load_state_dict(state)
        return bank.eval()

    def save(self, directory: str | Path) -> None:
        """Write to a directory, replacing earlier experts there."""
        with atomic_directory(directory, MANIFEST) as folder:
            save_file({n: t.contiguous() for n, t in self.tensors.items()}, folder / WEIGHTS)
            manifest = {
                "format": _FORMAT,
                "llmrec": llmrec.__version__,
                **self._description(),
                "sha256": file_sha256(folder / WEIGHTS),
            }
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> "Experts":
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: A file is missing or damaged, or of another format.
        """
        folder = Path(directory)
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
            found = manifest.get("format") if isinstance(manifest, dict) else None
            raise ArtifactError(f"{folder / MANIFEST}: format {found} is not {_FORMAT}.")
        missing = {"config", "sites", "base", "sha256"} - manifest.keys()
        if missing:
            raise ArtifactError(f"{folder / MANIFEST} lacks {', '.join(sorted(missing))}.")
        weights = folder / WEIGHTS
        if not weights.is_file() or file_sha256(weights) != manifest["sha256"]:
            raise ArtifactError(f"{weights} is missing or does not match its hash in {MANIFEST}.")
        config = validated(
            GatedLoraConfig, manifest["config"], str(folder / MANIFEST), ArtifactError
        )
        try:
            tensors = load_file(weights)
            sites = tuple(Site(**site) for site in manifest["sites"])
            base = BaseModelId(**manifest["base"])
        except (SafetensorError, TypeError) as error:
            raise ArtifactError(f"{folder} is damaged: {error}.") from None
        return cls(config, sites, base, tensors)

    def require_same_layout(self, given: "Experts") -> None:
        """Refuse experts that cannot replace these.

        Raises:
            ArtifactError: Base model, composition, another setting of the layout, or an adapted
                layer differ.
        """
        self.base.require(given.base)
        for name in ("compose", "gate_scope", "gate_input", "experts", "rank", "alpha", "gate_dim",
                     "gate_hidden", "gate_activation", "temperature",
                     "target_modules"):  # fmt: skip
            ours, theirs = getattr(self.config, name), getattr(given.config, name)
            if ours != theirs:
                raise ArtifactError(
                    f"these experts were trained with {name}={theirs}, but the model has "
                    f"{name}={ours}."
                )
        if self.sites != given.sites:
            raise ArtifactError("these experts belong to layers that this model does not have.")

    def _description(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump(mode="json"),
            "sites": [dataclasses.asdict(site) for site in self.sites],
            "base": dataclasses.asdict(self.base),
        }
