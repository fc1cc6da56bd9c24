"""LoRA adapters of a model in memory, each row of a batch with its own.

peft reads the files and knows the layers; plain LoRA is then applied here, by stacking the
matrices of the adapters in a batch and multiplying each row with its own. Adapters that are more
than two matrices per layer (DoRA, embeddings, whole modules) run through peft, in batches of their
own. A name is given once and never changes its meaning. Trained biases are refused: peft cannot
switch them off again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer
from safetensors import safe_open
from torch import Tensor, nn

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.lora_files import PREFIX, WEIGHTS, LoraFiles, check_fit, read_lora_files


class HFAdapters:
    """The adapters of one model.

    Args:
        model: A transformers model; its layers are wrapped when the first adapter is added.
        model_name: What adapters of this model call it.
    """

    def __init__(self, model: nn.Module, model_name: str) -> None:
        self._model = model
        self._model_name = model_name
        self._peft: PeftModel | None = None
        self._inside: dict[str, str] = {}  # the user's names may hold what peft's may not
        self._hashes: dict[str, str] = {}
        self._alone: set[str] = set()
        self._hooked: list[LoraLayer] = []
        self._stacks: tuple[list[str | None], dict[int, tuple[Tensor, Tensor]]] = ([], {})
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def names(self) -> list[str]:
        """Known names, in the order they were added."""
        return list(self._inside)

    def hash_of(self, name: str) -> str:
        """Hash of an adapter's files."""
        return self._hashes[name]

    def group(self, name: str | None) -> str | None:
        """Requests whose group is equal may share a batch: all plain adapters and none at all."""
        return name if name in self._alone else None

    def add(self, name: str, folder: str | Path, any_base: bool = False) -> None:
        """Load an adapter in peft's layout.

        Args:
            name: The name that requests will use.
            folder: Where it lies.
            any_base: Take it although it says that it was made for another base model.

        Raises:
            ConfigError: The name is taken.
            ArtifactError: A file is missing or damaged, or the adapter does not fit this model.
        """
        if name in self._inside:
            raise ConfigError(
                f"there is an adapter {name!r} already, and a name never changes its meaning; "
                "give the new one another, such as one with its version."
            )
        files = read_lora_files(Path(folder), self._model_name, any_base)
        modules = dict(self._model.named_modules())
        weights = {path: getattr(module, "weight", None) for path, module in modules.items()}
        shapes = {path: weight.shape for path, weight in weights.items() if weight is not None}
        check_fit(files, self._model_name, shapes.get)
        self._check_base_weights(files)
        inside = f"adapter{len(self._inside)}"
        self._load(inside, files.folder)
        self._inside[name] = inside
        self._hashes[name] = files.hash()
        if not files.is_plain:
            self._alone.add(name)

    def use(self, names: Sequence[str | None]) -> None:
        """Say which adapter each row of the next passes has.

        Args:
            names: One per row, all of one :meth:`group`.
        """
        if self._peft is None:
            return
        tuner = self._peft.base_model
        alone = names[0] if names[0] in self._alone else None
        if alone is not None:
            tuner.enable_adapter_layers()
            tuner.set_adapter(self._inside[alone], inference_mode=True)
            self._rows = {}
            return
        tuner.disable_adapter_layers()
        different = sorted(set(names), key=str)
        self._rows = {}
        if different == [None]:
            return
        stacks = self._stacked(different)
        if len(different) == 1:
            self._rows = {key: (a[0], b[0]) for key, (a, b) in stacks.items()}
            return
        rows = torch.tensor([different.index(name) for name in names])
        self._rows = {
            key: (a[rows.to(a.device)], b[rows.to(a.device)]) for key, (a, b) in stacks.items()
        }

    def _load(self, inside: str, folder: Path) -> None:
        options: dict[str, Any] = {
            "autocast_adapter_dtype": False,
            "torch_device": str(next(self._model.parameters()).device),
        }
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(
                self._model, str(folder), adapter_name=inside, **options
            )
        else:
            self._peft.load_adapter(str(folder), inside, **options)
        self._peft.eval()
        self._peft.requires_grad_(False)
        self._peft.base_model.disable_adapter_layers()
        known = set(map(id, self._hooked))
        for module in self._model.modules():
            if isinstance(module, LoraLayer) and id(module) not in known:
                module.register_forward_hook(self._add_low_rank)
                self._hooked.append(module)

    def _add_low_rank(self, layer: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
        """Forward hook: add each row's ``x A B`` to what the base layer found."""
        pair = self._rows.get(id(layer))
        if pair is None:
            return found
        down, up = pair
        x = given[0]
        if down.dim() == 3 and (x.dim() != 3 or len(x) != len(down)):
            raise ConfigError(
                f"a layer of type {type(layer).__name__} mixes the rows of a batch, so requests "
                "with different adapters cannot share one; send one adapter per call."
            )
        narrow = x.to(down.dtype) @ down
        if down.dim() == 3 and found.dtype == up.dtype:
            return found.baddbmm_(narrow, up)  # in one pass over what was found
        return found.add_((narrow @ up).to(found.dtype))

    def _stacked(self, names: list[str | None]) -> dict[int, tuple[Tensor, Tensor]]:
        """Per layer the matrices of some adapters, ``[n, in, r]`` and ``[n, r, out]``.

        Kept until other adapters are asked for. Ranks are filled up with zeros.
        """
        if self._stacks[0] != names:
            inside = [None if name is None else self._inside[name] for name in names]
            pairs = {id(layer): _stack(layer, inside) for layer in self._hooked}
            self._stacks = names, {key: pair for key, pair in pairs.items() if pair is not None}
        return self._stacks[1]

    def _check_base_weights(self, files: LoraFiles) -> None:
        """Refuse what would change the base model for good: peft loads it without a word.

        With LoRA on the last layer or the embedding, peft writes their own weights too.
        """
        modules = dict(self._model.named_modules())
        whole = files.config.get("modules_to_save") or ()
        for key in files.shapes:
            path = key.removeprefix(PREFIX).removesuffix(".weight").removesuffix(".base_layer")
            if "lora_" in key or path.split(".")[-1] in whole:
                continue
            ours = getattr(modules.get(path), "weight", None)
            with safe_open(str(files.folder / WEIGHTS), framework="pt") as file:
                theirs = file.get_tensor(key)
            if ours is None or not torch.equal(theirs.to(ours), ours):
                raise ArtifactError(
                    f"the adapter in {files.folder} brings {key}, a weight of the base model "
                    "itself, and not the one this model has; loading it would change every other "
                    "answer. Merge it into a model of its own, or save it with "
                    "save_embedding_layers=False."
                )


def _stack(layer: LoraLayer, inside: Sequence[str | None]) -> tuple[Tensor, Tensor] | None:
    here = {name for name in inside if name in layer.lora_A}
    if not here:
        return None
    downs = {name: layer.lora_A[name].weight for name in here}
    ups = {name: layer.lora_B[name].weight * layer.scaling[name] for name in here}
    some = next(iter(here))
    rank = max(len(down) for down in downs.values())
    down = downs[some].new_zeros((len(inside), downs[some].shape[1], rank))
    up = ups[some].new_zeros((len(inside), rank, len(ups[some])))
    for row, name in enumerate(inside):
        if name in here:
            down[row, :, : len(downs[name])] = downs[name].T
            up[row, : ups[name].shape[1]] = ups[name].T
    return down, up
