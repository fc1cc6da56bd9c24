"""A model of what a user makes of a session: several probabilities, and one number from them.

There are two forms, :mod:`llmrec.recommenders.onerec.alignment.list_reward` with towers over a
whole list and :mod:`llmrec.recommenders.onerec.alignment.item_reward` with towers over its items.
How towers become one reward is explicit and stored with the model: nothing is decided when it is
used.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.data.histories import Histories
from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.generator.rows import padded


@dataclass(frozen=True)
class FeedbackBatch:
    """Sessions with what happened.

    Attributes:
        history: ``[rows, n]`` int64 item codes, oldest first, 0 after the end.
        session: ``[rows, m]`` int64 item codes, 0 after the end.
        labels: ``[rows, towers]`` or, of items, ``[rows, m, towers]`` float32 between 0 and 1, NaN
            where unknown.
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


class RewardModel(nn.Module, ABC):
    """See the module.

    Args:
        config: Architecture and aggregation.
        n_items: Items of the catalogue.
        base_rates: Mean label per tower in training, each above 0.
    """

    base_rates: Tensor
    weights: Tensor

    def __init__(self, config: RewardConfig, n_items: int, base_rates: Sequence[float]) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        weights = config.weights or (1.0,) * len(config.towers)
        self.register_buffer("base_rates", torch.tensor(list(base_rates), dtype=torch.float32))
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    @abstractmethod
    def logits(self, history: Tensor, session: Tensor) -> Tensor:
        """Log odds of every kind of feedback, float32 in the shape of the labels."""

    @abstractmethod
    def probabilities(self, history: Tensor, session: Tensor) -> Tensor:
        """What is expected of whole lists, ``[rows, towers]`` float32 between 0 and 1."""

    def forward(self, batch: FeedbackBatch) -> Tensor:
        """Binary cross-entropy summed over all labels that are known, a scalar."""
        logits = self.logits(batch.history, batch.session)
        known = ~batch.labels.isnan()
        return functional.binary_cross_entropy_with_logits(
            logits[known], batch.labels[known], reduction="sum"
        )

    def reward(self, history: Tensor, session: Tensor) -> Tensor:
        """One number per row, ``[rows]`` float32; higher is better."""
        return self.aggregate(self.probabilities(history, session))

    def extended(self, history: Tensor, earlier: Tensor, items: Tensor) -> Tensor:
        """Rewards of lists with one more item, ``[rows, c]``.

        Args:
            history: ``[rows, n]`` item codes.
            earlier: ``[rows, r]`` item codes that all lists of a row begin with; there may be none.
            items: ``[rows, c]`` the item that each ends with.
        """
        rows, choices = items.shape
        begun = earlier[:, None].expand(rows, choices, earlier.shape[1])
        lists = torch.cat([begun, items[..., None]], dim=2).flatten(0, 1)
        return self.reward(history.repeat_interleave(choices, 0), lists).view(rows, choices)

    def aggregate(self, probabilities: Tensor) -> Tensor:
        """``[rows, towers]`` probabilities to ``[rows]`` rewards.

        ``weighted_sum`` is ``sum_t w_t p_t / base_t / sum_t w_t``: 1 is an average session.
        ``product`` is ``prod_t p_t ^ w_t``. A tower of a weight below 0 lowers either.
        """
        if self.config.aggregation == "product":
            return (probabilities.clamp_min(1e-9).log() * self.weights).sum(1).exp()
        scaled = probabilities / self.base_rates * self.weights
        return scaled.sum(1) / self.weights.sum()

    @property
    def least_reward(self) -> float:
        """A number that no reward is below; 0 unless a weight is below 0."""
        if self.config.aggregation == "product":
            return 0.0
        against = (self.weights.clamp_max(0) / self.base_rates).sum() / self.weights.sum()
        return float(against)


def attendable(mask: Tensor) -> Tensor:
    """The mask, with a place opened in rows that have none: attention needs one."""
    empty = ~mask.any(1)
    opened = mask.clone()
    opened[:, 0] |= empty
    return opened


def ages(read: Tensor) -> Tensor:
    """How many items lie between each of a history and its end, ``[rows, n]``; mask likewise."""
    places = torch.arange(read.shape[1], device=read.device)
    return (read.sum(1, keepdim=True) - 1 - places).clamp_min(0)


def padded_histories(reward: RewardModel, histories: Histories) -> Tensor:
    """What a reward model reads: ``[n, longest]`` int64, the newest items, 0 after the end."""
    cut = histories.last(reward.config.history)
    if not cut.items.size:  # attention needs a place
        return torch.zeros(len(cut), 1, dtype=torch.int64, device=reward.base_rates.device)
    return padded(cut.items, cut.offsets[:-1], cut.lengths).to(reward.base_rates.device)
