"""Attention in two forms: over whole sequences, and for one new token of every beam.

In the second the keys of a user are shared by all its beams, which are so many queries on them;
only what a beam has written itself is kept per beam.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.training.dropout import ByteDropout


class KeyValue(NamedTuple):
    """Keys and values of earlier tokens, ``[..., heads, tokens, width]``."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head attention without biases.

    Args:
        dim: Width of the states.
        heads: Number of heads.
        dropout: Dropout on the output.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)
        self.dropout = ByteDropout(dropout)

    def forward(
        self, states: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from ``states [n, t, d]`` to ``memory [n, s, d]``.

        Args:
            states: Queries.
            memory: Keys and values.
            mask: ``[n, s]`` bool, true where there is a token; None for everywhere. Every row needs
                one.
            causal: Each token sees itself and what comes before it only.

        Returns:
            ``[n, t, d]``.
        """
        query = self._split(self.query(states))
        keys, values = self.key_values(memory)
        allowed = None if mask is None else mask[:, None, None, :]
        attended = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=allowed, is_causal=causal
        )
        return self._joined(attended.transpose(1, 2))

    def key_values(self, memory: Tensor) -> KeyValue:
        """Keys and values of ``[n, s, d]``, each ``[n, heads, s, width]``."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return KeyValue(self._split(keys), self._split(values))

    def own_key_values(self, states: Tensor) -> KeyValue:
        """Of one token per beam ``[users, beams, d]``: each ``[users, beams, heads, 1, width]``."""
        keys, values = self.key_value(states).chunk(2, dim=-1)
        shape = (*states.shape[:2], self.heads, 1, states.shape[2] // self.heads)
        return KeyValue(keys.reshape(shape), values.reshape(shape))

    def step(
        self,
        states: Tensor,
        shared: KeyValue | None,
        shared_mask: Tensor | None,
        own: KeyValue | None,
    ) -> Tensor:
        """Attend from one token of every beam.

        Args:
            states: ``[users, beams, d]``.
            shared: Of the users, ``[users, heads, s, width]``, or None.
            shared_mask: ``[users, s]`` bool, true where there is a token, or None for everywhere.
            own: Of the beams, ``[users, beams, heads, t, width]``, or None.

        Returns:
            ``[users, beams, d]``.
        """
        query = self._split(self.query(states))  # [users, heads, beams, width]
        query = query * query.shape[-1] ** -0.5
        scores, values = [], []
        if shared is not None:
            found = query @ shared.keys.transpose(-1, -2)
            if shared_mask is not None:
                found = found.masked_fill(~shared_mask[:, None, None, :], -torch.inf)
            scores.append(found)
        if own is not None:
            scores.append(torch.einsum("uhbw,ubhtw->uhbt", query, own.keys))
        weights = torch.cat(scores, dim=-1).softmax(-1)
        split = torch.split(weights, [part.shape[-1] for part in scores], dim=-1)
        if shared is not None:
            values.append(split[0] @ shared.values)
        if own is not None:
            values.append(torch.einsum("uhbt,ubhtw->uhbw", split[-1], own.values))
        return self._joined(torch.stack(values).sum(0).transpose(1, 2))

    def _split(self, states: Tensor) -> Tensor:
        """``[n, t, d]`` to ``[n, heads, t, width]``."""
        return states.view(*states.shape[:2], self.heads, -1).transpose(1, 2)

    def _joined(self, attended: Tensor) -> Tensor:
        """``[n, t, heads, width]`` to ``[n, t, d]``."""
        result: Tensor = self.dropout(self.output(attended.flatten(2)))
        return result
