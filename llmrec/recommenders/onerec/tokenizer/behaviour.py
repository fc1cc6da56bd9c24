"""Vectors that also say which items the same people take one after another.

Texts say what an item is; what people do with it is another matter, and the paper's item vectors
know both (OneRec, arXiv 2502.18965, section 3.1: embeddings aligned with behaviour). Here the
second half comes from counts: how much more often than by chance two items lie near each other in
training histories (positive pointwise mutual information, as in Levy and Goldberg, 2014), reduced
by an SVD. Nothing is trained and nothing later than the training events is looked at.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from llmrec.data.hashing import hash_arrays
from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds, seen_with
from llmrec.retrieval.vectors import TextVectors

FloatArray = npt.NDArray[np.float32]


def with_behaviour(
    vectors: TextVectors, train: Histories, weight: float, dim: int = 64, seed: int = 0
) -> TextVectors:
    """Put vectors of behaviour beside those of texts.

    Args:
        vectors: Vectors of the items of ``train.vocabulary``.
        train: The training events.
        weight: Length of the half about behaviour where that about texts has length 1. Items with
            few neighbours get less of it, items without any none.
        dim: Numbers that tell of behaviour.
        seed: Of the SVD's start.

    Raises:
        ConfigError: ``weight`` is not above 0, or ``dim`` is not below the number of items.
        DataError: The vectors are of other items.
    """
    if weight <= 0 or not 1 <= dim < len(train.vocabulary):
        raise ConfigError(
            f"behaviour has weight {weight} and dim {dim}; the weight must be above 0 and dim lie "
            f"between 1 and the number of items, {len(train.vocabulary)}, less 1."
        )
    vectors.require(train.vocabulary)
    both = np.concatenate([vectors.values, weight * behaviour_vectors(train, dim, seed)], axis=1)
    events = hash_arrays({"items": train.items, "offsets": train.offsets})
    made_by = f"{vectors.encoder}+behaviour:{weight:g}:{dim}:{seed}:{events}"
    return TextVectors.from_array(both, train.vocabulary, made_by, seen_with(vectors.seen, train))


def without_behaviour(vectors: TextVectors, ids: SemanticIds) -> TextVectors:
    """Vectors of new items, of which nobody has done anything yet, for ``ids.with_items``.

    Args:
        vectors: Vectors of texts, of the encoder that ``ids`` were fitted with.
        ids: Semantic IDs of texts and behaviour.

    Raises:
        DataError: The IDs are not of that encoder with behaviour beside it.
    """
    if not ids.encoder.startswith(f"{vectors.encoder}+behaviour:") or ids.codebooks is None:
        raise DataError(
            f"the semantic IDs come from {ids.encoder[:60]}, not from {vectors.encoder[:40]} with "
            "behaviour beside it; embed the items with the encoder of the IDs."
        )
    nothing = np.zeros((len(vectors), ids.codebooks.dim - vectors.dim), dtype=np.float32)
    both = np.concatenate([vectors.values, nothing], axis=1)
    return TextVectors(both, vectors.ids_fingerprint, ids.encoder, vectors.seen)


def behaviour_vectors(
    train: Histories, dim: int, seed: int = 0, window: int = 5, prior: float = 5.0
) -> FloatArray:
    """Vectors of items from what lies near them in histories.

    Args:
        train: The training events.
        dim: Length of a vector.
        seed: Of the SVD's start.
        window: Most steps between two events that count as near; a pair ``s`` steps apart counts
            ``1 / s``.
        prior: Counted pairs at which a vector has half its full length.

    Returns:
        ``[items, dim]`` float32, rows of length ``n / (n + prior)`` with ``n`` the item's pairs.
    """
    counts = _near_pairs(train, window)
    total = np.asarray(counts.sum(axis=1)).ravel()
    table = counts.tocoo()
    expected = total[table.row] * total[table.col] / max(total.sum(), 1.0)
    table.data = np.maximum(np.log(table.data / expected), 0.0)
    left, values, _ = randomized_svd(table.tocsr(), dim, random_state=seed)
    found = left * np.sqrt(values)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    found = np.divide(found, norms, out=np.zeros_like(found), where=norms > 1e-9)
    return np.asarray(found * (total / (total + prior))[:, None], dtype=np.float32)


def _near_pairs(train: Histories, window: int) -> sparse.csr_matrix:
    """``[items, items]`` symmetric counts of pairs of one history."""
    items, owner = train.items.astype(np.int64) - 1, row_of_each(train.offsets)
    size = len(train.vocabulary)
    counts = sparse.csr_matrix((size, size), dtype=np.float64)
    for step in range(1, window + 1):
        same = (owner[step:] == owner[:-step]) & (items[step:] != items[:-step])
        pair = items[step:][same], items[:-step][same]
        weights = np.full(pair[0].size, 1.0 / step)
        counts = counts + sparse.coo_matrix((weights, pair), shape=(size, size)).tocsr()
    return (counts + counts.T).tocsr()
