"""The best rows of different groups, against the definition and against the ordinary search."""

import numpy as np
import pytest
from brute_force import best_rows, padded
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data.ragged import offsets_of
from llmrec.errors import ConfigError, DataError
from llmrec.retrieval import per_group
from llmrec.retrieval.exact import ExactIndex
from llmrec.retrieval.neighbors import nearest
from llmrec.retrieval.per_group import nearest_per_group
from llmrec.retrieval.ranges import RowRanges


@st.composite
def worlds(draw):
    """Groups of rows among which equal and empty ones are common, queries, and excluded tails."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = rng.normal(size=(draw(st.integers(2, 30)), 4))
    kinds[0] = 0
    n, n_queries = sum(sizes), draw(st.integers(1, 7))
    vectors = kinds[rng.integers(0, len(kinds), n)].astype(np.float32)
    queries = kinds[rng.integers(0, len(kinds), n_queries)].astype(np.float32)
    groups = np.repeat(np.arange(len(sizes)) * 3, sizes)
    ends = np.cumsum(sizes)[np.repeat(np.arange(len(sizes)), sizes)]
    tails = [rng.choice(n, rng.integers(0, n + 1), replace=True) for _ in range(n_queries)]
    starts = np.concatenate(tails).astype(np.int64)
    rule = RowRanges(offsets_of([t.size for t in tails]), starts, ends[starts])
    return vectors, groups, queries, rule


@settings(deadline=None, max_examples=150)
@given(worlds(), st.integers(1, 6), st.integers(1, 4))
def test_against_the_definition_and_the_ordinary_search(world, k, at_once):
    vectors, groups, queries, rule = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(per_group, "_QUERIES_AT_ONCE", at_once)
        found = nearest_per_group(vectors, groups, queries, k, [rule])
    numbers = np.arange(len(vectors))
    for query, values in enumerate(queries):
        banned = set(numbers[rule.contain(query, numbers)].tolist())
        expected = padded(best_rows(vectors, values, k, banned, groups), k)
        assert found.rows[query].tolist() == expected
    ordinary = nearest(ExactIndex(vectors), queries, k, rule, groups)
    np.testing.assert_array_equal(found.rows, ordinary.rows)
    np.testing.assert_array_equal(found.scores, ordinary.scores)


def test_long_groups_of_near_equal_rows():
    """What the ordinary search is slow at: all near rows are of a few groups."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 300)
    centres = rng.normal(size=(6, 8))
    vectors = (centres[groups] + 1e-6 * rng.normal(size=(1800, 8))).astype(np.float32)
    found = nearest_per_group(vectors, groups, vectors[::100], 6)
    for query, values in enumerate(vectors[::100]):
        assert found.rows[query].tolist() == best_rows(vectors, values, 6, groups=groups)


def test_several_rules_are_joined_and_lists_are_shared():
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]] + 0.1
    own = RowRanges([0, 1, 2], [0, 2], [2, 4])
    shared = RowRanges([0, 1], [3], [4], lists=[0, 0])
    found = nearest_per_group(vectors, [0, 0, 1, 1], vectors[[0, 2]], 2, [own, shared])
    assert found.rows.tolist() == [[2, -1], [0, -1]]


def test_nothing_to_find():
    nothing = np.zeros((0, 3), dtype=np.float32)
    assert nearest_per_group(nothing, [], np.ones((2, 3)), 2).rows.tolist() == [[-1, -1]] * 2
    assert nearest_per_group(np.ones((2, 3)), [0, 1], nothing, 2).rows.shape == (0, 2)
    zeros = np.zeros((2, 3))
    assert nearest_per_group(zeros, [0, 1], np.ones((1, 3)), 1).rows.tolist() == [[-1]]
    assert nearest_per_group(np.ones((2, 3)), [0, 1], zeros[:1], 1).rows.tolist() == [[-1]]


@pytest.mark.parametrize(
    ("groups", "rules", "message"),
    [
        ([0, 1], [], "groups are given for 2 of 3 rows"),
        ([0, 1, 0], [], "must lie together; groups fall at row 2"),
        ([0, 0, 1], [RowRanges([0, 1], [0], [1])], "must end with its group"),
        ([0, 0, 1], [RowRanges([0, 1], [0], [3])], "must end with its group"),
        ([0, 0, 1], [RowRanges([0, 1, 1], [0], [2])], "for 2 of 1 queries"),
    ],
)
def test_what_does_not_fit_is_refused(groups, rules, message):
    with pytest.raises(DataError, match=message):
        nearest_per_group(np.ones((3, 2)), groups, np.ones((1, 2)), 1, rules)


def test_other_bad_input():
    with pytest.raises(ConfigError, match="at least one neighbour"):
        nearest_per_group(np.ones((1, 2)), [0], np.ones((1, 2)), 0)
    with pytest.raises(DataError, match="NaN or infinity"):
        nearest_per_group([[np.nan, 1.0]], [0], np.ones((1, 2)), 1)
    with pytest.raises(DataError, match="3 dimensions"):
        nearest_per_group(np.ones((1, 2)), [0], np.ones((1, 3)), 1)
