"""An exponential moving average of a module's weights.

The average smooths the noise of single steps; where it is on, it is what is validated and kept.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """``average = d * average + (1 - d) * weights`` after every step.

    Early on ``d`` is ``(1 + steps) / (10 + steps)`` where that is smaller than ``decay``, so that
    the random initial weights are soon forgotten.

    Args:
        module: The module whose trained parameters are averaged.
        decay: The limit of ``d``, below 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._average = {n: p.detach().clone() for n, p in self._live.items()}

    def update(self, step: int) -> None:
        """Take in the weights after step number ``step`` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        live = [p.detach() for p in self._live.values()]
        torch._foreach_lerp_(list(self._average.values()), live, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the module for the length of a block."""
        kept = {name: p.detach().clone() for name, p in self._live.items()}
        self._assign(self._average)
        try:
            yield
        finally:
            self._assign(kept)

    def settle(self) -> None:
        """Put the average into the module for good."""
        self._assign(self._average)

    def state(self) -> dict[str, Tensor]:
        """The averages by parameter name, on the CPU."""
        return {name: value.cpu().clone() for name, value in self._average.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state`."""
        for name, value in state.items():
            self._average[name].copy_(value)

    def _assign(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._live.items():
                parameter.copy_(values[name])
