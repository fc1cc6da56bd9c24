"""Ranking metrics of a search, from the items of the beam alone.

The harness scores whole catalogues. While training only places within the beam matter: here a
target's rank is counted among what the beam found, and a target outside of it is a miss.
"""

from collections.abc import Sequence

import numpy as np

from llmrec.data.ragged import row_of_each
from llmrec.data.splits import Cases
from llmrec.evaluation.metrics.ranking import TargetRanks, compute
from llmrec.recommenders.onerec.beam import top_items
from llmrec.recommenders.onerec.serving import search
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.onerec.writer import Writer


def beam_metrics(
    writer: Writer,
    trie: Trie,
    cases: Cases,
    metrics: Sequence[str],
    width: int,
    filter_seen: bool = True,
) -> dict[str, float]:
    """Mean ranking metrics over the whole catalogue.

    Equal to ranking every item by its score, as long as no metric looks further than the beam.
    Ties count half, as everywhere.

    Args:
        writer: In evaluation mode.
        trie: The semantic IDs.
        cases: Inputs and targets.
        metrics: Names of ranking metrics.
        width: Beams per user.
        filter_seen: Whether items of the input history are left out.

    Returns:
        Metric name to mean.
    """
    histories, stride = cases.histories, len(cases.histories.vocabulary) + 1
    ranks = np.full(cases.targets.size, np.inf)
    owner = row_of_each(cases.target_offsets)
    for rows, lists in search(writer, trie, histories, width, exclude_seen=filter_seen):
        codes, scores = top_items(lists, trie, min(width, trie.n_items))
        if filter_seen:  # the search closes an ID only when all of its items were seen
            block = histories.block(rows.start, rows.stop)
            seen = row_of_each(block.offsets) * stride + block.items
            users = np.arange(len(block))[:, None]
            scores[np.isin(users * stride + codes, seen)] = -np.inf
        here = slice(*np.searchsorted(owner, [rows.start, rows.stop]))
        user, target = owner[here] - rows.start, cases.targets[here]
        found = codes[user] == target[:, None]
        score = np.where(found, scores[user], -np.inf).max(1, keepdims=True)
        above = (scores[user] > score).sum(1) + ((scores[user] == score).sum(1) - 1) / 2
        ranks[here] = np.where(score[:, 0] > -np.inf, 1 + above, np.inf)
    return {name: compute(name, TargetRanks(ranks, cases.target_offsets)) for name in metrics}
