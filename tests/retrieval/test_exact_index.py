"""Exact search against brute force, on vectors with many ties."""

import numpy as np
import pytest
import torch
from brute_force import best_rows, padded, scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.contracts import NeighborIndex
from llmrec.errors import ConfigError, DataError
from llmrec.retrieval import blocked
from llmrec.retrieval.exact import ExactIndex


@st.composite
def searches(draw):
    """Small whole numbers: dot products are exact and most of them tie."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, q, dim = draw(st.integers(0, 60)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    vectors, queries = (rng.integers(-2, 3, (rows, dim)) for rows in (n, q))
    return vectors.astype(np.float32), queries.astype(np.float32), draw(st.integers(1, 25))


def random_units(n, dim, seed=0, clusters=20):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dim))
    values = centres[rng.integers(0, clusters, n)] + 0.5 * rng.standard_normal((n, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def check(index, vectors, queries, k):
    scores, rows = index.search(queries, k)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    for i, query in enumerate(queries):
        expected = best_rows(vectors, query, k)
        assert rows[i].tolist() == padded(expected, k)
        np.testing.assert_array_equal(
            scores[i, : len(expected)], scores_of(vectors, query)[expected]
        )
        assert np.isneginf(scores[i, len(expected) :]).all()


@settings(deadline=None)
@given(searches())
def test_equals_brute_force(search):
    vectors, queries, k = search
    check(ExactIndex(vectors), vectors, queries, k)


@settings(deadline=None)
@given(
    searches(),
    st.tuples(st.integers(1, 7), st.integers(1, 8), st.integers(1, 5), st.integers(0, 3)),
)
def test_equals_brute_force_whatever_the_blocks(search, sizes):
    names = ("QUERY_BLOCK", "GROUPS", "GROUP_SIZE", "_SLACK")
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(names, sizes, strict=True):
            patch.setattr(blocked, name, size)
        vectors, queries, k = search
        check(ExactIndex(vectors), vectors, queries, k)


@pytest.mark.parametrize(("n", "k"), [(3000, 7), (20_000, 20)])
def test_equals_brute_force_over_several_blocks(n, k):
    vectors = random_units(n, 16)
    check(ExactIndex(vectors), vectors, vectors[:10], k)


def test_large_k_takes_the_float64_path_with_the_same_result():
    vectors = random_units(1500, 8)
    index = ExactIndex(vectors)
    scores, rows = index.search(vectors[:5], 700)
    assert rows[:, :20].tolist() == index.search(vectors[:5], 20)[1].tolist()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 700 for row in rows.tolist())


def test_batches_of_queries_do_not_change_the_answer():
    vectors = random_units(4000, 24, seed=3)
    index = ExactIndex(vectors)
    whole = index.search(vectors[:300], 9)
    for start in range(0, 300, 37):
        part = index.search(vectors[start : min(start + 37, 300)], 9)
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_array_equal(one, other[start : start + 37])


def test_equal_rows_are_answered_in_the_order_of_their_numbers():
    vectors = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (50, 1))
    vectors[10] = [1.0, 0.0]
    _, rows = ExactIndex(vectors).search(vectors[:1], 49)
    assert rows[0].tolist() == [row for row in range(50) if row != 10]


def test_a_crowd_of_equal_scores_among_different_rows():
    # 30 axes against a query on the first: all others score exactly 0
    vectors = np.eye(300, dtype=np.float32)
    scores, rows = ExactIndex(vectors).search(vectors[5:6], 6)
    assert rows.tolist() == [[5, 0, 1, 2, 3, 4]]
    assert scores.tolist() == [[1, 0, 0, 0, 0, 0]]


def test_minus_zero_is_zero():
    vectors = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    scores, rows = ExactIndex(vectors).search([[1.0, -0.0], [0.0, 2.0]], 2)
    assert rows.tolist() == [[0, 1], [0, 1]]
    assert scores.tolist() == [[0, 0], [2, 2]]


def test_rows_and_queries_of_zeros_have_no_neighbours():
    vectors = np.array([[0, 0], [1, 0], [0, 0], [0, -1]], dtype=np.float32)
    scores, rows = ExactIndex(vectors).search([[0, 0], [0, 1]], 3)
    assert rows.tolist() == [[-1, -1, -1], [1, 3, -1]]
    assert scores.tolist() == [[-np.inf] * 3, [0, -1, -np.inf]]


@pytest.mark.parametrize("vectors", [np.zeros((0, 3)), np.zeros((4, 3))])
def test_nothing_to_find(vectors):
    index = ExactIndex(vectors)
    assert (len(index), index.dim) == (len(vectors), 3)
    assert index.search(np.ones((2, 3)), 2)[1].tolist() == [[-1, -1]] * 2


def test_no_queries():
    scores, rows = ExactIndex(np.eye(3)).search(np.zeros((0, 3)), 2)
    assert scores.shape == rows.shape == (0, 2)


def test_lower_matrix_precision_elsewhere_does_not_reach_the_search():
    vectors = random_units(2000, 32)
    expected = ExactIndex(vectors).search(vectors[:50], 5)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        found = ExactIndex(vectors).search(vectors[:50], 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found[1], expected[1])


def test_is_a_neighbor_index():
    assert isinstance(ExactIndex(np.eye(2)), NeighborIndex)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(0, 2**32 - 2))))
def test_keys_sort_by_score_then_row_and_unpack(pairs):
    scores = torch.tensor([score for score, _ in pairs], dtype=torch.float32)
    rows = torch.tensor([row for _, row in pairs], dtype=torch.int64)
    keys = blocked.to_keys(scores, rows)
    unpacked = blocked.from_keys(keys.sort(descending=True).values)
    expected = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
    assert list(zip(*(part.tolist() for part in unpacked), strict=True)) == expected


class TestBadInput:
    def test_other_dimension(self):
        with pytest.raises(DataError, match="queries have 2 dimensions, the index has 3"):
            ExactIndex(np.eye(3)).search(np.ones((1, 2)), 1)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, value):
        vectors = np.ones((4, 2))
        vectors[2, 1] = value
        with pytest.raises(DataError, match=r"vectors hold NaN or infinity in 1 of 4 rows: row 2"):
            ExactIndex(vectors)
        with pytest.raises(DataError, match="queries hold NaN"):
            ExactIndex(np.ones((3, 2))).search(vectors, 1)

    def test_one_axis(self):
        with pytest.raises(DataError, match=r"two axes \[rows, dimension\], not \(3,\)"):
            ExactIndex([1.0, 2.0, 3.0])

    def test_not_numbers(self):
        with pytest.raises(DataError, match="table of numbers"):
            ExactIndex([["a", "b"]])

    def test_no_neighbour_asked_for(self):
        with pytest.raises(ConfigError, match="k is 0"):
            ExactIndex(np.eye(2)).search(np.eye(2), 0)
