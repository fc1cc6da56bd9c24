"""Neighbours with exclusions against brute force, with exact and with stingy indexes."""

import numpy as np
import pytest
from brute_force import best_rows, padded
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError
from llmrec.retrieval.exact import ExactIndex
from llmrec.retrieval.neighbors import nearest
from llmrec.retrieval.ranges import RowRanges

QUERIES = 5


@st.composite
def cases(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n, dim = draw(st.integers(1, 80)), draw(st.integers(1, 3))
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32)
    queries = rng.integers(-2, 3, (QUERIES, dim)).astype(np.float32)
    lengths = rng.integers(0, 5, QUERIES)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = rng.integers(0, n + 1, offsets[-1])
    spans = RowRanges(
        offsets, starts, starts + rng.integers(0, draw(st.integers(1, 60)), starts.size)
    )
    own = RowRanges.from_rows(rng.integers(-1, n, QUERIES))
    lists = rng.integers(0, 3, QUERIES)
    shared = RowRanges.from_members(rng.integers(0, 3, 9), rng.integers(0, n, 9), lists, 3)
    groups = rng.integers(0, 6, n) if draw(st.booleans()) else None
    return vectors, queries, (spans, own, shared), groups, draw(st.integers(1, 20))


def banned_rows(ranges, query):
    chosen = query if ranges.lists is None else ranges.lists[query]
    spans = range(ranges.offsets[chosen], ranges.offsets[chosen + 1])
    return {row for span in spans for row in range(ranges.starts[span], ranges.stops[span])}


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 4), st.integers(1, 5))
def test_equals_brute_force(case, margin, batch):
    vectors, queries, rules, groups, k = case
    found = nearest(
        ExactIndex(vectors), queries, k, rules, groups, query_batch=batch, margin=margin
    )
    assert (found.rows.dtype, found.scores.dtype, found.k) == (np.int32, np.float32, k)
    for i, query in enumerate(queries):
        banned = set().union(*(banned_rows(rule, i) for rule in rules))
        expected = best_rows(vectors, query, k, banned, groups)
        assert found.rows[i].tolist() == padded(expected, k)
        assert found.scores[i, : len(expected)].tolist() == (vectors @ query)[expected].tolist()
    np.testing.assert_array_equal(found.used, np.isfinite(found.scores))


@settings(deadline=None)
@given(cases())
def test_ranges_contain_what_they_say(case):
    vectors, _, rules, _, _ = case
    rows = np.arange(-1, len(vectors) + 3)
    for rule in rules:
        inside = rule.contain(np.arange(QUERIES)[:, None], rows[None])
        expected = [[row in banned_rows(rule, i) for row in rows] for i in range(QUERIES)]
        assert inside.tolist() == expected


def test_asks_for_twice_as_many_only_for_queries_that_came_up_short():
    class Counting(ExactIndex):
        asked = ()

        def search(self, queries, k):
            self.asked = (*self.asked, (len(queries), k))
            return super().search(queries, k)

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 4)).astype(np.float32)
    best = best_rows(vectors, vectors[0], 30)
    members = RowRanges.from_members(np.zeros(30, int), best, [0, 1], 2)
    index = Counting(vectors)
    found = nearest(index, vectors[[0, 1]], 4, members, margin=4)
    assert index.asked == ((2, 8), (1, 16), (1, 32), (1, 64))
    assert found.rows[0].tolist() == best_rows(vectors, vectors[0], 4, set(best))


def test_a_query_that_is_told_everything_is_banned_stops():
    vectors = np.eye(6, dtype=np.float32)
    everything = RowRanges([0, 1], [0], [6])
    found = nearest(ExactIndex(vectors), vectors[:1], 3, everything, margin=0)
    assert found.rows.tolist() == [[-1, -1, -1]]
    assert not found.used.any()


def test_equal_texts_are_dropped_by_identity_not_by_rank():
    vectors = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (5, 1))
    found = nearest(ExactIndex(vectors), vectors, 4, RowRanges.from_rows(range(5)))
    assert found.rows.tolist() == [[row for row in range(5) if row != own] for own in range(5)]


def test_the_best_row_of_each_user_is_kept():
    vectors = np.array([[1, 0], [0.9, 0.1], [0.5, 0.5], [0.6, 0.4], [0, 1]], dtype=np.float32)
    found = nearest(ExactIndex(vectors), [[1, 0]], 3, groups=["ann", "ann", "bob", "bob", "cid"])
    assert found.rows.tolist() == [[0, 3, 4]]


def test_an_index_with_no_more_to_give_is_not_asked_forever():
    class Stingy:
        dim, calls = 2, 0

        def __len__(self):
            return 1000

        def search(self, queries, k):
            self.calls += 1
            rows = np.full((len(queries), k), -1)
            rows[:, 0] = 7
            return np.where(rows >= 0, np.float32(1), -np.inf), rows

    index = Stingy()
    found = nearest(index, np.ones((3, 2)), 2)
    assert found.rows.tolist() == [[7, -1]] * 3
    assert index.calls == 1


def test_empty_index_and_no_queries():
    empty = ExactIndex(np.zeros((0, 2)))
    assert nearest(empty, np.ones((2, 2)), 3).rows.tolist() == [[-1] * 3] * 2
    assert nearest(ExactIndex(np.eye(2)), np.zeros((0, 2)), 3).rows.shape == (0, 3)


class TestBadInput:
    index = ExactIndex(np.eye(3))

    def test_rules_for_other_queries(self):
        with pytest.raises(DataError, match="excluded rows are given for 2 of 3 queries"):
            nearest(self.index, np.eye(3), 1, RowRanges.from_rows([0, 1]))

    def test_groups_of_another_index(self):
        with pytest.raises(DataError, match="groups are given for 2 of 3 rows"):
            nearest(self.index, np.eye(3), 1, groups=[0, 1])

    def test_dimension_and_nan(self):
        with pytest.raises(DataError, match="dimensions"):
            nearest(self.index, np.eye(2), 1)
        with pytest.raises(DataError, match="row 0"):
            nearest(self.index, np.full((1, 3), np.nan), 1)

    def test_k(self):
        with pytest.raises(ConfigError, match="k is -1"):
            nearest(self.index, np.eye(3), -1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([0, 1], [0], [1, 2]), "1 starts and 2 stops"),
            (([0, 2], [0], [1]), "must rise from 0 to 1"),
            (([1, 1], [0], [1]), "must rise from 0 to 1"),
            (([0, 2, 1], [0], [1]), "must rise"),
            (([0, 1], [4], [3]), r"row range 0 is \[4, 3\)"),
            (([0, 1], [-1], [3]), r"row range 0 is \[-1, 3\)"),
            (([0, 1], [0], [1], [0, 1]), "queries use lists 0 to 1, there are 1"),
        ],
    )
    def test_ranges_that_do_not_fit(self, arguments, message):
        with pytest.raises(DataError, match=message):
            RowRanges(*arguments)
