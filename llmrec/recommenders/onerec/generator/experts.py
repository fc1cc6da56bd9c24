"""Feed-forward layers: dense, and a mixture of experts without dropped tokens.

The gate is that of the paper (OneRec, section 3.2): a softmax over all experts of which the best
few are kept as they are. Balance is kept without a loss: a bias per expert takes part in choosing
only, and after every training pass it rises for experts that got less than their share (arXiv
2408.15664). Every token reaches all its experts, so training and search give equal logits.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.training.dropout import ByteDropout


class SwiGLU(nn.Module):
    """``W2 (silu(W1 x) * W3 x)``.

    Args:
        dim: Width of the states.
        hidden: Width inside.
        dropout: Dropout on the output.
    """

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * hidden, bias=False)
        self.contract = nn.Linear(hidden, dim, bias=False)
        self.dropout = ByteDropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """``[tokens, d]`` to the same shape."""
        gate, value = self.expand(states).chunk(2, dim=-1)
        result: Tensor = self.dropout(self.contract(functional.silu(gate) * value))
        return result


class Experts(nn.Module):
    """A mixture of SwiGLU experts.

    Args:
        dim: Width of the states.
        hidden: Width inside an expert.
        experts: How many there are.
        per_token: How many a token is sent to.
        renormalize: Make a token's gate values sum to 1.
        balance_rate: Step of the balancing bias; 0 for none.
        dropout: Dropout on the output.
    """

    bias: Tensor
    load: Tensor

    def __init__(
        self,
        dim: int,
        hidden: int,
        experts: int,
        per_token: int,
        renormalize: bool = False,
        balance_rate: float = 0.001,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.per_token, self.renormalize = per_token, renormalize
        self.balance_rate = balance_rate
        self.gate = nn.Linear(dim, experts, bias=False)
        self.expand = nn.Parameter(torch.empty(experts, dim, 2 * hidden))
        self.contract = nn.Parameter(torch.empty(experts, hidden, dim))
        nn.init.normal_(self.expand, std=dim**-0.5)
        nn.init.normal_(self.contract, std=hidden**-0.5)
        self.dropout = ByteDropout(dropout)
        self.register_buffer("bias", torch.zeros(experts))
        self.register_buffer("load", torch.zeros(experts))

    def forward(self, states: Tensor) -> Tensor:
        """``[tokens, d]`` to the same shape."""
        shares = self.gate(states.float()).softmax(-1)
        chosen = (shares + self.bias).topk(self.per_token, dim=-1).indices
        weights = shares.gather(1, chosen)
        if self.renormalize:
            weights = weights / weights.sum(-1, keepdim=True)
        if self.training and torch.is_grad_enabled():
            self._balance(chosen)
        result: Tensor = self.dropout(self._mixed(states, chosen, weights.to(states.dtype)))
        return result

    def _mixed(self, states: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Sort tokens by expert into ``[experts, most, d]`` and multiply all experts at once."""
        expert, order = chosen.flatten().sort(stable=True)
        counts = torch.bincount(expert, minlength=len(self.expand))
        place = torch.arange(len(expert), device=expert.device)
        place -= (counts.cumsum(0) - counts)[expert]
        token = order.div(self.per_token, rounding_mode="floor")
        grid = states.new_zeros(len(self.expand), int(counts.max()), states.shape[1])
        grid = grid.index_put((expert, place), states[token])
        gate, value = (grid @ self.expand.to(states.dtype)).chunk(2, dim=-1)
        done = (functional.silu(gate) * value) @ self.contract.to(states.dtype)
        parts = done[expert, place] * weights.flatten()[order][:, None]
        return torch.zeros_like(states).index_add(0, token, parts)

    @torch.no_grad()
    def _balance(self, chosen: Tensor) -> None:
        load = torch.bincount(chosen.flatten(), minlength=len(self.load)).float()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(load)
        self.load += load
        self.bias += self.balance_rate * torch.sign(load.mean() - load)

    def take_load(self) -> Tensor:
        """Tokens each expert got since this was last asked, ``[experts]``; starts again at 0."""
        load = self.load.clone()
        self.load.zero_()
        return load
