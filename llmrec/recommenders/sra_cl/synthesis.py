"""Weights with which a sequence's semantic neighbours form its positive.

Four ways to compare the text of a sequence with the texts of its neighbours; the first is the one
of the SRA-CL paper (section 3.2), the attention of GAT. There all neighbours share the query's
term, and the leaky ReLU is monotone, so the query never changes their ranking.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Attention = Literal["gat_v1", "gat_v2", "bilinear", "cosine"]
_SLOPE = 0.2  # of the leaky ReLU
_GAIN = 1.414  # of the Xavier initialisation


class Synthesis(nn.Module):
    """Attention of a sequence over its neighbours, on frozen text vectors.

    Args:
        text_dim: Width of the text vectors.
        dim: Width of the projection.
        attention: How a logit is made of query ``s`` and key ``t``: ``gat_v1``
            ``LeakyReLU(a [W s ; W t])``, ``gat_v2`` ``a LeakyReLU(W [s ; t])``, ``bilinear``
            ``(W s) (W t) / sqrt(dim)``, ``cosine`` a learnt scale times ``s t``.
        dropout: Probability of dropping a weight.
        renormalise: Make the weights that are left sum to 1 again.
    """

    def __init__(
        self, text_dim: int, dim: int, attention: Attention, dropout: float, renormalise: bool
    ) -> None:
        super().__init__()
        self.attention = attention
        self.dropout = dropout
        self.renormalise = renormalise
        if attention == "cosine":
            self.scale = nn.Parameter(torch.ones(()))
            return
        wide = 2 * text_dim if attention == "gat_v2" else text_dim
        self.project = nn.Parameter(torch.empty(wide, dim))
        nn.init.xavier_uniform_(self.project, gain=_GAIN)
        if attention != "bilinear":
            self.attend = nn.Parameter(torch.empty(dim if attention == "gat_v2" else 2 * dim, 1))
            nn.init.xavier_uniform_(self.attend, gain=_GAIN)

    def forward(self, query: Tensor, keys: Tensor, valid: Tensor) -> Tensor:
        """Weights over neighbours.

        Args:
            query: ``[n, D]`` text vectors of the sequences.
            keys: ``[n, k, D]`` text vectors of their neighbours.
            valid: ``[n, k]`` bool, at least one per row.

        Returns:
            ``[n, k]`` weights, 0 where not valid; each row sums to 1 unless dropout is on and
            ``renormalise`` off.
        """
        logits = self._logits(query, keys).float().masked_fill(~valid, -torch.inf)
        weights = torch.softmax(logits, dim=1)
        if not self.training or not self.dropout:
            return weights
        kept = functional.dropout(weights, self.dropout)
        if not self.renormalise:
            return kept
        total = kept.sum(1, keepdim=True)
        made: Tensor = torch.where(total > 0, kept / total.clamp_min(1e-12), weights)
        return made

    def _logits(self, query: Tensor, keys: Tensor) -> Tensor:
        logits: Tensor
        if self.attention == "cosine":
            logits = self.scale * torch.einsum("nd,nkd->nk", query, keys)
        elif self.attention == "bilinear":
            left, right = query @ self.project, keys @ self.project
            logits = torch.einsum("nd,nkd->nk", left, right) / self.project.shape[1] ** 0.5
        elif self.attention == "gat_v2":
            pairs = torch.cat([query.unsqueeze(1).expand_as(keys), keys], dim=2)
            hidden = functional.leaky_relu(pairs @ self.project, _SLOPE)
            logits = torch.matmul(hidden, self.attend).squeeze(2)
        else:  # a [W s ; W t] is a sum, so W and a fold into one vector for each side
            own, other = self.attend.chunk(2)
            terms = query @ (self.project @ own) + (keys @ (self.project @ other)).squeeze(2)
            logits = functional.leaky_relu(terms, _SLOPE)
        return logits


def uniform_weights(valid: Tensor) -> Tensor:
    """``[n, k]`` equal weights over valid neighbours, float32; the control for attention."""
    shares = valid.float()
    return shares / shares.sum(1, keepdim=True).clamp_min(1.0)
