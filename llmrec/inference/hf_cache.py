"""Keys and values that several texts share.

The caches of transformers append by making new tensors, so a copy that refers to the old ones
costs nothing and leaves the original as it was. Architectures that keep another kind of state are
refused: it could be changed in place.
"""

import copy
from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from llmrec.errors import ConfigError

_SHAREABLE = (DynamicLayer, DynamicSlidingWindowLayer)


def new_cache(config: Any) -> DynamicCache:
    """An empty cache.

    Raises:
        ConfigError: The model keeps a state that is not a plain list of keys and values.
    """
    cache = DynamicCache(config=config)
    kinds = {type(layer).__name__ for layer in cache.layers if type(layer) not in _SHAREABLE}
    if kinds:
        raise ConfigError(
            f"models of type {config.model_type!r} keep {', '.join(sorted(kinds))} between tokens, "
            "which this backend cannot share between texts; use the vLLM backend for them."
        )
    return cache


def fork(cache: DynamicCache, rows: Tensor | None = None) -> DynamicCache:
    """A cache that goes its own way from here.

    Args:
        cache: Stays as it is.
        rows: Rows of the batch to take, a row as often as it is named; None takes all of them.
    """
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    if rows is not None:
        other.batch_select_indices(rows)
    return other


def slides(cache: DynamicCache) -> bool:
    """Whether a layer forgets tokens that are far back."""
    return any(isinstance(layer, DynamicSlidingWindowLayer) for layer in cache.layers)
