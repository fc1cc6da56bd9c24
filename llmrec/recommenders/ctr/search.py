"""The general search unit of SIM: the events of a long history that are like the target.

Similarity is the product of unit vectors of items that are known before training: of who chose
them, of their texts, or given by the caller. The search itself learns nothing.
"""

import numpy as np
import torch
from torch import Tensor

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.recommenders.ctr.features import Float32


def co_occurrence_vectors(histories: Histories, dim: int) -> Float32:
    """Unit vectors ``[items + 1, dim]`` of items by the people who chose them.

    The left singular vectors, times the singular values, of the items x users matrix whose rows
    are scaled to length 1: the cosine of two rows is the share of people in common. Items without
    events, and code 0, are all zeros.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds

    n_items, n_users = len(histories.vocabulary), len(histories)
    there = np.ones(histories.items.size, dtype=np.float64)
    place = (histories.items - 1, row_of_each(histories.offsets))
    chosen = csr_matrix((there, place), shape=(n_items, n_users))
    chosen.data[:] = 1.0  # an item chosen twice counts once
    lengths = np.sqrt(np.asarray(chosen.sum(axis=1))).ravel()
    scaled = chosen.multiply(1 / np.maximum(lengths, 1)[:, None]).tocsr()
    smaller = min(n_items, n_users)
    if dim < smaller:
        left, values, _ = svds(scaled, k=dim, v0=np.ones(smaller))
    else:  # svds cannot give all of them
        left, values, _ = np.linalg.svd(scaled.toarray(), full_matrices=False)
    vectors = np.zeros((n_items + 1, dim), dtype=np.float32)
    vectors[1:, : values.size] = left * values
    return unit_rows(vectors)


def text_vectors(catalog: Catalog) -> Float32:
    """Unit vectors ``[items + 1, dim]`` of the catalog's titles and categories (hashed TF-IDF)."""
    from llmrec.retrieval.tfidf import HashedTfidf

    columns = [c for c in ("title", "category", "description") if c in catalog.frame.columns]
    parts = [catalog.texts(column).to_list() for column in columns]
    texts = [". ".join(filter(None, row)) for row in zip(*parts, strict=True)]
    found = HashedTfidf().fit(texts).encode(texts)
    return unit_rows(np.concatenate([np.zeros_like(found[:1]), found]))


def unit_rows(vectors: Float32) -> Float32:
    """Rows scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def most_similar(vectors: Tensor, history: Tensor, items: Tensor, rows: Tensor, k: int) -> Tensor:
    """Positions of the events of each pair's history that are most like its target.

    Args:
        vectors: ``[items + 1, d]`` unit vectors.
        history: ``[b, L]`` item codes, 0 after the last.
        items: ``[p]`` item codes.
        rows: ``[p]`` history of each pair.
        k: Events to keep.

    Returns:
        ``[p, min(k, L)]`` positions in time order; of equally similar events the newer ones.
        Padding comes only where a history has fewer events.
    """
    length = history.shape[1]
    keys = vectors[history]
    found = torch.einsum("pd,pld->pl", vectors[items], keys[rows])
    # rounding is coarse enough that equal items stay equal, and then the newer event wins; float32
    # could not tell the places of a long history beside such large numbers
    places = torch.arange(length, device=found.device, dtype=torch.float64)
    ranked = (found * 2**16).round().double() + places / (2 * length)
    ranked = ranked.masked_fill(history[rows] == 0, -torch.inf)
    return ranked.topk(min(k, length), dim=1).indices.sort(dim=1).values
