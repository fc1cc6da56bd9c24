"""How experts become one update: the same algebra for a forward pass and for an export.

With stacked factors ``A [K r, d_in]`` and ``B [d_out, K r]`` every composition is
``s B M A`` (reclora.md 2.8). The fused route applies ``M`` to ``A x``; the merged route builds the
small matrices ``sum_k a_k A_k`` and ``sum_k a_k B_k`` of each row first, which only
``merge_factors`` gains from.
"""

import torch
from torch import Tensor

from llmrec.adapters.config import Compose
from llmrec.adapters.context import Route

_BATCHED_COST = 2.0  # a batched product of small matrices reaches about half the speed of one


def mix(compose: Compose, low: Tensor, weights: Tensor | None) -> Tensor:
    """Apply ``M(u)`` to what ``A`` found.

    Args:
        compose: The composition.
        low: ``[..., K, r]``.
        weights: ``[..., K]``; None only for ``shared``.

    Returns:
        ``[..., K, r]``.
    """
    if compose == "shared":
        return low
    assert weights is not None
    scaled = low * weights.unsqueeze(-1)
    if compose != "merge_factors":
        return scaled
    return scaled.sum(-2, keepdim=True) * weights.unsqueeze(-1)


def merged_factors(a: Tensor, b: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """``merge_factors``: the two factors of each row.

    Args:
        a: ``[K r, d_in]``.
        b: ``[d_out, K r]``.
        weights: ``[n, K]``.

    Returns:
        ``[n, r, d_in]`` and ``[n, r, d_out]``.
    """
    blocks = weights.shape[1]
    rank = len(a) // blocks
    down = (weights @ a.reshape(blocks, -1)).view(len(weights), rank, -1)
    up = (weights @ b.T.reshape(blocks, -1)).view(len(weights), rank, -1)
    return down, up


def export_factors(
    compose: Compose, a: Tensor, b: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Factors of one user's plain LoRA, exact and without the scale.

    Args:
        compose: The composition.
        a: ``[K r, d_in]``.
        b: ``[d_out, K r]``.
        weights: ``[K]``; None only for ``shared``.

    Returns:
        ``[R, d_in]`` and ``[d_out, R]``, ``R`` the rank of
        :attr:`~llmrec.adapters.config.GatedLoraConfig.adapter_rank`.
    """
    if compose == "shared":
        return a, b
    assert weights is not None
    if compose == "merge_factors":
        down, up = merged_factors(a, b, weights.unsqueeze(0))
        return down[0], up[0].T
    return a, b * weights.repeat_interleave(len(a) // len(weights))


def takes_merged(
    compose: Compose, route: Route, blocks: int, rows: int, tokens: int, different: int
) -> bool:
    """Whether the merged route is taken.

    In units of ``r (d_in + d_out)``: fused costs ``K rows tokens``, merged ``K different`` for the
    matrices and ``rows tokens`` for their use (reclora.md 2.9).

    Args:
        compose: The composition; only ``merge_factors`` has a merged route.
        route: What was asked for.
        blocks: Experts, ``K``.
        rows: Rows of the batch.
        tokens: Tokens of a row.
        different: Rows of gate weights: ``rows``, or 1 where all share them.
    """
    if compose != "merge_factors" or route == "fused":
        return False
    if route == "merged":
        return True
    use = rows * tokens * (_BATCHED_COST if different > 1 else 1.0)
    return blocks * different + use < blocks * rows * tokens


def apply_merged(x: Tensor, a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """The merged route: ``[B, T, d_out]`` of ``x [B, T, d_in]`` and ``weights [B or 1, K]``."""
    down, up = merged_factors(a, b, weights)
    if len(weights) == 1:
        return (x @ down[0].T) @ up[0]
    return torch.bmm(torch.bmm(x, down.transpose(1, 2)), up)
