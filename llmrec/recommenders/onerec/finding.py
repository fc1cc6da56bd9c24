"""What a search finds, as scores of the whole catalogue: what an evaluation asks for.

An evaluation may leave out what a user had, or keep it, after it has the scores. A search that
knows of neither spends places of its beam on items that the user had; :func:`found_scores` sees to
it that those who had much are served as by ``recommend``, which closes such items in the search.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.recommenders.onerec.beam import BeamLists, top_items
from llmrec.recommenders.onerec.trie import Trie

FloatArray = npt.NDArray[np.float32]


class Search(Protocol):
    """The most probable items in a trie: rows of the histories, and their lists of one item."""

    def __call__(
        self, histories: Histories, trie: Trie, width: int, exclude_seen: bool = False
    ) -> Iterator[tuple[slice, BeamLists]]:
        """Search for every user, some users at a time."""


def found_scores(search: Search, trie: Trie, histories: Histories, width: int) -> FloatArray:
    """``[n, items]`` scores of what the beam finds; -inf for everything else.

    Users for whom less than half of the beam went to items that they had not are searched for
    again, with those that they had closed; both findings count.

    Args:
        search: Of the model.
        trie: The semantic IDs.
        histories: ``[n]`` what users did.
        width: Beams per user.
    """
    scores = _scores(search, trie, histories, width, False)
    new = np.isfinite(scores)
    new[row_of_each(histories.offsets), histories.items - 1] = False
    crowded = np.flatnonzero(2 * new.sum(1) < min(width, trie.n_items))
    if crowded.size:
        again = _scores(search, trie, histories.take(crowded), width, True)
        scores[crowded] = np.maximum(scores[crowded], again)
    return scores


def _scores(
    search: Search, trie: Trie, histories: Histories, width: int, exclude_seen: bool
) -> FloatArray:
    scores = np.full((len(histories), trie.n_items), -np.inf, dtype=np.float32)
    for rows, lists in search(histories, trie, width, exclude_seen):
        codes, values = top_items(lists, trie, min(width, trie.n_items))
        user, place = np.nonzero(codes)
        scores[rows][user, codes[user, place] - 1] = values[user, place]
    return scores
