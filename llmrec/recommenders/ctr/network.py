"""What CTR networks are made of: vectors of named fields, of events, and of users."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmrec.recommenders.ctr.config import ABOUT_ITEMS, STATISTICS, CTRConfig
from llmrec.recommenders.ctr.features import PairBatch

_ESCAPED = "="
_NO_MODULES = nn.ModuleDict()


@dataclass(frozen=True)
class Sizes:
    """Numbers of values that a network has vectors for.

    Attributes:
        users: Known users.
        items: Items.
        levels: Levels of feedback.
        tables: Per field on a catalog column: ``[items + 1, most]`` int64 codes of its values, or
            ``[items + 1, 2]`` float32 number and whether it is known.
        similar: ``[items + 1, d]`` vectors by which events are searched; None without a search.
    """

    users: int
    items: int
    levels: int
    tables: dict[str, Tensor]
    similar: Tensor | None = None


class ItemFields(nn.Module):
    """Vectors of items, one part per field that describes them.

    Args:
        config: Settings.
        sizes: Numbers of values.
    """

    def __init__(self, config: CTRConfig, sizes: Sizes) -> None:
        super().__init__()
        self._fields = [field for field in config.fields if field.kind in ABOUT_ITEMS]
        for field in self._fields:
            if field.kind != "item":
                self.register_buffer(f"table_{module_key(field.name)}", sizes.tables[field.name])
        self._items, self._init_std = sizes.items, config.init_std
        self.vectors = self.layers(config.dim)
        self.parts = len(self._fields)
        self.dim = config.dim * self.parts

    def layers(self, dim: int) -> nn.ModuleDict:
        """Fresh vectors of width ``dim`` for the values of each field."""
        found = nn.ModuleDict()
        for field in self._fields:
            key, count = module_key(field.name), self._items
            if field.kind == "number":
                found[key] = nn.Linear(2, dim, bias=False)
                continue
            if field.kind != "item":
                count = int(getattr(self, f"table_{key}").max())
            found[key] = embedding(count, dim, self._init_std)
        return found

    def forward(self, items: Tensor, layers: nn.ModuleDict | None = None) -> Tensor:
        """``[..., parts, dim]`` vectors of item codes ``[...]``, its own or those of others."""
        found = []
        for field in self._fields:
            key = module_key(field.name)
            layer = (self.vectors if layers is None else layers)[key]
            if field.kind == "item":
                found.append(layer(items))
                continue
            values = getattr(self, f"table_{key}")[items]
            if field.kind == "number":
                found.append(layer(values))
            else:
                there = (values > 0).unsqueeze(-1)
                total = (layer(values) * there).sum(-2)
                found.append(total / there.sum(-2).clamp(min=1))
        return torch.stack(found, -2)


class EventVectors(nn.Module):
    """Vectors of events: ReLU of a linear layer on item and feedback (reclora.md 2.6)."""

    def __init__(self, config: CTRConfig, sizes: Sizes, items: ItemFields) -> None:
        super().__init__()
        self.levels = embedding(sizes.levels, config.dim, config.init_std)
        self.layer = nn.Linear(items.dim + config.dim, config.dim)

    def forward(self, item_vectors: Tensor, levels: Tensor) -> Tensor:
        """``[..., dim]`` from item vectors ``[..., items.dim]`` and levels ``[...]``."""
        return torch.relu(self.layer(torch.cat([item_vectors, self.levels(levels)], -1)))


class UserPart(nn.Module):
    """What is known of a user apart from any target: the first of the two gate inputs.

    The user's vector, the mean of the vectors of the history's events, and its statistics.
    An unknown user or an empty history is all zeros there.
    """

    def __init__(self, config: CTRConfig, sizes: Sizes) -> None:
        super().__init__()
        kinds = [field.kind for field in config.fields]
        reads_users = "user" in kinds
        self.users = embedding(sizes.users, config.dim, config.init_std) if reads_users else None
        self.statistics = sum(kind in STATISTICS for kind in kinds)
        self.vectors = 1 + reads_users
        self.dim = config.dim * self.vectors + self.statistics

    def forward(self, batch: PairBatch, events: Tensor) -> Tensor:
        """``[b, dim]`` from the vectors of the events ``[b, L, config.dim]``."""
        there = (batch.history > 0).unsqueeze(-1)
        mean = (events * there).sum(1) / there.sum(1).clamp(min=1)
        parts = [] if self.users is None else [self.users(batch.users)]
        return torch.cat([*parts, mean, batch.statistics], -1)


class PairNetwork(nn.Module, ABC):
    """A network that judges pairs.

    Subclasses set ``user_dim`` and ``instance_dim`` and define the three methods.
    """

    user_dim: int
    instance_dim: int

    @abstractmethod
    def user_state(self, batch: PairBatch) -> Tensor:
        """``[b, user_dim]``, whatever the targets are."""

    @abstractmethod
    def instance_state(self, batch: PairBatch) -> Tensor:
        """``[p, instance_dim]`` last hidden layer of every pair."""

    @abstractmethod
    def forward(self, batch: PairBatch) -> Tensor:
        """``[p]`` log-odds that the item is liked."""


class PairLoss(nn.Module):
    """Summed binary cross-entropy of a batch of pairs, for the training loop."""

    def __init__(self, network: PairNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: PairBatch) -> Tensor:
        """The sum over the pairs, a scalar."""
        return nn.functional.binary_cross_entropy_with_logits(
            self.network(batch), batch.labels, reduction="sum"
        )


def module_key(name: str) -> str:
    """What a field is called among weights: its name, where torch takes it as one.

    torch refuses dots and the names of its own attributes, such as ``type`` and ``values``.
    """
    free = not hasattr(_NO_MODULES, name) and "." not in name and not name.startswith(_ESCAPED)
    return name if free else _ESCAPED + name.encode().hex()


def embedding(count: int, dim: int, deviation: float) -> nn.Embedding:
    """Vectors of codes 1 to ``count``; code 0 stays zero."""
    layer = nn.Embedding(count + 1, dim, padding_idx=0)
    with torch.no_grad():
        layer.weight.normal_(std=deviation)
        layer.weight[0] = 0
    return layer


def hidden_layers(width: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear, PReLU and dropout per width (DIN, section 5.3, without batch statistics)."""
    layers: list[nn.Module] = []
    for size in widths:
        layers += [nn.Linear(width, size), nn.PReLU(size), nn.Dropout(dropout)]
        width = size
    return nn.Sequential(*layers)
