"""DIN, deep interest network (Zhou et al. 2018): what of the history matters for this target."""

import torch
from torch import Tensor, nn

from llmrec.recommenders.ctr.config import DINConfig
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


class TargetAttention(nn.Module):
    """Weights of events by a small network on event, target, difference and product.

    DIN section 4.3: without a softmax, so that the weights keep how much there is of an interest.

    Args:
        dim: Width of events and targets.
        hidden: Width inside.
        softmax: Make the weights of a history sum to 1.
    """

    def __init__(self, dim: int, hidden: int, softmax: bool) -> None:
        super().__init__()
        self._softmax = softmax
        self.event, self.target = nn.Linear(dim, hidden), nn.Linear(dim, hidden, bias=False)
        self.product = nn.Linear(dim, hidden, bias=False)
        self.activation, self.out = nn.PReLU(hidden), nn.Linear(hidden, 1)

    def forward(self, events: Tensor, targets: Tensor, there: Tensor) -> Tensor:
        """Pool events.

        Args:
            events: ``[p, L, dim]``.
            targets: ``[p, dim]``.
            there: ``[p, L]`` which events are no padding.

        Returns:
            ``[p, dim]``; zeros for an empty history.
        """
        # one linear layer on [event, target, event - target, event * target], in its parts
        inside = self.event(events) + self.target(targets).unsqueeze(1)
        inside = inside + self.product(events * targets.unsqueeze(1))
        weights = self.out(self.activation(inside.transpose(1, 2)).transpose(1, 2)).squeeze(-1)
        if self._softmax:
            weights = weights.masked_fill(~there, torch.finfo(weights.dtype).min).softmax(-1)
        return torch.einsum("pl,pld->pd", weights * there, events)


class DINNetwork(PairNetwork):
    """User, target and the part of the history that speaks about the target.

    Args:
        config: Settings.
        sizes: Numbers of values.
    """

    def __init__(self, config: DINConfig, sizes: Sizes) -> None:
        super().__init__()
        self.items = ItemFields(config, sizes)
        self.events = EventVectors(config, sizes, self.items)
        self.user = UserPart(config, sizes)
        self.target = nn.Linear(self.items.dim, config.dim)
        self.attention = TargetAttention(
            config.dim, config.attention_hidden, config.attention == "softmax"
        )
        self.drop = nn.Dropout(config.dropout)
        width = self.user.dim + 3 * config.dim
        self.hidden = hidden_layers(width, config.hidden, config.dropout)
        self.out = nn.Linear(config.hidden[-1], 1)
        self.user_dim, self.instance_dim = self.user.dim, config.hidden[-1]

    def user_state(self, batch: PairBatch) -> Tensor:
        """``[b, user_dim]``."""
        return self.user(batch, self._events(batch))  # type: ignore[no-any-return]

    def instance_state(self, batch: PairBatch) -> Tensor:
        """``[p, instance_dim]``."""
        events = self._events(batch)
        targets = self.target(self.items(batch.items).flatten(-2))
        chosen, there = self._chosen(batch, events)
        interest = self.attention(chosen, targets, there)
        user = self.user(batch, events)[batch.rows]
        parts = [user, targets, interest, targets * interest]
        return self.hidden(self.drop(torch.cat(parts, -1)))  # type: ignore[no-any-return]

    def forward(self, batch: PairBatch) -> Tensor:
        """``[p]`` log-odds."""
        return self.out(self.instance_state(batch)).squeeze(-1)  # type: ignore[no-any-return]

    def _events(self, batch: PairBatch) -> Tensor:
        """``[b, L, dim]``."""
        vectors = self.drop(self.items(batch.history).flatten(-2))
        return self.events(vectors, batch.levels)  # type: ignore[no-any-return]

    def _chosen(self, batch: PairBatch, events: Tensor) -> tuple[Tensor, Tensor]:
        """The events that each pair attends to, and which of them are no padding."""
        return events[batch.rows], (batch.history > 0)[batch.rows]


class DIN(CTRModel[DINConfig]):
    """Deep interest network.

    Example:
        >>> from llmrec.data.simulator import simulate
        >>> from llmrec.data import leave_one_out
        >>> split = leave_one_out(simulate("simulate:tiny@1").dataset)
        >>> model = DIN(dim=4, training={"epochs": 1}).fit(split.train_histories())
        >>> histories = split.cases("test").histories
        >>> model.user_state(histories).shape == (len(histories), model.user_dim)
        True
    """

    name = "din"
    config_class = DINConfig

    def _make_network(self, sizes: Sizes) -> PairNetwork:
        return DINNetwork(self.config, sizes)
