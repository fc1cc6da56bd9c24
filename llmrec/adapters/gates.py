"""Gates: from the state of a user (or of a user and an item) to the weights of the experts.

Each gate is ``LayerNorm -> Linear -> ReLU -> Dropout -> Linear -> / T -> softmax`` (reclora.md
2.2). All gates of a model are computed in one go, once per forward pass.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from llmrec.adapters.config import GatedLoraConfig
from llmrec.errors import ConfigError

_EPS = 1e-5
_ROWS_AT_ONCE = 4096


class GateBank(nn.Module):
    """All gates of a model, their weights stacked.

    Args:
        config: Settings.
        gates: Number of gates.
    """

    def __init__(self, config: GatedLoraConfig, gates: int) -> None:
        super().__init__()
        self._config = config
        d, h, k = config.gate_dim, config.gate_hidden, config.blocks
        self.norm_weight = nn.Parameter(torch.ones(gates, d))
        self.norm_bias = nn.Parameter(torch.zeros(gates, d))
        self.inner_weight = nn.Parameter(_uniform((gates, h, d), d))
        self.inner_bias = nn.Parameter(_uniform((gates, h), d))
        self.outer_weight = nn.Parameter(_uniform((gates, k, h), h))
        self.outer_bias = nn.Parameter(_uniform((gates, k), h))
        self.dropout = nn.Dropout(config.gate_dropout)

    def forward(self, states: Tensor, temperature: float | None = None) -> Tensor:
        """``[n, gates, blocks]`` weights from ``[n, gate_dim]`` states.

        Args:
            states: What the gates read.
            temperature: None means the final one.

        Raises:
            ConfigError: The states have another width, or are not finite.
        """
        config = self._config
        if states.dim() != 2 or states.shape[1] != config.gate_dim:
            raise ConfigError(
                f"gate inputs have shape {list(states.shape)}, but these gates read "
                f"{config.gate_dim} numbers per row; are they of another CTR model?"
            )
        if not torch.isfinite(states).all():
            raise ConfigError("gate inputs hold NaN or infinity; check the states given.")
        plain = nn.functional.layer_norm(states.to(self.norm_weight), (config.gate_dim,), eps=_EPS)
        given = plain.unsqueeze(1) * self.norm_weight + self.norm_bias
        inner = torch.einsum("ngd,ghd->ngh", given, self.inner_weight) + self.inner_bias
        inner = self.dropout(torch.relu(inner))
        logits = torch.einsum("ngh,gkh->ngk", inner, self.outer_weight) + self.outer_bias
        return self._activate(logits / (temperature or config.temperature))

    @torch.inference_mode()
    def infer(self, states: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """As :meth:`forward` in evaluation mode, on arrays and in parts.

        Args:
            states: ``[n, gate_dim]``, n at least 1.
        """
        given = torch.from_numpy(np.array(states, dtype=np.float32))
        parts = [self(part) for part in torch.split(given, _ROWS_AT_ONCE)]
        found: npt.NDArray[np.float32] = torch.cat(parts).numpy()
        return found

    def _activate(self, logits: Tensor) -> Tensor:
        if self._config.compose == "rank_scale":
            return 2 * torch.sigmoid(logits)  # about 1 at the start: plain LoRA
        weights = logits.softmax(-1)
        return weights.sqrt() if self._config.gate_activation == "sqrt_softmax" else weights


def even_gates(config: GatedLoraConfig, gates: int) -> Tensor:
    """``[gates, blocks]`` weights that favour no expert."""
    value = 1.0 if config.compose in ("rank_scale", "shared") else 1 / config.blocks
    if config.compose not in ("rank_scale", "shared"):
        value = math.sqrt(value) if config.gate_activation == "sqrt_softmax" else value
    return torch.full((gates, config.blocks), value)


def balance_loss(weights: Tensor) -> Tensor:
    """``K sum_k (mean of a_k)^2 - 1``, averaged over gates; 0 when experts are used evenly.

    With weights that sum to 1 this is the squared coefficient of variation of the experts' load
    (Shazeer et al. 2017, equation 7).

    Args:
        weights: ``[n, gates, K]``.
    """
    load = weights.mean(0)
    return (weights.shape[-1] * load.square().sum(-1) - 1).mean()


def gate_diagnostics(weights: Tensor, activation: str = "softmax") -> Mapping[str, float]:
    """What tells a working gate from a collapsed one.

    Args:
        weights: ``[n, gates, K]`` of different users.
        activation: The gates' own; with ``sqrt_softmax`` shares are the squares of weights.

    Returns:
        ``entropy`` (mean, as a share of log K; 1 is an even mixture), ``variance_across_users``
        (mean over gates and experts) and ``largest_load`` (share of the most used expert).
    """
    share = weights.square() if activation == "sqrt_softmax" else weights
    share = share / share.sum(-1, keepdim=True).clamp(min=1e-12)
    entropy = -(share * share.clamp(min=1e-12).log()).sum(-1).mean()
    return {
        "entropy": float(entropy) / max(math.log(weights.shape[-1]), 1e-12),
        "variance_across_users": float(weights.var(0, correction=0).mean()),
        "largest_load": float(share.mean((0, 1)).max()),
    }


def _uniform(shape: tuple[int, ...], inputs: int) -> Tensor:
    """As torch initialises a linear layer."""
    return torch.empty(shape).uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
