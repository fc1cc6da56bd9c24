"""DeepFM (Guo et al. 2017): products of all pairs of fields beside a deep network.

The history is one field more: the mean of its events' vectors.
"""

import torch
from torch import Tensor, nn

from llmrec.recommenders.ctr.config import DeepFMConfig
from llmrec.recommenders.ctr.features import PairBatch
from llmrec.recommenders.ctr.model import CTRModel
from llmrec.recommenders.ctr.network import (
    EventVectors,
    ItemFields,
    PairNetwork,
    Sizes,
    UserPart,
    hidden_layers,
)


class DeepFMNetwork(PairNetwork):
    """Log-odds = bias + first order + products of pairs of fields + deep part.

    Args:
        config: Settings.
        sizes: Numbers of values.
    """

    def __init__(self, config: DeepFMConfig, sizes: Sizes) -> None:
        super().__init__()
        self._dim = config.dim
        self.items = ItemFields(config, sizes)
        self.events = EventVectors(config, sizes, self.items)
        self.user = UserPart(config, sizes)
        self.first_items = self.items.layers(1)
        self.first_user = nn.Linear(self.user.dim, 1)
        self.drop = nn.Dropout(config.dropout)
        width = self.user.dim + self.items.dim
        self.hidden = hidden_layers(width, config.hidden, config.dropout)
        self.out = nn.Linear(config.hidden[-1], 1)
        self.user_dim, self.instance_dim = self.user.dim, config.hidden[-1]

    def user_state(self, batch: PairBatch) -> Tensor:
        """``[b, user_dim]``."""
        vectors = self.drop(self.items(batch.history).flatten(-2))
        return self.user(batch, self.events(vectors, batch.levels))  # type: ignore[no-any-return]

    def instance_state(self, batch: PairBatch) -> Tensor:
        """``[p, instance_dim]``."""
        return self._deep(self.user_state(batch)[batch.rows], self.items(batch.items))

    def forward(self, batch: PairBatch) -> Tensor:
        """``[p]`` log-odds."""
        user = self.user_state(batch)[batch.rows]
        items = self.items(batch.items)
        first = self.items(batch.items, self.first_items).sum(-2) + self.first_user(user)
        deep = self.out(self._deep(user, items))
        logits: Tensor = (first + deep).squeeze(-1) + self._products(user, items)
        return logits

    def _products(self, user: Tensor, items: Tensor) -> Tensor:
        """Sum of the products of all pairs of fields: half of (square of sum - sum of squares)."""
        vectors = user[:, : self.user.vectors * self._dim]
        fields = torch.cat([vectors.view(len(vectors), -1, self._dim), items], 1)
        return 0.5 * (fields.sum(1).square() - fields.square().sum(1)).sum(-1)

    def _deep(self, user: Tensor, items: Tensor) -> Tensor:
        return self.hidden(self.drop(torch.cat([user, items.flatten(-2)], -1)))  # type: ignore[no-any-return]


class DeepFM(CTRModel[DeepFMConfig]):
    """Factorisation machine and deep network on the same field vectors."""

    name = "deepfm"
    config_class = DeepFMConfig

    def _make_network(self, sizes: Sizes) -> PairNetwork:
        return DeepFMNetwork(self.config, sizes)
