"""From histories to items: searches for many users, and exact scores of given lists."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.histories import Histories
from llmrec.recommenders.onerec.beam import BeamLists, beam_search
from llmrec.recommenders.onerec.generator.forms import search_steps
from llmrec.recommenders.onerec.generator.network import Generator
from llmrec.recommenders.onerec.generator.rows import padded
from llmrec.recommenders.onerec.limits import Exclusions, Limits
from llmrec.recommenders.onerec.trie import Trie

FloatArray = npt.NDArray[np.float32]
_USERS_AT_ONCE = 128


def read_histories(generator: Generator, histories: Histories) -> Tensor:
    """The newest items of every history, ``[n, longest]`` int64, 0 after the end.

    A generator without encoder needs places for what it writes: its histories are cut so that the
    list ends within the places it has learnt.
    """
    config = generator.config
    newest = config.history
    if generator.recency is None:
        newest = max(1, config.history + 1 - config.session)
    cut = histories.last(newest)
    device = generator.places.weight.device
    return padded(cut.items, cut.offsets[:-1], cut.lengths).to(device)


def search(
    generator: Generator,
    trie: Trie,
    histories: Histories,
    width: int,
    items: int = 1,
    exclude_seen: bool = False,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Iterator[tuple[slice, BeamLists]]:
    """Search for every user, some users at a time.

    Args:
        generator: In evaluation mode.
        trie: The semantic IDs.
        histories: What users did.
        width: Beams per user.
        items: Items per list.
        exclude_seen: Refuse the items of the whole history.
        allowed: ``[items]`` what may be recommended, or None for everything.

    Yields:
        Rows of ``histories``, and their lists.
    """
    if allowed is not None:
        trie = trie.restrict(allowed)
    steps = search_steps(generator)
    for start in range(0, len(histories), _USERS_AT_ONCE):
        block = histories.block(start, start + _USERS_AT_ONCE)
        limits: Limits | None = None
        if exclude_seen:
            limits = Exclusions.of_items(trie, block.items, block.offsets)
        found = beam_search(
            steps,
            steps.begin(read_histories(generator, block)),
            trie,
            users=len(block),
            width=width,
            items=items,
            limits=limits,
        )
        yield slice(start, start + len(block)), found


@torch.inference_mode()
def candidate_scores(
    generator: Generator, histories: Histories, codes: npt.NDArray[np.int32]
) -> FloatArray:
    """Exact log-probabilities of candidates as the next item.

    Args:
        generator: In evaluation mode.
        histories: ``[n]`` what users did.
        codes: ``[n, C]`` item codes; 0 gets any score.

    Returns:
        ``[n, C]`` float32.
    """
    steps = search_steps(generator)
    scores = np.empty(codes.shape, dtype=np.float32)
    device = generator.codes.device
    for start in range(0, len(histories), _USERS_AT_ONCE):
        block = histories.block(start, start + _USERS_AT_ONCE)
        items = torch.from_numpy(codes[start : start + len(block)].astype(np.int64)).to(device)
        ids = generator.codes[items]  # [n, C, levels]
        state = steps.begin(read_histories(generator, block))
        total = torch.zeros(items.shape, device=device)
        for level in range(generator.levels):
            taken = None if level == 0 else ids[..., level - 1]
            parents = None if level == 0 else _parents(level, items)
            found = steps.step(state, level, taken, parents)
            logits = found.logits.float().expand(*items.shape, -1)
            chosen = logits.gather(2, ids[..., level, None]).squeeze(2)
            total += chosen - found.log_normalizer
        scores[start : start + len(block)] = total.cpu().numpy()
    return scores


def _parents(level: int, items: Tensor) -> Tensor:
    """Which beam each candidate continues: at first all share the one that begins the item."""
    if level == 1:
        return torch.zeros_like(items)
    return torch.arange(items.shape[1], device=items.device).expand(items.shape)
