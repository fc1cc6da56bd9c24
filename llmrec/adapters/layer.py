"""A linear layer with experts beside it. It holds weights and nothing about any batch."""

import math

import torch
from torch import Tensor, nn

from llmrec.adapters.compose import apply_merged, mix, takes_merged
from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.context import current_gates
from llmrec.errors import ConfigError


class GatedLinear(nn.Module):
    """``base(x) + s B M(u) A x`` with each row's own ``M(u)``.

    Args:
        base: The frozen layer.
        config: Settings.
        gate: Which gate weighs this layer's experts.
    """

    def __init__(self, base: nn.Linear, config: GatedLoraConfig, gate: int) -> None:
        super().__init__()
        self.base_layer = base
        self._config, self._gate = config, gate
        stacked = config.blocks * config.block_rank
        device, kind = base.weight.device, torch.float32
        self.lora_A = nn.Parameter(
            torch.empty(stacked, base.in_features, device=device, dtype=kind)
        )
        self.lora_B = nn.Parameter(
            torch.empty(base.out_features, stacked, device=device, dtype=kind)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.reset()

    def reset(self) -> None:
        """A uniform with bound ``1 / sqrt(d_in)`` (Kaiming with a = sqrt 5), B zero or noise."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        if self._config.b_noise:
            nn.init.normal_(self.lora_B, std=self._config.b_noise)
        else:
            nn.init.zeros_(self.lora_B)

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.base_layer.in_features

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.base_layer.out_features

    @property
    def weight(self) -> Tensor:
        """The frozen weight; some models look at its type."""
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return self.base_layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, d_out]`` of ``[B, T, d_in]``.

        Raises:
            ConfigError: There are no gates, or not one row of them per row of ``x``.
        """
        found: Tensor = self.base_layer(x)
        gates = current_gates()
        if gates.values is None:
            return found
        weights = gates.values[:, self._gate].to(self.lora_A.dtype)
        self._require_rows(x, weights)
        config = self._config
        given = self.dropout(x.to(self.lora_A.dtype))
        rows, tokens = len(x), x.shape[1]
        if takes_merged(config.compose, gates.route, config.blocks, rows, tokens, len(weights)):
            low = apply_merged(given, self.lora_A, self.lora_B, weights)
        else:
            low = self._fused(given, weights)
        return torch.add(found, low.to(found.dtype), alpha=config.scale)

    def _fused(self, x: Tensor, weights: Tensor) -> Tensor:
        config = self._config
        low = (x @ self.lora_A.T).view(*x.shape[:-1], config.blocks, config.block_rank)
        return mix(config.compose, low, weights.unsqueeze(1)).flatten(-2) @ self.lora_B.T

    def _require_rows(self, x: Tensor, weights: Tensor) -> None:
        if x.dim() != 3:
            raise ConfigError(
                f"a gated layer was given a tensor of shape {list(x.shape)}, which mixes the rows "
                "of a batch (as mixtures of experts do); adapt other layers."
            )
        if len(weights) not in (1, len(x)):
            raise ConfigError(
                f"there are gates for {len(weights)} rows but the batch has {len(x)}; give one "
                "row of gates per row of the batch, or one for all."
            )
