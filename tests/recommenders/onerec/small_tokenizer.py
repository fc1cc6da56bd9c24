"""A catalogue of a hundred items in clusters, some of them unseen in training."""

import numpy as np

from llmrec.data.histories import Histories, Origin
from llmrec.data.vocabulary import Vocabulary
from llmrec.retrieval.vectors import TextVectors

N_ITEMS, UNSEEN = 100, 6
ORIGIN = Origin("toy", "f" * 16, "5" * 16, "train", 123)


def catalogue(n=N_ITEMS):
    return Vocabulary([f"item-{number:03d}" for number in range(n)], "item")


def vectors_of(vocabulary, encoder="toy-encoder", seed=0, d=6):
    """Vectors that depend on the item's number alone, so that catalogues may overlap."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(10, d)) * 2
    rows = []
    for name in vocabulary.ids:
        number = int(name[5:])
        own = np.random.default_rng([seed, number]).normal(size=d)
        rows.append(centers[number % 10] + own)
    return TextVectors.from_array(np.array(rows), vocabulary, encoder)


def training(vocabulary, unseen=UNSEEN, seed=0):
    """Histories in which the last ``unseen`` items do not occur, and every other does."""
    rng = np.random.default_rng(seed)
    seen = len(vocabulary) - unseen
    items = np.concatenate([np.arange(1, seen + 1), 1 + rng.integers(0, seen, 200) // 2])
    offsets = np.linspace(0, items.size, 21).astype(np.int64)
    ids = catalogue(20).ids
    return Histories(ids, items.astype(np.int32), offsets, vocabulary, origin=ORIGIN)
