"""A post-norm Transformer layer, and its short form for the first state alone.

Equal to ``torch.nn.TransformerEncoderLayer(norm_first=False, activation="relu")`` with the same
weights. Where only the first state is read afterwards, the layer need not compute the others: with
``q`` the first state's query and ``W_k``, ``W_v`` a head's matrices, the scores are
``(W_k^T q) . x_i`` (the key's bias adds the same to all and cancels in the softmax) and the result
is ``W_v (sum_i a_i x_i)``, so that no key or value is ever formed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each followed by a norm.

    Args:
        width: Of the states, and inside the feed-forward layer.
        heads: Attention heads; divides ``width``.
        dropout: On attention weights, sub-layers and inside the feed-forward layer.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, width)
        self.contract = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.query_key_value.weight)
        nn.init.zeros_(self.query_key_value.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, states: Tensor, seen: Tensor | None = None) -> Tensor:
        """All states.

        Args:
            states: ``[B, N, width]``.
            seen: ``[B, N]`` bool, which states may be looked at, at least one per row; None if all
                may.

        Returns:
            ``[B, N, width]``.
        """
        split = self.query_key_value(states).unflatten(-1, (3, self.heads, -1))
        query, key, value = (part.transpose(1, 2) for part in split.unbind(2))
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if seen is None else seen[:, None, None],
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return self._after_attention(states, attended.transpose(1, 2).flatten(2))

    def first(
        self, states: Tensor, seen: Tensor | None = None, asked: Tensor | None = None
    ) -> Tensor:
        """The first state of every row: ``[B, width]``, equal to ``forward(...)[:, 0]``.

        Args:
            states: ``[B, N, width]``.
            seen: As for :meth:`forward`; None if all states may be looked at.
            asked: What :meth:`questions` says about the first states, where it is known already.
        """
        if asked is None:
            asked = self.questions(states[:, 0])
        scores = asked @ states.transpose(1, 2)  # [B, heads, N]
        if seen is not None:
            scores = scores.masked_fill(~seen[:, None], float("-inf"))
        weights = self._dropped(scores.softmax(dim=-1))
        mixed = weights @ states  # [B, heads, width]
        _, _, into_value = self._per_head()
        values = (mixed.transpose(0, 1) @ into_value.transpose(1, 2)).transpose(0, 1)
        bias = self.query_key_value.bias.view(3, self.heads, -1)[2]
        values = values + weights.sum(-1, keepdim=True) * bias
        return self._after_attention(states[:, 0], values.flatten(1))

    def questions(self, first: Tensor) -> Tensor:
        """Vectors whose products with states are the scores, ``[B, heads, width]``.

        Args:
            first: ``[B, width]``, the first states: nothing else is needed.
        """
        into_query, into_key, _ = self._per_head()
        bias = self.query_key_value.bias.view(3, self.heads, -1)[0]
        query = torch.einsum("bw,hdw->bhd", first, into_query) + bias
        asked: Tensor = torch.einsum("bhd,hdw->bhw", query, into_key) * query.shape[-1] ** -0.5
        return asked

    def _per_head(self) -> tuple[Tensor, ...]:
        """Matrices of queries, keys and values, ``[heads, width / heads, width]`` each."""
        weight = self.query_key_value.weight.view(3, self.heads, -1, self.width)
        return weight.unbind(0)

    def _after_attention(self, states: Tensor, attended: Tensor) -> Tensor:
        states = self.attention_norm(states + self._dropped(self.output(attended)))
        inner = self._dropped(functional.relu(self.expand(states)))
        normed: Tensor = self.feed_forward_norm(states + self._dropped(self.contract(inner)))
        return normed

    def _dropped(self, values: Tensor) -> Tensor:
        """With dropout while training; one token of a stream is so little that calls count."""
        return self.dropout(values) if self.training else values
