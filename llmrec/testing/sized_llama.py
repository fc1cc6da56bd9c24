"""Llamas of a given size with random weights, for measurements: nothing is downloaded.

A text of ``n`` characters is ``n`` tokens. What such a model says means nothing; how long it takes
does not depend on that. The operations it needs are counted by formula: multiply-adds of matrix
products, two operations each. Norms, softmax, rotations and activation functions are left out, so a
time computed from them is a lower bound.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerBase

_FIRST = 0x20000
"""Characters from here on stand for tokens: 131,072 of them follow without a gap."""


@dataclass(frozen=True)
class LlamaShape:
    """Size of a Llama whose output layer shares the embedding's weights.

    Attributes:
        width: Of the hidden states, ``h``.
        feed_forward: Width inside the feed-forward layer, ``i``.
        layers: Blocks, ``L``.
        heads: Attention heads, ``n``.
        kv_heads: Heads of keys and values, ``m``.
        vocab_size: Tokens, ``V``.
        context: Most tokens of a text.
        head_dim: Width of a head, ``e``.
    """

    width: int = 512
    feed_forward: int = 1536
    layers: int = 8
    heads: int = 8
    kv_heads: int = 8
    vocab_size: int = 8192
    context: int = 1024
    head_dim: int = 64

    @property
    def block_weights(self) -> int:
        """Weights of the matrices of all blocks: ``L (2 h e (n + m) + 3 h i)``."""
        attention = 2 * self.width * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.width * self.feed_forward)

    @property
    def weights(self) -> int:
        """All weights: those of the blocks, ``V h`` of the embedding, ``(2 L + 1) h`` of norms."""
        return self.block_weights + self.width * (self.vocab_size + 2 * self.layers + 1)

    def forward_flops(self, tokens: int, pairs: int, scored: int) -> float:
        """Operations of reading tokens: ``2 W T + 4 L n e P + 2 h V S``, ``W`` the block weights.

        Args:
            tokens: ``T``, tokens that go through the blocks.
            pairs: ``P``, pairs of a token and a token that it sees, itself included.
            scored: ``S``, positions at which logits are made.
        """
        attention = 4 * self.layers * self.heads * self.head_dim * pairs
        return float(
            2 * self.block_weights * tokens + attention + 2 * self.width * self.vocab_size * scored
        )

    def config(self) -> "LlamaConfig":
        """The shape as transformers wants it."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            max_position_embeddings=self.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
        )


def pairs_behind(before: int, tokens: int) -> int:
    """Pairs of ``tokens`` new tokens, each of which sees ``before`` others and those up to itself.

    >>> pairs_behind(10, 2)
    23
    """
    return tokens * before + tokens * (tokens + 1) // 2


def character_tokenizer(vocab_size: int) -> "PreTrainedTokenizerBase":
    """A tokenizer of one token per character; token 0 ends a text."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = {"<eos>": 0} | {chr(_FIRST + token): token for token in range(1, vocab_size)}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def random_text(length: int, vocab_size: int, rng: np.random.Generator) -> str:
    """A text of ``length`` tokens."""
    return "".join(chr(_FIRST + token) for token in rng.integers(1, vocab_size, length))


def save_sized_llama(folder: Path, shape: LlamaShape, seed: int = 0) -> Path:
    """Write a model and its tokenizer.

    Args:
        folder: Where to; made if missing.
        shape: Its size.
        seed: Of the weights.

    Returns:
        The folder.
    """
    import torch
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM(shape.config())
    model.save_pretrained(folder)
    character_tokenizer(shape.vocab_size).save_pretrained(str(folder))
    return Path(folder)
