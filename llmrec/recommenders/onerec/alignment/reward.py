"""A model of what a user makes of a session: several probabilities, and one number from them.

Each item of the list attends to the user's history, the items attend to each other, their sum goes
through one tower per kind of feedback (OneRec, arXiv 2502.18965, section 3.3). How the towers
become one reward is explicit and stored with the model: nothing is decided when it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.data.histories import Histories
from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.generator.attention import Attention
from llmrec.recommenders.onerec.generator.rows import padded
from llmrec.training.dropout import ByteDropout


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


def padded_histories(reward: RewardModel, histories: Histories) -> Tensor:
    """What a reward model reads: ``[n, longest]`` int64, the newest items, 0 after the end."""
    cut = histories.last(reward.config.history)
    if not cut.items.size:  # attention needs a place
        return torch.zeros(len(cut), 1, dtype=torch.int64, device=reward.base_rates.device)
    return padded(cut.items, cut.offsets[:-1], cut.lengths).to(reward.base_rates.device)
