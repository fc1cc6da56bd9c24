"""A T5 of Hugging Face as the model of a beam search, without copies of a user per beam.

The encoder runs once per user. In cross-attention the beams of a user are so many queries on the
same keys and values; only the few positions that a beam has written itself are kept per beam. The
weights and layers are those of the model; ``generate`` and the model's generation settings take no
part.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.recommenders.onerec.beam import StepScores

Vocabulary = Literal["all", "level"]


@dataclass(eq=False)
class T5State:
    """What a T5 knows during a search.

    Attributes:
        cross: Per layer, keys and values of the encoded users, ``[users, heads, length, width]``.
        mask: ``[users, 1, 1, length]``: 0, or a large negative number where there is padding.
        own: Per layer, keys and values of what each beam has written, ``[users, beams, heads,
            positions, width]``; empty before the first step.
    """

    cross: list[tuple[Tensor, Tensor]]
    mask: Tensor
    own: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class T5Steps:
    """A T5 whose vocabulary holds one block of tokens per level.

    Args:
        model: A ``T5ForConditionalGeneration`` in evaluation mode.
        first_tokens: The token of code 0 of every level.
        sizes: Codes per level.
        start_token: Start of an item; None takes the model's decoder start.
        normalize_over: ``"all"``: every token of the vocabulary, as ``generate`` does; ``"level"``:
            the tokens of the level.

    Raises:
        ConfigError: The model would apply dropout, or a block lies outside of its vocabulary.
    """

    def __init__(
        self,
        model: Any,
        first_tokens: Sequence[int],
        sizes: Sequence[int],
        start_token: int | None = None,
        normalize_over: Vocabulary = "all",
    ) -> None:
        if model.training:
            raise ConfigError("the T5 is in training mode; call model.eval() before searching.")
        for level, (first, size) in enumerate(zip(first_tokens, sizes, strict=True)):
            if first < 0 or first + size > model.config.vocab_size:
                raise ConfigError(
                    f"the tokens {first} to {first + size - 1} of level {level} are not in the "
                    f"model's vocabulary of {model.config.vocab_size}."
                )
        self._model, self._config = model, model.config
        self._first, self._sizes = tuple(first_tokens), tuple(sizes)
        start = model.config.decoder_start_token_id if start_token is None else start_token
        self._start = int(start)
        self._normalize_over = normalize_over
        scaled = getattr(model.config, "scale_decoder_outputs", model.config.tie_word_embeddings)
        self._scale = float(model.config.d_model) ** -0.5 if scaled else 1.0

    @torch.inference_mode()
    def encode(self, tokens: Tensor, mask: Tensor | None = None) -> T5State:
        """Encode users.

        Args:
            tokens: ``[users, length]`` input tokens.
            mask: ``[users, length]``: 1 for tokens, 0 for padding; None for no padding.
        """
        encoded = self._model.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        cross = []
        for block in self._model.decoder.block:
            attention = block.layer[1].EncDecAttention
            cross.append((self._heads(attention.k(encoded)), self._heads(attention.v(encoded))))
        closed = torch.zeros_like(tokens) if mask is None else 1 - mask
        lowest = torch.finfo(encoded.dtype).min
        return T5State(cross, (closed.to(encoded.dtype) * lowest)[:, None, None, :])

    @torch.inference_mode()
    def step(
        self, state: T5State, level: int, codes: Tensor | None, parents: Tensor | None
    ) -> StepScores:
        """See :class:`~llmrec.recommenders.onerec.beam.Decoder`."""
        hidden = self._model.shared(self._tokens(state, level, codes))
        positions = hidden.shape[2]
        before = state.own[0][0].shape[3] if state.own else 0
        bias = self._self_bias(before, positions, hidden)
        own = self._reordered(state, parents)
        state.own = []
        for number, block in enumerate(self._model.decoder.block):
            earlier = own[number] if own else None
            hidden, written = self._own_attention(block.layer[0], hidden, earlier, bias)
            state.own.append(written)
            hidden = self._cross_attention(block.layer[1], hidden, state, number)
            hidden = block.layer[2](hidden)
        last = self._model.decoder.final_layer_norm(hidden[:, :, -1]) * self._scale
        first, size = self._first[level], self._sizes[level]
        head = self._model.lm_head
        if self._normalize_over == "level":
            return StepScores.of_level(
                nn.functional.linear(last, head.weight[first : first + size])
            )
        logits = head(last)
        normalizer = logits.float().logsumexp(-1)
        return StepScores(logits[..., first : first + size], normalizer)

    def _tokens(self, state: T5State, level: int, codes: Tensor | None) -> Tensor:
        """``[users, beams, positions]`` what the model has to take in."""
        if codes is None:
            return state.mask.new_full((len(state.mask), 1, 1), self._start, dtype=torch.int64)
        taken = codes + self._first[level - 1]  # level 0 follows the last one
        if level:
            return taken[..., None]
        return torch.stack([taken, torch.full_like(taken, self._start)], dim=-1)

    def _heads(self, values: Tensor) -> Tensor:
        """``[rows, positions, heads * width]`` to ``[rows, heads, positions, width]``."""
        return values.view(*values.shape[:2], self._config.num_heads, -1).transpose(1, 2)

    def _self_bias(self, before: int, positions: int, hidden: Tensor) -> Tensor:
        """Relative positions, and nothing later than the query: ``[1, heads, new, all]``."""
        attention = self._model.decoder.block[0].layer[0].SelfAttention
        bias: Tensor = attention.compute_bias(
            positions, before + positions, device=hidden.device, past_seen_tokens=before
        )
        later = torch.ones(positions, before + positions, dtype=torch.bool, device=hidden.device)
        return bias.masked_fill(later.triu(before + 1), torch.finfo(bias.dtype).min)

    def _reordered(self, state: T5State, parents: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """What each beam's parent has written, layer by layer."""
        if parents is None:
            return []
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        return [(keys[rows, parents], values[rows, parents]) for keys, values in state.own]

    def _own_attention(
        self, layer: Any, hidden: Tensor, own: tuple[Tensor, Tensor] | None, bias: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Self-attention of every beam on itself; returns the beams' new keys and values."""
        attention = layer.SelfAttention
        users, beams = hidden.shape[:2]
        flat = layer.layer_norm(hidden).flatten(0, 1)
        parts = (attention.q, attention.k, attention.v)
        query, key, value = (self._heads(part(flat)) for part in parts)
        if own is not None:
            key = torch.cat([own[0].flatten(0, 1), key], dim=2)
            value = torch.cat([own[1].flatten(0, 1), value], dim=2)
        mixed = _attend(query, key, value, bias)
        shape = (users, beams, *key.shape[1:])
        written = key.view(shape), value.view(shape)
        return hidden + attention.o(mixed).view_as(hidden), written

    def _cross_attention(self, layer: Any, hidden: Tensor, state: T5State, number: int) -> Tensor:
        """All beams and positions of a user are queries on the user's keys and values."""
        attention = layer.EncDecAttention
        query = self._heads(attention.q(layer.layer_norm(hidden).flatten(1, 2)))
        mixed = _attend(query, *state.cross[number], state.mask)
        result: Tensor = hidden + attention.o(mixed).view_as(hidden)
        return result


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention without scaling, as in T5: ``[rows, positions, heads * width]``."""
    weights = torch.softmax(query @ key.transpose(2, 3) + bias, dim=-1)
    return (weights @ value).transpose(1, 2).flatten(2)
