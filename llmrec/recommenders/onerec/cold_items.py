"""Items without training events, placed behind those that are nearest to them by content.

The last code of such an item is its own, and no training row had it as a target, so a generator
hardly ever writes it, however well it likes the codes before. An item that is liked says more.
"""

import numpy as np
import numpy.typing as npt

from llmrec.retrieval.faiss_index import neighbor_index
from llmrec.retrieval.neighbors import nearest
from llmrec.retrieval.vectors import TextVectors

FloatArray = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

_ENOUGH_EVENTS = 3  # of an item that may stand in for others


def stand_ins(vectors: TextVectors, events: npt.NDArray[np.int64]) -> Int32Array:
    """Who stands in for whom.

    Args:
        vectors: Of the items.
        events: ``[items]`` training events.

    Returns:
        ``[items + 1]`` by item code: for an item without events the code of the item nearest to it,
        of those with three events or more; 0 for items with events, without a vector, with no
        positive cosine, and for code 0.
    """
    found = np.zeros(events.size + 1, dtype=np.int32)
    known = np.flatnonzero((events >= _ENOUGH_EVENTS) & vectors.has_text)
    cold = np.flatnonzero((events == 0) & vectors.has_text)
    if known.size and cold.size:
        near = nearest(neighbor_index(vectors.values[known]), vectors.values[cold], 1)
        good = near.used[:, 0] & (near.scores[:, 0] > 0)
        found[1 + cold[good]] = 1 + known[near.rows[good, 0]]
    return found


def lift(scores: FloatArray, others: FloatArray) -> FloatArray:
    """Scores of items, of those that stand in for them just above."""
    result: FloatArray = np.maximum(scores, np.nextafter(others, np.float32(-np.inf)))
    return result


def lift_catalog(scores: FloatArray, standing: Int32Array) -> None:
    """Lift the scores ``[n, items]`` of items that somebody stands in for, in place."""
    cold = np.flatnonzero(standing[1:])
    scores[:, cold] = lift(scores[:, cold], scores[:, standing[1:][cold] - 1])
