"""Score texts: prompts in one pass, and continuations behind a prompt that is read once.

A continuation's first token is predicted by the prompt's last one, so one-token continuations need
no pass of their own. The others are packed behind each other in one row, each seeing the prompt
and itself, where the model allows that; otherwise the prompt's keys and values are repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from llmrec.inference.capture import Columns, Positions, capture
from llmrec.inference.hf_batches import batches, left_padded, right_padded
from llmrec.inference.hf_cache import fork
from llmrec.inference.hf_forward import LOGITS_AT_ONCE, Forward

_PACKED = 512
"""Tokens of one packed row: enough to fill a pass, few enough for attention among strangers."""

UseAdapters = Callable[[Sequence[str | None]], None]


@dataclass(frozen=True)
class Piece:
    """A continuation of more than one token: its number, its prompt's row, its tokens."""

    owner: int
    row: int
    ids: Sequence[int]


def score_prompts(
    forward: Forward,
    prompts: Sequence[Sequence[int]],
    k: int,
    names: Sequence[str | None],
    use_adapters: UseAdapters,
) -> list[Columns]:
    """Columns of every token of each prompt but its first; prompts have at least two tokens."""
    ids, mask = right_padded(prompts, forward.device)
    cache, found = forward.cache(), Positions()
    use_adapters(names)
    step = max(1, LOGITS_AT_ONCE // (len(prompts) * forward.vocab_size))
    for start in range(0, ids.shape[1] - 1, step):
        end = min(start + step, ids.shape[1] - 1)
        # padding comes after every token that counts, so causality is mask enough
        logits = forward(ids[:, start:end], None, cache, keep=end - start)
        wanted = mask[:, start + 1 : end + 1].bool()
        owners = wanted.nonzero()[:, 0].tolist()
        actual = ids[:, start + 1 : end + 1][wanted]
        found.add(capture(logits[wanted], actual, k), owners)
    return found.split(len(prompts))


def score_continuations(
    forward: Forward,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[Sequence[int]]],
    k: int,
    names: Sequence[str | None],
    use_adapters: UseAdapters,
    budget: int,
) -> list[Columns]:
    """Columns of every continuation, prompt after prompt.

    Args:
        forward: The model.
        prompts: Tokens of the prompts, none empty.
        continuations: Tokens of the continuations of each, none empty.
        k: Columns to keep.
        names: The adapter of each prompt.
        use_adapters: Told which adapter each row of the next passes has.
        budget: Most tokens of a pass.
    """
    ids, mask = left_padded(prompts, forward.device)
    cache, found = forward.cache(), Positions()
    use_adapters(names)
    logits = forward(ids, mask, cache, keep=1)[:, -1]
    flat = [(row, text) for row, texts in enumerate(continuations) for text in texts]
    rows = torch.tensor([row for row, _ in flat], device=forward.device)
    firsts = torch.tensor([text[0] for _, text in flat], device=forward.device)
    step = max(1, LOGITS_AT_ONCE // forward.vocab_size)
    for start in range(0, len(flat), step):
        some = slice(start, min(start + step, len(flat)))
        found.add(capture(logits[rows[some]], firsts[some], k), range(some.start, some.stop))
    longer = [Piece(owner, row, text) for owner, (row, text) in enumerate(flat) if len(text) > 1]
    tail = _Tails(forward, cache, mask, names, use_adapters)
    for columns, owners in tail.score(longer, k, budget):
        found.add(columns, owners)
    return found.split(len(flat))


class _Tails:
    """What follows the first tokens of continuations, behind prompts that were read."""

    def __init__(
        self,
        forward: Forward,
        cache: DynamicCache,
        mask: Tensor,
        names: Sequence[str | None],
        use_adapters: UseAdapters,
    ) -> None:
        self._forward, self._cache, self._mask = forward, cache, mask
        self._names, self._use_adapters = names, use_adapters

    def score(
        self, pieces: Sequence[Piece], k: int, budget: int
    ) -> Iterator[tuple[Columns, list[int]]]:
        """Columns of the tokens from each piece's second on, and whose they are."""
        packed = _PACKED if self._forward.can_pack(self._cache) else 0
        packs = _packs(pieces, packed)
        sizes = [sum(len(piece.ids) - 1 for piece in pack) for pack in packs]
        most_rows = LOGITS_AT_ONCE // (self._forward.vocab_size * max(sizes, default=1))
        before = self._mask.shape[1]
        for group in batches([before + size for size in sizes], budget, max(1, most_rows)):
            yield self._pass([packs[number] for number in group], k)

    def _pass(self, packs: Sequence[Sequence[Piece]], k: int) -> tuple[Columns, list[int]]:
        device = self._forward.device
        rows = torch.tensor([pack[0].row for pack in packs], device=device)
        fed, real = right_padded([[t for p in pack for t in p.ids[:-1]] for pack in packs], device)
        next_ids, _ = right_padded([[t for p in pack for t in p.ids[1:]] for pack in packs], device)
        sees, positions = self._layout(packs, rows)
        self._use_adapters([self._names[pack[0].row] for pack in packs])
        cache = fork(self._cache, rows)
        logits = self._forward(fed, sees, cache, keep=fed.shape[1], positions=positions)
        wanted = real.bool()
        owners = [piece.owner for pack in packs for piece in pack for _ in piece.ids[1:]]
        return capture(logits[wanted], next_ids[wanted], k), owners

    def _layout(
        self, packs: Sequence[Sequence[Piece]], rows: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """What each token sees, and its position in the text it belongs to."""
        device, prompt = self._forward.device, self._mask[rows]
        own = [[n for n, p in enumerate(pack) for _ in p.ids[1:]] for pack in packs]
        numbers, _ = right_padded(own, device)
        if all(len(pack) == 1 for pack in packs):
            return torch.cat([prompt, torch.ones_like(numbers)], dim=1), None
        offsets, _ = right_padded(
            [[at for p in pack for at in range(len(p.ids) - 1)] for pack in packs], device
        )
        among = (numbers[:, :, None] == numbers[:, None, :]).tril()
        behind = prompt.bool()[:, None, :].expand(-1, numbers.shape[1], -1)
        sees = torch.cat([behind, among], dim=2)[:, None]
        return sees, prompt.sum(dim=1, keepdim=True) + offsets


def _packs(pieces: Sequence[Piece], most: int) -> list[list[Piece]]:
    """Put pieces of one prompt together up to ``most`` tokens."""
    packs: list[list[Piece]] = []
    size = 0
    for piece in pieces:
        more = len(piece.ids) - 1
        if not packs or packs[-1][0].row != piece.row or size + more > most:
            packs.append([])
            size = 0
        packs[-1].append(piece)
        size += more
    return packs
