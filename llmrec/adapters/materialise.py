"""One user's mixture as a plain LoRA adapter in peft's layout.

``merge_factors`` is exact at the experts' rank, ``sum_products`` at the sum of their ranks; any
smaller rank is the best approximation of that rank, found from the factors alone (two QR
decompositions and the singular values of a small core), and its error is reported.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from llmrec.adapters.compose import export_factors
from llmrec.adapters.experts import Experts
from llmrec.errors import ArtifactError, ConfigError, nearest_name

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class PlainLora:
    """A plain LoRA adapter.

    Attributes:
        tensors: ``base_model.model.<path>.lora_A.weight [R, d_in]`` and ``lora_B.weight
            [d_out, R]``.
        config: The content of ``adapter_config.json``.
        error: Relative error of the updates, the largest over layers, in the Frobenius norm; 0
            where the rank is exact.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    error: float

    @property
    def rank(self) -> int:
        """Its rank."""
        return int(self.config["r"])

    def write(self, folder: Path) -> None:
        """Write peft's two files into an existing folder."""
        save_file({n: t.contiguous() for n, t in self.tensors.items()}, folder / WEIGHTS)
        text = json.dumps(self.config, indent=2, allow_nan=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def materialise(
    experts: Experts, weights: Tensor, rank: int | None = None, dtype: str = "float32"
) -> PlainLora:
    """Make one user's adapter.

    Args:
        experts: What was learnt.
        weights: ``[gates, blocks]`` of the user.
        rank: Rank of the adapter; None takes the exact one.
        dtype: Of its weights: float64, float32, float16 or bfloat16.

    Raises:
        ConfigError: The gates read the target item, so that a user has no adapter of their own;
            or an argument is out of range.
        ArtifactError: The weights have another shape, or are not finite.
    """
    config = experts.config
    if config.gate_input != "user" and config.compose != "shared":
        raise ConfigError(
            "these gates read user and item together (gate_input=instance), so a user has no one "
            "adapter; train with gate_input=user."
        )
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype {dtype!r}{nearest_name(dtype, DTYPES)}.")
    if rank is not None and not 1 <= rank <= config.adapter_rank:
        raise ConfigError(f"rank {rank} must lie between 1 and the exact {config.adapter_rank}.")
    _require_weights(experts, weights)
    exact = rank is None or rank == config.adapter_rank
    tensors: dict[str, Tensor] = {}
    error = 0.0
    for path, a, b in _factors(experts, weights, DTYPES[dtype]):
        if not exact:
            a, b, lost = truncate(a, b, rank or 1)
            error = max(error, lost)
        tensors[f"{_PREFIX}{path}.lora_A.weight"] = a.to(DTYPES[dtype])
        tensors[f"{_PREFIX}{path}.lora_B.weight"] = b.to(DTYPES[dtype])
    found_rank = config.adapter_rank if rank is None else rank
    return PlainLora(tensors, peft_config(experts, found_rank), error)


@torch.no_grad()
def truncate(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best approximation of ``b a`` of a smaller rank.

    Args:
        a: ``[R, d_in]``.
        b: ``[d_out, R]``.
        rank: At most R.

    Returns:
        ``[rank, d_in]``, ``[d_out, rank]`` with evenly shared singular values, and the relative
        error in the Frobenius norm. Ranks beyond those of the product are zeros.
    """
    outer_a, inner_a = torch.linalg.qr(a.T)
    outer_b, inner_b = torch.linalg.qr(b)
    left, values, right = torch.linalg.svd(inner_b @ inner_a.T, full_matrices=False)
    root = values[:rank].sqrt()
    total = values.square().sum()
    lost = values[rank:].square().sum()
    error = float((lost / total).sqrt()) if total > 0 else 0.0
    beyond = rank - root.numel()
    down = nn.functional.pad((right[:rank] * root[:, None]) @ outer_a.T, (0, 0, 0, beyond))
    return down, nn.functional.pad(outer_b @ (left[:, :rank] * root), (0, beyond)), error


def peft_config(experts: Experts, rank: int) -> dict[str, Any]:
    """The content of ``adapter_config.json``; peft scales by ``lora_alpha / r``."""
    alpha = experts.config.scale * rank
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": experts.base.name,
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "target_modules": _target_names(experts),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
    }


def _target_names(experts: Experts) -> list[str]:
    return sorted(Counter(site.path.rpartition(".")[2] for site in experts.sites))


def _factors(
    experts: Experts, weights: Tensor, dtype: torch.dtype
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Path and exact factors of every adapted layer, summed in more digits than are written."""
    compose = experts.config.compose
    wide = torch.float64 if dtype in (torch.float64, torch.float32) else torch.float32
    exact = weights.to(wide)
    for site in experts.sites:
        a, b = (experts.tensors[f"{site.path}.lora_{x}"].to(wide) for x in "AB")
        own = None if compose == "shared" else exact[site.gate]
        yield site.path, *export_factors(compose, a, b, own)


def _require_weights(experts: Experts, weights: Tensor) -> None:
    if tuple(weights.shape) != experts.gate_shape:
        raise ArtifactError(
            f"gate weights have shape {list(weights.shape)}, but these experts have gates of "
            f"shape {list(experts.gate_shape)}; are they of another model?"
        )
    if not torch.isfinite(weights).all():
        raise ArtifactError("gate weights hold NaN or infinity; compute them again.")
