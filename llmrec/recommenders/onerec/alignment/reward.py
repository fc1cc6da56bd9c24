"""A model of what a user makes of a session: several probabilities, and one number from them.

Each item of the list attends to the user's history, the items attend to each other, their sum goes
through one tower per kind of feedback (OneRec, arXiv 2502.18965, section 3.3). How the towers
become one reward is explicit and stored with the model: nothing is decided when it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from llmrec.recommenders.onerec.generator.attention import Attention
from llmrec.training.dropout import ByteDropout

Aggregation = Literal["weighted_sum", "product"]


class RewardConfig(BaseModel):
    """Architecture of a reward model and how its towers become one number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    towers: tuple[str, ...] = Field(min_length=1, description="Kinds of feedback, one tower each.")
    dim: int = Field(32, ge=2, description="Width of the states.")
    heads: int = Field(2, ge=1, description="Attention heads; must divide dim.")
    hidden: int = Field(64, ge=1, description="Width inside a tower.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the states.")
    history: int = Field(50, ge=1, description="Newest items of the history that are read.")
    session: int = Field(10, ge=1, description="Most items of a list that is judged.")
    aggregation: Aggregation = Field(
        "weighted_sum",
        description="weighted_sum: of the towers' probabilities over their base rates; product.",
    )
    weights: tuple[float, ...] | None = Field(
        None, description="One per tower, in their order; none weighs all alike."
    )

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads} must divide dim={self.dim}")
        if self.weights is not None and len(self.weights) != len(self.towers):
            raise ValueError(f"{len(self.weights)} weights are given for {len(self.towers)} towers")
        return self


@dataclass(frozen=True)
class FeedbackBatch:
    """Sessions with what happened.

    Attributes:
        history: ``[rows, n]`` int64 item codes, oldest first, 0 after the end.
        session: ``[rows, m]`` int64 item codes, 0 after the end.
        labels: ``[rows, towers]`` float32, 1 or 0, NaN where unknown.
    """

    history: Tensor
    session: Tensor
    labels: Tensor

    @property
    def n_targets(self) -> int:
        """Number of known labels."""
        return int((~self.labels.isnan()).sum())

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        for name in ("history", "session", "labels"):
            object.__setattr__(self, name, getattr(self, name).to(device, non_blocking=True))
        return self


class RewardModel(nn.Module):
    """See the module.

    Args:
        config: Architecture and aggregation.
        n_items: Items of the catalogue.
        base_rates: Share of positive labels per tower in training, each above 0.
    """

    base_rates: Tensor
    weights: Tensor

    def __init__(self, config: RewardConfig, n_items: int, base_rates: Sequence[float]) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.places = nn.Embedding(config.history, dim)
        self.target_attention = Attention(dim, config.heads, config.dropout)
        self.list_attention = Attention(dim, config.heads, config.dropout)
        self.order = nn.Parameter(torch.zeros(config.session, dim))
        self.norm = nn.LayerNorm(dim)
        self.pooled_norm = nn.LayerNorm(dim)
        self.dropout = ByteDropout(config.dropout)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, config.hidden), nn.GELU(), nn.Linear(config.hidden, 1))
            for _ in config.towers
        )
        weights = config.weights or (1.0,) * len(config.towers)
        self.register_buffer("base_rates", torch.tensor(list(base_rates), dtype=torch.float32))
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))
        for embedding in (self.items, self.places):
            nn.init.normal_(embedding.weight, std=0.1)

    def forward(self, batch: FeedbackBatch) -> Tensor:
        """Binary cross-entropy summed over rows and towers whose label is known, a scalar."""
        logits = self.logits(batch.history, batch.session)
        known = ~batch.labels.isnan()
        return functional.binary_cross_entropy_with_logits(
            logits[known], batch.labels[known], reduction="sum"
        )

    def logits(self, history: Tensor, session: Tensor) -> Tensor:
        """Log odds of every kind of feedback, ``[rows, towers]`` float32."""
        read, written = history > 0, session > 0
        age = read.sum(1, keepdim=True) - 1 - torch.arange(history.shape[1], device=history.device)
        memory = self.items(history) + self.places(age.clamp(0, self.config.history - 1))
        listed = self.dropout(self.items(session) + self.order[: session.shape[1]])
        aware = self.norm(listed + self.target_attention(listed, memory, _some(read)))
        mixed = aware + self.list_attention(aware, aware, _some(written))
        pooled = self.pooled_norm((mixed * written[..., None]).sum(1))
        return torch.cat([tower(pooled) for tower in self.towers], dim=1).float()

    def reward(self, history: Tensor, session: Tensor) -> Tensor:
        """One number per row, ``[rows]`` float32; higher is better."""
        return self.aggregate(self.logits(history, session).sigmoid())

    def aggregate(self, probabilities: Tensor) -> Tensor:
        """``[rows, towers]`` probabilities to ``[rows]`` rewards.

        ``weighted_sum`` is ``sum_t w_t p_t / base_t / sum_t w_t``: 1 is an average session.
        ``product`` is ``prod_t p_t ^ w_t``.
        """
        if self.config.aggregation == "product":
            return (probabilities.clamp_min(1e-9).log() * self.weights).sum(1).exp()
        scaled = probabilities / self.base_rates * self.weights
        return scaled.sum(1) / self.weights.sum()


def _some(mask: Tensor) -> Tensor:
    """The mask, with a place opened in rows that have none: attention needs one."""
    empty = ~mask.any(1)
    opened = mask.clone()
    opened[:, 0] |= empty
    return opened
