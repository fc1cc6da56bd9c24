"""One token per code, behind the vocabulary of a language model.

A code of level 1 is written ``<a_17>``, one of level 2 ``<b_3>``: the form in which published
semantic IDs come, too. The tokens are special ones, so that texts that hold such letters can be
told from IDs, and no answer that is text ever shows them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmrec.errors import ConfigError

_NOISE = 0.5  # of the spread of the vectors that were there


def code_names(sizes: Sequence[int]) -> list[str]:
    """The tokens of all codes, level after level.

    >>> code_names((2, 1))
    ['<a_0>', '<a_1>', '<b_0>']
    """
    letters = "abcdefghijklmnop"
    if len(sizes) > len(letters):
        raise ConfigError(f"semantic IDs have {len(sizes)} levels; at most {len(letters)} can be.")
    return [
        f"<{letter}_{code}>"
        for letter, size in zip(letters, sizes, strict=False)
        for code in range(size)
    ]


def add_codes(model: Any, tokenizer: Any, sizes: Sequence[int]) -> int:
    """Give a model and its tokenizer a token per code.

    The new vectors are drawn around the mean of those that were there. Where the model had room for
    more tokens than its tokenizer knew, that room is used first.

    Args:
        model: A causal language model; changed in place.
        tokenizer: Its tokenizer; changed in place.
        sizes: Codes per level.

    Returns:
        The token of the first code of the first level; all others follow it.

    Raises:
        ConfigError: The tokenizer has such tokens already.
    """
    names, first = code_names(sizes), len(tokenizer)
    if tokenizer.add_tokens(names, special_tokens=True) != len(names):
        raise ConfigError(
            "the tokenizer of the language model has tokens like <a_0> already; start from a model "
            "that has not learnt semantic IDs."
        )
    if tokenizer.convert_tokens_to_ids([names[0], names[-1]]) != [first, first + len(names) - 1]:
        raise ConfigError("the tokenizer does not number new tokens in order; use another model.")
    width = model.get_input_embeddings().weight.shape[0]
    if first + len(names) > width:
        model.resize_token_embeddings(first + len(names), mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        _draw(layer.weight, first, first + len(names))
    return first


def code_tokens(codes: npt.NDArray[np.int32], sizes: Sequence[int], first: int) -> torch.Tensor:
    """Tokens of items: ``[items, levels]`` codes to ``[items + 1, levels]`` int64, row 0 unused."""
    starts = first + np.cumsum([0, *sizes[:-1]])
    return torch.from_numpy(np.pad(codes.astype(np.int64) + starts, ((1, 0), (0, 0))))


@torch.no_grad()
def _draw(weight: torch.Tensor, first: int, stop: int) -> None:
    known = weight[:first].float()
    spread = known.std(0, keepdim=True) * _NOISE
    drawn = known.mean(0, keepdim=True) + spread * torch.randn(stop - first, weight.shape[1])
    weight[first:stop] = drawn.to(weight)
