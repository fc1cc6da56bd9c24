"""Lists put together by reward, for preference pairs whose better side the policy seldom writes.

The most probable lists of a policy are much alike: they hold what is likely to follow, one after
another. Among its most probable *next items* there are better lists. Greedily, the item is taken
with which the list so far is worth most to the reward model; of equals the more probable one. This
is not part of OneRec (arXiv 2502.18965), where all lists of a pair are written by the policy.
"""

import numpy as np
import torch

from llmrec.data.histories import Histories
from llmrec.recommenders.onerec.alignment.pairs import reference_log_probabilities
from llmrec.recommenders.onerec.alignment.reward import RewardModel, padded_histories
from llmrec.recommenders.onerec.alignment.rollouts import Lists
from llmrec.recommenders.onerec.serving import search, unseen_items
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.onerec.writer import Writer


@torch.inference_mode()
def composed_lists(
    writer: Writer,
    trie: Trie,
    reward: RewardModel,
    histories: Histories,
    pool: int,
    items: int,
) -> Lists:
    """One list for every history.

    Args:
        writer: In evaluation mode; says which next items are probable.
        trie: The semantic IDs.
        reward: In evaluation mode.
        histories: ``[n]``; their items are left out.
        pool: Most probable next items that are chosen from.
        items: Items per list.

    Returns:
        Lists of one per history; where fewer than ``items`` items are left, none.
    """
    codes = np.zeros((len(histories), items), dtype=np.int32)
    for rows, found in search(writer, trie, histories, pool, exclude_seen=True):
        block = histories.block(rows.start, rows.stop)
        read = padded_histories(reward, block)
        unseen = unseen_items(trie, found.leaves, block)[..., 0]
        choice = torch.from_numpy(unseen.astype(np.int64))
        codes[rows] = greedy_lists(reward, read, choice.to(read.device), items).cpu().numpy()
    scores = np.full(len(histories), -np.inf, dtype=np.float32)
    whole = np.flatnonzero((codes > 0).all(1))
    scores[whole] = reference_log_probabilities(writer, histories.take(whole), codes[whole])
    return Lists(codes[:, None], scores[:, None])


def greedy_lists(
    reward: RewardModel, history: torch.Tensor, choice: torch.Tensor, items: int
) -> torch.Tensor:
    """``[n, items]`` item codes, taken one after another from ``choice`` ``[n, c]``.

    Args:
        reward: In evaluation mode.
        history: ``[n, h]`` item codes, 0 after the end.
        choice: Item codes, the first of equals is taken; 0 is no item.
        items: Items per list; 0 where the choice is used up.
    """
    written = choice[:, :0]
    left = choice > 0
    for _ in range(items):
        worth = reward.extended(history, written, choice).masked_fill(~left, -torch.inf)
        place = worth.argmax(1, keepdim=True)
        there = left.gather(1, place)
        written = torch.cat([written, choice.gather(1, place) * there], dim=1)
        left = left.scatter(1, place, False)
    return written
