"""Vectors for items without training events, from the items whose texts are nearest.

Such an item's own vector is where it was initialised; training only ever pushed it away as a
negative. It is given the mean of its nearest trained items' vectors, weighted by cosine.
"""

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.histories import Histories
from llmrec.recommenders.sasrec.encoder import SequenceEncoder
from llmrec.retrieval.faiss_index import neighbor_index
from llmrec.retrieval.neighbors import nearest

_NEIGHBORS = 10


@torch.no_grad()
def fill_cold_items(
    encoder: SequenceEncoder, train: Histories, vectors: npt.NDArray[np.float32]
) -> int:
    """Replace the vectors of cold items that have a text, in place.

    Args:
        encoder: The trained network.
        train: Its training histories.
        vectors: ``[items, D]`` text vectors.

    Returns:
        How many items were given a vector.
    """
    events = np.bincount(train.items, minlength=len(vectors) + 1)[1:]
    cold, warm = np.flatnonzero(events == 0), np.flatnonzero(events > 0)
    if not cold.size or not warm.size:
        return 0
    found = nearest(neighbor_index(vectors[warm]), vectors[cold], _NEIGHBORS)
    weights = np.where(found.used, np.maximum(found.scores, 0), 0).astype(np.float32)
    total = weights.sum(1, keepdims=True)
    filled = np.flatnonzero(total[:, 0] > 0)
    table = encoder.items.weight
    shares = torch.from_numpy(weights[filled] / total[filled]).to(table.device)
    rows = torch.from_numpy(warm[np.maximum(found.rows[filled], 0)]).to(table.device)
    table[torch.from_numpy(cold[filled]).to(table.device)] = torch.einsum(
        "nk,nkd->nd", shares, table[rows]
    )
    return int(filled.size)
