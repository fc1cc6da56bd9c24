"""InfoNCE between anchors and positives, with masks for what must not count as a negative.

Logits are symmetric, so loss and gradient come from one matrix in one pass; nothing of it is kept
for the backward pass but the gradient itself.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class Contrast:
    """Pairs that should lie close together.

    Attributes:
        anchors: ``[n, d]``.
        positives: ``[n, d]``, row ``i`` belongs to anchor ``i``.
        alike: ``[n, n]`` bool, symmetric: pairs of rows that are not negatives of each other; None
            for no such pair. The diagonal does not matter.
    """

    anchors: Tensor
    positives: Tensor
    alike: Tensor | None = None


def info_nce(contrast: Contrast, temperature: float = 1.0) -> Tensor:
    """Mean cross-entropy of finding each row's partner among all others.

    With ``Z = [anchors; positives]`` of ``2 n`` rows and logits ``Z Z^T / temperature``, row ``i``
    is to find row ``i + n`` and the other way round; a row is never its own candidate, and pairs
    marked alike are left out (Oord et al. 2018, in the two-view form of SimCLR).

    Args:
        contrast: The pairs.
        temperature: Divides the products, above 0.

    Returns:
        A scalar, the mean over ``2 n`` rows; 0 where there is no pair.
    """
    n = len(contrast.anchors)
    if not n:
        # zero, and all that made the rows still has a gradient, as several processes need it
        return contrast.anchors.sum() + contrast.positives.sum()
    rows = torch.cat([contrast.anchors, contrast.positives]).float()
    loss: Tensor = _InfoNCE.apply(rows, contrast.alike, temperature)  # type: ignore[no-untyped-call]
    return loss


class _InfoNCE(torch.autograd.Function):
    """With ``S = Z Z^T / t`` and ``G = dL/dS``, the gradient is ``(G + G^T) Z / t``."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, alike: Tensor | None, temperature: float) -> Tensor:
        values = rows.detach()
        n = len(values) // 2
        logits = torch.mm(values, values.T).div_(temperature)
        partner = torch.arange(2 * n, device=rows.device).roll(n).unsqueeze(1)
        wanted = logits.gather(1, partner)
        if alike is not None:
            blocks = logits.view(2, n, 2, n)  # every row's own partner is put back below
            blocks.masked_fill_(alike.view(1, n, 1, n), -torch.inf)
            logits.scatter_(1, partner, wanted)
        logits.fill_diagonal_(-torch.inf)
        loss = (torch.logsumexp(logits, 1, keepdim=True) - wanted).mean()
        slope = torch.softmax(logits, 1)
        slope.scatter_add_(1, partner, slope.new_full((1, 1), -1.0).expand_as(partner))
        gradient = torch.mm(slope, values).add_(torch.mm(slope.T, values))
        ctx.save_for_backward(gradient.div_(2 * n * temperature))
        return loss

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None, None
