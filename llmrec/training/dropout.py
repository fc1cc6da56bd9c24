"""Dropout that draws one random byte per value.

PyTorch's CPU dropout draws a float from a serial generator for every value, which takes as long as
the layers of a small model. Here eight values share one 64-bit draw. The probability is rounded to
a multiple of 1/256 and the scale uses the rounded value, so the expectation is exact. Draws come
from torch's global generator: seeding and resuming work as for any layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ByteDropout(nn.Module):
    """Zero each value with probability ``p`` and scale the rest by ``1 / (1 - p)``.

    Args:
        p: Probability, from 0 to below 1; on CPU rounded to a multiple of 1/256.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout {p} must be at least 0 and below 1")
        self.p = p
        self._kept_of_256 = max(1, round((1 - p) * 256))

    def forward(self, values: Tensor) -> Tensor:
        """Any shape to the same shape; the identity in evaluation mode."""
        if not self.training or self._kept_of_256 == 256:
            return values
        if values.device.type != "cpu":
            return functional.dropout(values, self.p)
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64)
        words.random_(-(2**63), None)  # the full range: every bit is random
        drawn = words.view(torch.uint8)[: values.numel()].view(values.shape)
        mask = (drawn < self._kept_of_256).to(values.dtype)
        return values * mask.mul_(256 / self._kept_of_256)

    def extra_repr(self) -> str:
        """Shown in the module's description."""
        return f"p={self.p}"
