"""A causal language model as the model of a beam search, without a copy of the prompt per beam.

A user's beams are further tokens of one and the same text: each sees the prompt, the tokens its own
path has written, and itself, which a mask says. Keys and values are kept once; where beams are
reordered, masks are, and no cache is. Any model of transformers that takes a mask per query and
positions will do; :mod:`~llmrec.recommenders.onerec.language.agreement` finds out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from llmrec.recommenders.onerec.beam import StepScores
from llmrec.recommenders.onerec.language.texts import Prompts


@dataclass(eq=False)
class LanguageState:
    """What a language model knows of its users during a search.

    Attributes:
        cache: Keys and values of prompts and of everything all beams have written.
        visible: ``[users, beams, tokens]`` bool: which of these tokens each beam's path is.
        place: ``[users]`` int64 position of the next token.
        logits: ``[users, 1, vocabulary]`` after the prompts.
    """

    cache: Any
    visible: Tensor
    place: Tensor
    logits: Tensor


class LanguageSteps:
    """Implements :class:`~llmrec.recommenders.onerec.beam.Decoder`.

    Args:
        model: A causal language model in evaluation mode.
        prompts: How histories are written.
        first: Token of the first code of the first level; the others follow it.
        sizes: Codes per level.
    """

    def __init__(self, model: Any, prompts: Prompts, first: int, sizes: Sequence[int]) -> None:
        self._model, self._prompts, self._sizes = model, prompts, tuple(sizes)
        self._first = [first + sum(self._sizes[:level]) for level in range(len(sizes))]

    @torch.inference_mode()
    def begin(self, history: Tensor) -> LanguageState:
        """Read histories ``[users, n]`` of item codes, oldest first, 0 after the end."""
        tokens, mask = self._prompts.histories(history)
        cache, lengths = DynamicCache(), mask.sum(1)
        out = self._model(
            input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True
        )
        rows = torch.arange(len(tokens), device=tokens.device)
        last = out.logits[rows, lengths - 1]
        return LanguageState(cache, mask.bool()[:, None], lengths, last[:, None])

    @torch.inference_mode()
    def step(
        self, state: LanguageState, level: int, codes: Tensor | None, parents: Tensor | None
    ) -> StepScores:
        """Take in the codes chosen last and score the next level; see the protocol."""
        logits = state.logits
        if codes is not None and parents is not None:
            logits = self._feed(state, codes + self._first[level - 1], parents)
        first = self._first[level]
        normalizer = logits.float().logsumexp(-1)
        return StepScores(logits[..., first : first + self._sizes[level]], normalizer)

    def _feed(self, state: LanguageState, tokens: Tensor, parents: Tensor) -> Tensor:
        """Logits after one more token of every beam, ``[users, beams, vocabulary]``."""
        users, beams = tokens.shape
        rows = torch.arange(users, device=tokens.device)[:, None]
        itself = torch.eye(beams, dtype=torch.bool, device=tokens.device).expand(users, -1, -1)
        state.visible = torch.cat([state.visible[rows, parents], itself], dim=2)
        kind = self._model.dtype
        closed = torch.zeros(state.visible.shape, dtype=kind, device=tokens.device)
        closed.masked_fill_(~state.visible, torch.finfo(kind).min)
        out = self._model(
            input_ids=tokens,
            attention_mask=closed[:, None],
            position_ids=state.place[:, None].expand(-1, beams),
            past_key_values=state.cache,
            use_cache=True,
        )
        state.place = state.place + 1
        logits: Tensor = out.logits
        return logits
