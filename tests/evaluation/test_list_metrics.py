import itertools

import numpy as np
import polars as pl
import pytest

from llmrec.data.catalog import Catalog
from llmrec.errors import DataError
from llmrec.evaluation.metrics.lists import (
    category_vectors,
    coverage,
    intra_list_diversity,
    novelty,
)


def test_coverage_counts_distinct_items_and_no_padding():
    assert coverage(np.array([[1, 0], [1, 4]], dtype=np.int32), 8) == 0.25


def test_novelty_by_hand():
    lists = np.array([[1, 2], [3, 0], [0, 0]], dtype=np.int32)
    # Of 16 users, 16 had item 1, 4 had item 2, nobody had item 3 (counts as one).
    assert novelty(lists, [16, 4, 0], 16)[:2].tolist() == [1.0, 4.0]
    assert np.isnan(novelty(lists, [16, 4, 0], 16)[2])


def test_diversity_agrees_with_all_pairs():
    rng = np.random.default_rng(0)
    vectors = rng.random((9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[0] = vectors[5] = 0  # padding, and an item without features
    lists = np.array([[1, 2, 3, 5], [4, 6, 0, 0], [7, 0, 0, 0]], dtype=np.int32)
    expected = [
        np.mean([1 - vectors[a] @ vectors[b] for a, b in itertools.combinations(row, 2)])
        for row in ([1, 2, 3, 5], [4, 6])
    ]
    found = intra_list_diversity(lists, vectors)
    assert found[:2] == pytest.approx(expected)
    assert np.isnan(found[2])


def test_categories_of_both_notations_become_unit_vectors():
    frame = pl.DataFrame({"item_id": [1, 2, 3], "category": ["Comedy|Drama", "'Comedy'", None]})
    vectors = category_vectors(Catalog(frame)).toarray()
    half = 0.5**0.5
    assert vectors == pytest.approx(np.array([[0, 0], [half, half], [1, 0], [0, 0]]))


def test_categories_may_be_lists_whose_names_keep_their_commas():
    rows = [["Creams, Gels", "Beauty"], ["Beauty", None, " Beauty"], None]
    vectors = category_vectors(Catalog(pl.DataFrame({"item_id": [1, 2, 3], "category": rows})))
    half = 0.5**0.5
    assert vectors.toarray() == pytest.approx(np.array([[0, 0], [half, half], [1, 0], [0, 0]]))


def test_diversity_without_categories_is_refused():
    with pytest.raises(DataError, match="needs a column 'category'"):
        category_vectors(Catalog(pl.DataFrame({"item_id": [1]})))
