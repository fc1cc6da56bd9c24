"""Who may be a neighbour of whom, by brute force on random histories and vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sra_cl import histories_of, random_histories

from llmrec.recommenders.sra_cl.config import SRACLConfig
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.neighbors import (
    clean_exclusions,
    item_neighbors,
    random_neighbors,
    sequence_neighbors,
)
from llmrec.recommenders.sra_cl.semantics import make_semantics

K = 4


@st.composite
def worlds(draw):
    """Histories of few items, and vectors among which equal and empty ones are common."""
    rows = draw(st.lists(st.lists(st.integers(1, 7), max_size=6), min_size=1, max_size=7))
    rows.append([1, 2])
    events = TrainingEvents.of(histories_of(rows, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = rng.normal(size=(draw(st.integers(2, 40)), 3))
    kinds[0] = 0
    kinds[1:] /= np.linalg.norm(kinds[1:], axis=1, keepdims=True)
    vectors = kinds[rng.integers(0, len(kinds), len(events))].astype(np.float16)
    return events, vectors


def allowed(events, row, pool):
    """Rows that may be neighbours of ``row``, by looking at every sequence."""
    fine = []
    for other in range(len(events)):
        sequence = events.items[events.starts[other] : other + 1]
        is_own = events.users[other] == events.users[row]
        if pool == "all":
            fine += [other] if other != row else []
        elif not is_own and events.targets[row] not in sequence:
            fine.append(other)
    return fine


def scores(vectors, row, rows):
    wide = vectors.astype(np.float64)
    return [float(wide[row] @ wide[other]) for other in rows]


@settings(deadline=None, max_examples=100)
@given(worlds(), st.sampled_from(["clean", "all"]), st.booleans())
def test_sequence_neighbours(world, pool, one_per_user):
    events, vectors = world
    table = sequence_neighbors(vectors, events, K, pool, one_per_user)
    assert table.shape == (len(events), K)
    for row in range(len(events)):
        found = [j for j in table[row].tolist() if j >= 0]
        assert table[row].tolist() == found + [-1] * (K - len(found))
        if not events.targets[row] or not vectors[row].any():
            assert not found
            continue
        pool_rows = [j for j in allowed(events, row, pool) if vectors[j].any()]
        assert set(found) <= set(pool_rows)
        assert len(set(found)) == len(found)
        best = sorted(zip(scores(vectors, row, pool_rows), pool_rows, strict=True), reverse=True)
        if one_per_user:
            owners = events.users[found].tolist()
            assert len(set(owners)) == len(owners)
            seen = set()
            best = [
                (score, j)
                for score, j in best
                if not (events.users[j] in seen or seen.add(events.users[j]))
            ]
        expected = [score for score, _ in best[:K]]
        np.testing.assert_allclose(scores(vectors, row, found), expected, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(worlds())
def test_clean_exclusions_are_exactly_what_is_not_allowed(world):
    events, _ = world
    asking = np.flatnonzero(events.targets > 0)
    every = np.arange(len(events))
    own, holding = (
        rule.contain(np.arange(asking.size)[:, None], every[None])
        for rule in clean_exclusions(events, asking)
    )
    for number, row in enumerate(asking.tolist()):
        fine = set(allowed(events, row, "clean"))
        assert set(np.flatnonzero(~(own | holding)[number]).tolist()) == fine
        assert own[number].tolist() == (events.users == events.users[row]).tolist()


def test_equal_texts_do_not_bring_back_the_sequence_itself():
    events = TrainingEvents.of(histories_of([[1, 2], [1, 3], [1, 4]]))
    vectors = np.tile(np.float16([1, 0]), (len(events), 1))
    clean, everything = (sequence_neighbors(vectors, events, 9, p, False) for p in ("clean", "all"))
    # row 0 (user 0) is to predict item 2: everything of users 1 and 2 is free
    assert clean[0].tolist() == [2, 3, 4, 5] + [-1] * 5
    assert everything[0].tolist() == [1, 2, 3, 4, 5] + [-1] * 4


def test_nobody_is_left():
    events = TrainingEvents.of(histories_of([[1, 2], [2], [2, 1]]))
    vectors = np.ones((len(events), 2), np.float16)
    table = sequence_neighbors(vectors, events, 2)
    assert (table[0] == -1).all()  # every other sequence holds item 2
    assert table[3].tolist() == [2, -1]  # its target is 1: user 0 began with it


@settings(deadline=None, max_examples=50)
@given(worlds(), st.sampled_from(["clean", "all"]))
def test_random_neighbours_keep_the_rules_of_the_pool(world, pool):
    events, _ = world
    table = random_neighbors(events, K, pool, seed=3)
    for row in range(len(events)):
        found = {j for j in table[row].tolist() if j >= 0}
        assert found <= (set(allowed(events, row, pool)) if events.targets[row] else set())
    np.testing.assert_array_equal(table, random_neighbors(events, K, pool, seed=3))


def test_item_neighbours_by_brute_force():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    vectors[4] = vectors[2]
    vectors[7] = 0
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    found = item_neighbors(vectors, 3).rows
    for item in range(9):
        others = [j for j in range(9) if j not in (item, 7)] if item != 7 else []
        expected = sorted(others, key=lambda j: (-vectors[item] @ vectors[j], j))[:3]
        assert found[item].tolist() == expected + [-1] * (3 - len(expected))
    assert found[2][0] == 4
    assert found[4][0] == 2


def test_fewer_items_than_neighbours():
    found = item_neighbors(np.eye(3, dtype=np.float32) + 0.1, 10).rows
    assert (np.sort(found, axis=1)[:, -2:] >= 0).all()
    assert ((found >= 0).sum(1) == 2).all()


class TestTables:
    """Neighbours as the settings ask for them, and in the cache."""

    TRAIN = random_histories([6, 5, 8, 3, 7], seed=2)

    def semantics(self, cache=None, **options):
        events = TrainingEvents.of(self.TRAIN)
        vectors = np.random.default_rng(5).normal(size=(12, 4)).astype(np.float32)
        return make_semantics(SRACLConfig(**options), events, vectors, None, cache)

    def test_the_cache_changes_nothing(self, tmp_path):
        fresh = self.semantics()
        for _ in range(2):
            kept = self.semantics(tmp_path)
            np.testing.assert_array_equal(kept.sequence_neighbors, fresh.sequence_neighbors)
            np.testing.assert_array_equal(kept.item_neighbors, fresh.item_neighbors)
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize(
        "options",
        [
            {"neighbors": 4},
            {"item_neighbors": 4},
            {"neighbor_pool": "all"},
            {"neighbors_per_user": "any"},
            {"history_decay": 0.3},
            {"control": "shuffled_vectors"},
        ],
        ids=str,
    )
    def test_other_rules_are_other_entries_of_the_cache(self, options, tmp_path):
        self.semantics(tmp_path)
        fresh, kept = self.semantics(**options), self.semantics(tmp_path, **options)
        np.testing.assert_array_equal(kept.sequence_neighbors, fresh.sequence_neighbors)
        np.testing.assert_array_equal(kept.item_neighbors, fresh.item_neighbors)

    def test_controls_destroy_what_texts_say_and_nothing_else(self):
        plain = self.semantics()
        for control in ("random_neighbors", "shuffled_vectors"):
            other = self.semantics(control=control)
            for name in ("sequence_neighbors", "item_neighbors"):
                left, right = getattr(other, name), getattr(plain, name)
                assert left.shape == right.shape
                assert (left != right).any()
        shuffled = self.semantics(control="shuffled_vectors")
        assert not np.array_equal(shuffled.sequences, plain.sequences)

    def test_sequences_are_not_searched_where_nobody_asks(self):
        assert self.semantics(alpha=0).sequence_neighbors.size == 0


def test_a_drawn_pool_holds_all_neighbours_and_obeys_the_same_rules():
    rng = np.random.default_rng(5)
    events = TrainingEvents.of(histories_of([rng.integers(1, 9, 6).tolist() for _ in range(30)]))
    vectors = rng.normal(size=(len(events), 4)).astype(np.float32)
    table = sequence_neighbors(vectors, events, 5, pool_size=40, seed=1)
    chosen = np.unique(table[table >= 0])
    assert 0 < chosen.size <= 40
    for row in np.flatnonzero(events.targets > 0):
        for other in table[row][table[row] >= 0]:
            assert events.users[other] != events.users[row]
            held = events.items[events.starts[other] : other + 1]
            assert events.targets[row] not in held
    whole = sequence_neighbors(vectors, events, 5)
    same = sequence_neighbors(vectors, events, 5, pool_size=len(events))
    np.testing.assert_array_equal(whole, same)
    assert not np.array_equal(table, whole)
