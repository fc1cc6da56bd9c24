"""Vectors for items with few or no training events, from the items whose texts are nearest.

An item without events has the vector it was initialised with; training only ever pushed it away as
a negative. One with an event or two is little better off. Both are drawn towards the mean of the
vectors of items with similar texts and more events, the more the fewer events they have.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.histories import Histories
from llmrec.recommenders.sasrec.encoder import SequenceEncoder
from llmrec.retrieval.faiss_index import neighbor_index
from llmrec.retrieval.neighbors import nearest

_NEIGHBORS = 10
_ENOUGH_EVENTS = 3  # of an item whose vector may stand in for others
_SHARPNESS = 4  # power of the cosine that a neighbour counts by


@torch.no_grad()
def fill_cold_items(
    encoder: SequenceEncoder,
    train: Histories,
    vectors: npt.NDArray[np.float32],
    text_prior: float = 0.0,
) -> dict[str, int]:
    """Replace the vectors of items without events, and blend those of items with few, in place.

    An item with ``n`` events keeps ``n / (n + text_prior)`` of its own vector. The rest is the mean
    of the vectors of its ten nearest items by text that have at least three events themselves,
    weighted by the fourth power of the cosine. Items without a text, or with no positive cosine,
    stay as they are.

    Args:
        encoder: The trained network.
        train: Its training histories.
        vectors: ``[items, D]`` text vectors.
        text_prior: How many events the texts count for; 0 changes items without events only.

    Returns:
        Under ``filled`` how many items without events were given a vector, under ``blended`` how
        many with events were changed.
    """
    events = np.bincount(train.items, minlength=len(vectors) + 1)[1:]
    known = np.flatnonzero(events >= _ENOUGH_EVENTS)
    wanted = np.flatnonzero(events == 0) if not text_prior else np.arange(len(vectors))
    if not wanted.size or not known.size:
        return {"filled": 0, "blended": 0}
    rows, weights = _text_neighbors(vectors, known, wanted)
    found = np.flatnonzero(weights.sum(1) > 0)
    wanted, rows, weights = wanted[found], rows[found], weights[found]
    own = events[wanted] / np.maximum(events[wanted] + text_prior, 1e-9)
    _blend(encoder.items.weight, wanted, rows, weights, own.astype(np.float32))
    cold = int((events[wanted] == 0).sum())
    return {"filled": cold, "blended": wanted.size - cold}


def _text_neighbors(
    vectors: npt.NDArray[np.float32], known: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """``[n, k]`` rows and their weights, which sum to 1, or to 0 where there is nobody near."""
    # one more than needed: an item that is known is its own nearest neighbour
    found = nearest(neighbor_index(vectors[known]), vectors[wanted], _NEIGHBORS + 1)
    rows = known[np.maximum(found.rows, 0)]
    used = found.used & (rows != wanted[:, None])
    used &= used.cumsum(1) <= _NEIGHBORS
    weights = np.where(used, np.maximum(found.scores, 0), 0).astype(np.float32) ** _SHARPNESS
    total = weights.sum(1, keepdims=True)
    return rows, np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _blend(
    table: Tensor,
    items: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    own: npt.NDArray[np.float32],
) -> None:
    """Make each item ``own`` of itself and the rest of its neighbours as they were before."""
    at, keep = torch.from_numpy(items).to(table.device), torch.from_numpy(own).to(table.device)
    shares, near = torch.from_numpy(weights).to(table.device), torch.from_numpy(rows)
    means = torch.einsum("nk,nkd->nd", shares, table[near.to(table.device)])
    table[at] = torch.lerp(means, table[at], keep[:, None])
