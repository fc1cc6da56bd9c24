"""Which token comes next: the one place where decoding parameters act on logits.

A row's choice depends on its logits, its parameters and its own generator; other rows of a batch
play no part. Probabilities are taken as temperature, then ``top_k``, then ``top_p`` of what is
left; tokens tied with the last one inside are inside too. There are no penalties and no biases.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from llmrec.inference.requests import Decoding

NO_CHOICE = -1
"""Stands for the token of a row that has none: NaN, plus infinity, or nothing but -infinity."""


def choose(
    logits: Tensor, decodings: Sequence[Decoding], generators: Sequence[torch.Generator | None]
) -> Tensor:
    """Choose one token per row.

    Args:
        logits: ``[B, V]`` float32 as the model gives them; -inf for a token that cannot come.
        decodings: One per row.
        generators: One per row, see :func:`generator_of`; a sampled row draws one number from its
            own.

    Returns:
        ``[B]`` int64 ids, :data:`NO_CHOICE` where a row allows none.
    """
    best, ids = logits.max(dim=-1)
    usable = torch.isfinite(best)
    sampled = [row for row, decoding in enumerate(decodings) if decoding.temperature > 0]
    if sampled:
        rows = torch.tensor(sampled, device=logits.device)
        draws = torch.stack([_draw(generators[row]) for row in sampled]).to(logits.device)
        relative = torch.where(usable[rows, None], logits[rows] - best[rows, None], 0.0)
        ids[rows] = _sample(relative, [decodings[row] for row in sampled], draws)
    return ids.masked_fill(~usable, NO_CHOICE)


def generator_of(decoding: Decoding) -> torch.Generator | None:
    """The random numbers of one answer, the same on every device; None where nothing is drawn."""
    if decoding.temperature == 0 or decoding.seed is None:
        return None
    return torch.Generator().manual_seed(decoding.seed % 2**63)


def _draw(generator: torch.Generator | None) -> Tensor:
    return torch.rand((), generator=generator, dtype=torch.float64)


def _sample(relative: Tensor, decodings: Sequence[Decoding], draws: Tensor) -> Tensor:
    """Invert the distribution at ``draws``; ``relative`` is ``[S, V]``, at most 0 in every row."""
    device, width = relative.device, relative.shape[1]
    temperatures = [decoding.temperature for decoding in decodings]
    scaled = relative.double() / torch.tensor(temperatures, device=device).double()[:, None]
    if any(decoding.top_k or decoding.top_p < 1 for decoding in decodings):
        kept = [min(decoding.top_k or width, width) for decoding in decodings]
        shares = [decoding.top_p for decoding in decodings]
        scaled = _restrict(scaled, torch.tensor(kept, device=device), shares)
    # in the order of the vocabulary: an order by probability would hang on rounding at near-ties
    mass = scaled.softmax(dim=-1).cumsum(dim=-1)
    total = mass[:, -1:]
    at = torch.minimum(draws[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    found: Tensor = torch.searchsorted(mass, at, right=True).squeeze(1)
    return found


def _restrict(scaled: Tensor, kept: Tensor, shares: Sequence[float]) -> Tensor:
    """Put -inf outside the ``kept`` best and outside the best that make up ``shares``."""
    ordered = scaled.sort(dim=-1, descending=True).values
    edge = ordered.gather(1, kept[:, None] - 1)
    scaled = scaled.masked_fill(scaled < edge, -torch.inf)
    ordered = ordered.masked_fill(ordered < edge, -torch.inf)
    mass = ordered.softmax(dim=-1).cumsum(dim=-1)
    before = torch.cat([torch.zeros_like(mass[:, :1]), mass[:, :-1]], dim=1)
    # a share of 1 keeps everything, however the sums were rounded
    limits = [share if share < 1 else torch.inf for share in shares]
    inside = before < torch.tensor(limits, device=scaled.device).double()[:, None]
    edge = ordered.gather(1, inside.sum(dim=1, keepdim=True) - 1)
    return scaled.masked_fill(scaled < edge, -torch.inf)
