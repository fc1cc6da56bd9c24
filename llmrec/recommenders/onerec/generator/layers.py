"""The layers of the generator: norms first; feed-forward layers are dense or of experts."""

import torch
from torch import Tensor, nn

from llmrec.recommenders.onerec.generator.attention import Attention, KeyValue
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.experts import Experts, SwiGLU


class EncoderLayer(nn.Module):
    """Self-attention and a dense feed-forward layer, norms first."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.dim)
        self.attention = Attention(config.dim, config.heads, config.dropout)
        self.feed_norm = nn.RMSNorm(config.dim)
        self.feed = SwiGLU(config.dim, config.feed_forward, config.dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """``[rows, t, d]`` with a mask ``[rows, t]`` of tokens, to the same shape."""
        normed = self.norm(states)
        states = states + self.attention(normed, normed, mask)
        return states + at_tokens(self.feed, self.feed_norm(states), mask)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the history where there is an encoder, feed-forward."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.dim)
        self.attention = Attention(config.dim, config.heads, config.dropout)
        self.crosses = config.form == "encoder_decoder"
        if self.crosses:
            self.cross_norm = nn.RMSNorm(config.dim)
            self.cross = Attention(config.dim, config.heads, config.dropout)
        self.feed_norm = nn.RMSNorm(config.dim)
        self.feed = _feed_forward(config)

    def forward(
        self, states: Tensor, real: Tensor | None, memory: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """``[rows, t, d]`` with a mask ``[rows, t]`` of tokens, or None, to the same shape."""
        normed = self.norm(states)
        states = states + self.attention(normed, normed, causal=True)
        if memory is not None:
            states = states + self.cross(self.cross_norm(states), memory, mask)
        return states + at_tokens(self.feed, self.feed_norm(states), real)

    def step(
        self,
        states: Tensor,
        shared: KeyValue | None,
        shared_mask: Tensor | None,
        own: KeyValue | None,
    ) -> tuple[Tensor, KeyValue]:
        """One token of every beam.

        Args:
            states: ``[users, beams, d]``.
            shared: Keys and values of the users: of the encoder's states where there is an encoder,
                of the history's tokens in this layer otherwise.
            shared_mask: ``[users, tokens]`` bool.
            own: Keys and values of what the beams have written, or None at the first token.

        Returns:
            The new states, and ``own`` with the token added.
        """
        normed = self.norm(states)
        new = self.attention.own_key_values(normed)
        if own is not None:
            new = KeyValue(
                torch.cat([own.keys, new.keys], dim=3), torch.cat([own.values, new.values], dim=3)
            )
        if self.crosses:
            states = states + self.attention.step(normed, None, None, new)
            states = states + self.cross.step(self.cross_norm(states), shared, shared_mask, None)
        else:
            states = states + self.attention.step(normed, shared, shared_mask, new)
        users, beams, dim = states.shape
        fed = self.feed(self.feed_norm(states).view(-1, dim))
        return states + fed.view(users, beams, dim), new


def at_tokens(feed: nn.Module, states: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a layer of ``[tokens, d]`` to the tokens of ``[rows, t, d]``; anything elsewhere.

    On a GPU a dense layer runs over padding too: looking for tokens would wait for the device.
    """
    if mask is None or (states.is_cuda and isinstance(feed, SwiGLU)):
        everywhere: Tensor = feed(states.flatten(0, 1))
        return everywhere.view(states.shape)
    flat = mask.flatten().nonzero().squeeze(1)
    values = feed(states.flatten(0, 1).index_select(0, flat))
    grid = torch.zeros_like(states.flatten(0, 1)).index_copy(0, flat, values)
    return grid.view(states.shape)


def _feed_forward(config: GeneratorConfig) -> nn.Module:
    if not config.experts:
        return SwiGLU(config.dim, config.feed_forward, config.dropout)
    return Experts(
        config.dim,
        config.expert_width,
        config.experts,
        config.experts_per_token,
        config.renormalize_gate,
        config.balance_rate,
        config.dropout,
    )
