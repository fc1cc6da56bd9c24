"""Neighbours by the definition: all dot products in float64, a Python sort."""

import numpy as np


def scores_of(vectors, query):
    """float64 dot products, rounded to float32."""
    return (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)


def best_rows(vectors, query, k, banned=frozenset(), groups=None):
    """The k allowed rows with the highest score, ties to the smaller row."""
    if not query.any():
        return []
    scores = scores_of(vectors, query)
    rows = [row for row in range(len(vectors)) if vectors[row].any() and row not in banned]
    found, taken = [], set()
    for row in sorted(rows, key=lambda row: (-scores[row], row)):
        if groups is not None and groups[row] in taken:
            continue
        if groups is not None:
            taken.add(groups[row])
        found.append(row)
    return found[:k]


def padded(rows, k):
    return rows + [-1] * (k - len(rows))
