"""Given tokens as an answer: how texts are scored without vLLM's ``prompt_logprobs``.

vLLM loads :class:`ForcedTokens` into its workers (``logits_processors``). A request that names
tokens gets exactly these as its answer, one per step, and their log-probabilities are those of the
raw logits, because vLLM takes them before any processor acts. A prompt that many continuations
share is computed once, which ``prompt_logprobs`` forbids, and adapters may be mixed, which crashes
there (0.32 on CPU, where an adapter may reach the last layer).
"""

from typing import Any

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from llmrec.inference.vllm_params import FORCED_TOKENS

_Row = tuple[list[int], list[int]]
"""The tokens of an answer, and those it has so far, which vLLM extends."""


class ForcedTokens(LogitsProcessor):  # type: ignore[misc]  # vllm is untyped where mypy runs
    """See the module; vLLM makes it and calls it."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._rows: dict[int, _Row] = {}

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse what is no list of token ids.

        Raises:
            ValueError: As vLLM has it; a server answers with status 400.
        """
        forced = (sampling_params.extra_args or {}).get(FORCED_TOKENS)
        if forced is None:
            return
        ids = isinstance(forced, list) and all(
            type(token) is int and token >= 0 for token in forced
        )
        if not ids or len(forced) < (sampling_params.max_tokens or 0):
            raise ValueError(f"{FORCED_TOKENS} is no list of max_tokens token ids.")

    def is_argmax_invariant(self) -> bool:
        """It decides the most probable token."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the rows of the batch."""
        process_dict_updates(self._rows, batch_update, _row_of)

    def apply(self, logits: Tensor) -> Tensor:
        """Leave one token per forced row: ``[B, V]``, changed in place."""
        if not self._rows:
            return logits
        rows = torch.tensor(list(self._rows), device=logits.device)
        tokens = [forced[len(given)] for forced, given in self._rows.values()]
        logits[rows] = -torch.inf
        logits[rows, torch.tensor(tokens, device=logits.device)] = 0.0
        return logits


def _row_of(params: SamplingParams, prompt: list[int] | None, given: list[int]) -> _Row | None:
    forced = (params.extra_args or {}).get(FORCED_TOKENS)
    return None if forced is None else (forced, given)
