"""A pull towards earlier weights, for updates of experts on new data (reclora.md 5.1, PESO)."""

import math

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError


class Proximal:
    """``(mu / 2) ||theta - theta_prev||^2`` over the trainable weights of a module.

    Args:
        module: What is trained; its present trainable weights are ``theta_prev``.
        mu: Strength of the pull; 0 is none.

    Raises:
        ConfigError: ``mu`` is negative, or nothing is trainable.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> pull = Proximal(layer, mu=4.0)
        >>> with torch.no_grad():
        ...     _ = layer.weight.add_(torch.tensor([[1.0, 2.0]]))
        >>> float(pull.penalty())
        10.0
    """

    def __init__(self, module: nn.Module, mu: float) -> None:
        if mu < 0:
            raise ConfigError(f"mu is {mu}; expected 0 or more.")
        self.mu = mu
        self._now = [p for p in module.parameters() if p.requires_grad]
        if not self._now:
            raise ConfigError("no weight of the module is trainable, so nothing can be pulled.")
        self._before = [p.detach().clone() for p in self._now]

    def penalty(self) -> Tensor:
        """The penalty to add to a mean loss, with gradient ``mu (theta - theta_prev)``."""
        total = self._now[0].new_zeros(())
        if not self.mu:
            return total
        for now, before in zip(self._now, self._before, strict=True):
            total = total + (now - before.to(now.device)).square().sum().to(total.device)
        return total * (self.mu / 2)

    @torch.no_grad()
    def distance(self) -> float:
        """How far the weights have moved, ``||theta - theta_prev||``."""
        moved = [
            float((now - before.to(now.device)).double().square().sum())
            for now, before in zip(self._now, self._before, strict=True)
        ]
        return math.sqrt(sum(moved))

    @torch.no_grad()
    def undo(self) -> None:
        """Put the weights back to what they were."""
        for now, before in zip(self._now, self._before, strict=True):
            now.copy_(before)

    @torch.no_grad()
    def renew(self) -> None:
        """Pull towards the present weights from here on, as between two slices of time."""
        for now, before in zip(self._now, self._before, strict=True):
            before.copy_(now)
