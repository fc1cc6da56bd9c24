"""One pass of a transformers model: positions, masks and the logits that are wanted."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from llmrec.inference.hf_cache import new_cache, slides

LOGITS_AT_ONCE = 2**26
"""Most logits a pass makes: 256 MiB in float32."""


class Forward:
    """Calls a causal language model.

    Args:
        model: A transformers model in evaluation mode.
        vocab_size: Width of its logits.

    Raises:
        ConfigError: The model keeps a state that texts cannot share.
    """

    def __init__(self, model: Any, vocab_size: int) -> None:
        new_cache(model.config)  # refuses before the first request does
        self._model = model
        self.vocab_size = vocab_size
        self.device: torch.device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._cuts_logits = "logits_to_keep" in accepted

    def cache(self) -> DynamicCache:
        """An empty cache for this model."""
        return new_cache(self._model.config)

    def can_pack(self, cache: DynamicCache) -> bool:
        """Whether texts that share a prompt may be laid behind each other in one row.

        The attention must take any mask, and no layer may count distance by place in the row.
        """
        implementation = self._model.config._attn_implementation
        return self._takes_positions and implementation == "sdpa" and not slides(cache)

    def __call__(
        self,
        ids: Tensor,
        mask: Tensor | None,
        cache: DynamicCache,
        *,
        keep: int,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Read tokens and append them to the cache.

        Args:
            ids: ``[B, T]``.
            mask: ``[B, earlier + T]`` 1 for a token and 0 for padding, ``[B, 1, T, earlier + T]``
                bool of what each token sees, or None where there is no padding before a token.
            cache: What was read earlier; these tokens are added.
            keep: At how many last positions logits are wanted.
            positions: ``[B, T]``; None counts the tokens that are no padding.

        Returns:
            ``[B, keep, V]`` logits as the model gives them.
        """
        given: dict[str, Any] = {"input_ids": ids, "past_key_values": cache, "use_cache": True}
        if mask is not None:
            given["attention_mask"] = mask
            if positions is None:
                positions = (mask.cumsum(1) - 1).clamp_(min=0)[:, -ids.shape[1] :]
        if self._takes_positions and positions is not None:
            given["position_ids"] = positions
        if self._cuts_logits:
            given["logits_to_keep"] = keep
        logits: Tensor = self._model(**given).logits
        return logits[:, -keep:]
