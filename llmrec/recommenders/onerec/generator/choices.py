"""What a level chooses from, and how codes are scored.

By default a level chooses among all of its codes and has to learn which of them lead to an item.
Where only codes that exist are chosen from, a code competes with those that continue to an item
after the same codes: the model is then a distribution over the catalogue, whatever it has learnt,
and nothing has to be spent on codes that lead nowhere. In a small catalogue most items are alone
after two codes, so their last code is certain.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.errors import ConfigError

_LARGEST_KEY = 1 << 62


class CodeHead(nn.Module):
    """Logits of the codes of one level.

    Args:
        dim: Width of the states.
        size: Codes of the level.
        tied: The vectors are those that the codes have as inputs; only the bias is its own.
    """

    weight: nn.Parameter | None

    def __init__(self, dim: int, size: int, tied: bool) -> None:
        super().__init__()
        own = None if tied else nn.Parameter(torch.randn(size, dim) * dim**-0.5)
        self.register_parameter("weight", own)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, states: Tensor, inputs: Tensor) -> Tensor:
        """``[..., d]`` to ``[..., size]``; ``inputs`` are the codes' vectors ``[size, d]``."""
        return functional.linear(states, inputs if self.weight is None else self.weight, self.bias)


class ExistingCodes(nn.Module):
    """Which codes continue to an item, as arrays per level.

    Args:
        codes: ``[items, levels]`` int64 semantic IDs.
        sizes: Codes per level.

    Raises:
        ConfigError: There are too many levels to number all IDs.
    """

    def __init__(self, codes: Tensor, sizes: Sequence[int]) -> None:
        super().__init__()
        if math.prod(sizes) > _LARGEST_KEY:
            raise ConfigError(
                f"semantic IDs of {len(sizes)} levels are too long for choices=existing; use "
                "choices=all or fewer levels."
            )
        self.sizes = tuple(sizes)
        self.widest: list[int] = []
        self.n_nodes: list[int] = []
        keys = torch.zeros(len(codes), dtype=torch.int64)
        for level, size in enumerate(sizes):
            keys = keys * size + codes[:, level].cpu()
            nodes, node_of_item = torch.unique(keys, return_inverse=True)
            self.n_nodes.append(len(nodes))
            parents, counts = torch.unique_consecutive(
                nodes.div(size, rounding_mode="floor"), return_counts=True
            )
            self.widest.append(int(counts.max()))
            padding = (0, self.widest[-1])
            for name, value in (
                ("parents", parents),
                ("counts", counts),
                ("first", counts.cumsum(0) - counts),
                ("codes", functional.pad(nodes % size, padding)),
                ("node_of_item", node_of_item),
                ("items", torch.bincount(node_of_item)),
            ):
                self.register_buffer(f"{name}_{level}", value, persistent=False)

    def log_normalizer(self, level: int, logits: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Log-sum-exp over the codes that exist after others.

        Args:
            level: The level.
            logits: ``[..., size]``.
            before: The codes of the levels before, ``[...]`` int64 each; those of an item.

        Returns:
            ``[...]`` float32.
        """
        chosen, exists, _ = self._children(level, before, logits.shape[:-1], logits.device)
        found = logits.float().gather(-1, chosen)
        return found.masked_fill(~exists, -torch.inf).logsumexp(-1)

    def item_logits(
        self, level: int, states: Tensor, vectors: Tensor, before: Sequence[Tensor]
    ) -> Tensor:
        """What the items of a branch add to the logit of the code that leads there.

        Args:
            level: The level.
            states: ``[..., d]``.
            vectors: ``[items, d]``; a branch has the mean of its items'.
            before: The codes of the levels before, ``[...]`` int64 each.

        Returns:
            ``[..., size]``; 0 for codes that do not exist.
        """
        node_of_item, items = (
            getattr(self, f"{name}_{level}") for name in ("node_of_item", "items")
        )
        branch = vectors.new_zeros(self.n_nodes[level], vectors.shape[1])
        branch = branch.index_add(0, node_of_item, vectors) / items[:, None]
        shape = (*states.shape[:-1], self.sizes[level])
        if level == 0:
            codes: Tensor = getattr(self, "codes_0")[: self.n_nodes[0]]  # noqa: B009
            found = states @ branch.T
            spread: Tensor = found.new_zeros(shape).index_add(-1, codes, found)
            return spread
        chosen, exists, nodes = self._children(level, before, shape[:-1], states.device)
        found = torch.einsum("...wd,...d->...w", branch[nodes], states)
        return found.new_zeros(shape).scatter_add(-1, chosen, found.masked_fill(~exists, 0.0))

    def _children(
        self, level: int, before: Sequence[Tensor], shape: Sequence[int], device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, whether they exist, and their nodes, ``[*shape, widest]`` each."""
        parents, counts, first, codes = (
            getattr(self, f"{name}_{level}") for name in ("parents", "counts", "first", "codes")
        )
        key = torch.zeros(tuple(shape), dtype=torch.int64, device=device)
        for size, code in zip(self.sizes[:level], before, strict=False):
            key = key * size + code
        parent = torch.searchsorted(parents, key).clamp_max(len(parents) - 1)
        slot = torch.arange(self.widest[level], device=device)
        exists = slot < counts[parent][..., None]
        nodes = first[parent][..., None] + slot
        return codes[nodes], exists, nodes.clamp_max(self.n_nodes[level] - 1)
