"""Continue a batch of prompts, token by token.

Prompts are padded on the left; answers that have ended leave the batch once they are a quarter of
it. transformers' ``generate`` is not used, so a checkpoint's generation settings cannot act.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from llmrec.inference.answering import Answers, Tokens
from llmrec.inference.hf_batches import left_padded
from llmrec.inference.hf_cache import fork
from llmrec.inference.hf_forward import Forward
from llmrec.inference.requests import GenerateRequest
from llmrec.inference.results import Generation

_CROWDED = 0.75
"""Share of rows that still go below which the others are taken out of the cache."""


def continue_batch(
    forward: Forward,
    requests: Sequence[GenerateRequest],
    prompts: Sequence[Sequence[int]],
    tokens: Tokens,
    fingerprints: Sequence[Mapping[str, Any]],
    use_adapters: Callable[[Sequence[str | None]], None],
) -> list[Generation]:
    """Answer a batch; all requests ask for the same ``logprobs``.

    Args:
        forward: The model.
        requests: The batch.
        prompts: Their tokens, none empty.
        tokens: What tokens mean.
        fingerprints: Of the records.
        use_adapters: Told which adapter each row of the next passes has.
    """
    answers = Answers(requests, prompts, tokens, fingerprints)
    ids, mask = left_padded(prompts, forward.device)
    cache = forward.cache()
    rows = answers.going
    use_adapters([request.adapter for request in requests])
    logits = forward(ids, mask, cache, keep=1)[:, -1]
    answers.advance(logits.float())
    while answers.going:
        places = _places(rows, answers.going, forward.device)
        if len(answers.going) <= _CROWDED * len(rows):
            cache, mask, rows = fork(cache, places), mask[places], answers.going
            use_adapters([requests[row].adapter for row in rows])
            places = torch.arange(len(rows), device=forward.device)
        ids = mask.new_zeros((len(rows), 1))
        ids[places, 0] = answers.last
        mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
        logits = forward(ids, mask, cache, keep=1)[:, -1]
        answers.advance(logits[places].float())
    return answers.results()


def _places(rows: Sequence[int], going: Sequence[int], device: torch.device) -> torch.Tensor:
    place_of = {row: place for place, row in enumerate(rows)}
    return torch.tensor([place_of[row] for row in going], device=device)
