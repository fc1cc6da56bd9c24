"""A reward model with towers over whole lists (OneRec, arXiv 2502.18965, section 3.3).

Each item of the list attends to the user's history, the items attend to each other, and their sum
goes through one tower per kind of feedback. A label says of a session whether something happened in
it, so the more a list exceeds what was logged, the less the towers can say by how much.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.alignment.reward import RewardModel, ages, attendable
from llmrec.recommenders.onerec.generator.attention import Attention
from llmrec.training.dropout import ByteDropout


class ListReward(RewardModel):
    """See the module, and the base class for the arguments."""

    def __init__(self, config: RewardConfig, n_items: int, base_rates: Sequence[float]) -> None:
        super().__init__(config, n_items, base_rates)
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
        for embedding in (self.items, self.places):
            nn.init.normal_(embedding.weight, std=0.1)

    def logits(self, history: Tensor, session: Tensor) -> Tensor:
        """``[rows, towers]``; see the base class."""
        read, written = history > 0, session > 0
        places = self.places(ages(read).clamp_max(self.config.history - 1))
        memory = self.items(history) + places
        listed = self.dropout(self.items(session) + self.order[: session.shape[1]])
        aware = self.norm(listed + self.target_attention(listed, memory, attendable(read)))
        mixed = aware + self.list_attention(aware, aware, attendable(written))
        pooled = self.pooled_norm((mixed * written[..., None]).sum(1))
        return torch.cat([tower(pooled) for tower in self.towers], dim=1).float()

    def probabilities(self, history: Tensor, session: Tensor) -> Tensor:
        """See the base class."""
        return self.logits(history, session).sigmoid()
