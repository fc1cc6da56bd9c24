"""The beam against a walk through everything: its masks, its order, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_decoder import ScriptedDecoder, all_lists

from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.beam import Beams, StepScores, beam_search, top_items
from llmrec.recommenders.onerec.limits import AllowLists, Exclusions
from llmrec.recommenders.onerec.trie import Trie


@st.composite
def worlds(draw, most_items=12):
    """Semantic IDs with collisions, users, and the items each user must not get."""
    levels = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 5), min_size=levels, max_size=levels))
    row = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    codes = draw(st.lists(row, min_size=1, max_size=most_items))
    users = draw(st.integers(1, 3))
    some = st.lists(st.integers(1, len(codes)), max_size=len(codes))
    refused = draw(st.lists(some, min_size=users, max_size=users))
    return np.array(codes), tuple(sizes), refused, draw(st.integers(0, 2**20))


def ragged(lists):
    flat = [item for row in lists for item in row]
    return np.array(flat, dtype=np.int64), np.cumsum([0, *map(len, lists)])


def ids_left(codes, refused):
    """The IDs with an item that is not refused."""
    return {tuple(row.tolist()) for item, row in enumerate(codes, 1) if item not in set(refused)}


def found_ids(lists, trie, user):
    n = int(lists.found[user])
    ids = trie.leaf_codes(lists.leaves[user, :n].clamp(min=0)).tolist()
    return [tuple(tuple(code) for code in row) for row in ids], lists.scores[user, :n].tolist()


def assert_equals_walk(lists, trie, decoder, codes, refused, items, width=None):
    for user, hidden in enumerate(refused):
        expected = all_lists(decoder, ids_left(codes, []), user, items, ids_left(codes, hidden))
        ids, scores = found_ids(lists, trie, user)
        assert len(ids) == min(len(expected), width or len(expected))
        by_id = {chosen: score for score, chosen in expected}
        assert scores == pytest.approx([by_id[chosen] for chosen in ids], abs=1e-5)
        assert scores == pytest.approx([score for score, _ in expected][: len(ids)], abs=1e-5)
        assert len(set(ids)) == len(ids)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_a_wide_beam_is_exact_scoring_without_the_refused(world):
    codes, sizes, refused, seed = world
    trie, decoder = Trie.build(codes, sizes), ScriptedDecoder(sizes, len(refused), seed)
    limits = Exclusions.of_items(trie, *ragged(refused))
    lists = beam_search(
        decoder, decoder.start(), trie, users=len(refused), width=len(codes), limits=limits
    )
    assert_equals_walk(lists, trie, decoder, codes, refused, items=1)


@settings(max_examples=40, deadline=None)
@given(worlds(most_items=5), st.integers(2, 3))
def test_wide_beams_of_lists_are_exact_and_repeat_nothing(world, items):
    codes, sizes, refused, seed = world
    trie, decoder = Trie.build(codes, sizes), ScriptedDecoder(sizes, len(refused), seed)
    lists = beam_search(
        decoder,
        decoder.start(),
        trie,
        users=len(refused),
        width=trie.n_leaves**items,
        items=items,
        limits=Exclusions.of_items(trie, *ragged(refused)),
    )
    assert_equals_walk(lists, trie, decoder, codes, refused, items)
    chosen = lists.leaves[lists.scores > -math.inf].tolist()
    assert all(len(set(row)) == items for row in chosen)


@settings(max_examples=60, deadline=None)
@given(worlds(), st.data())
def test_allow_lists_equal_a_walk_and_agree_with_a_restricted_trie(world, data):
    codes, sizes, refused, seed = world
    allowed = [sorted(set(range(1, len(codes) + 1)) - set(row)) or [1] for row in refused]
    trie, decoder = Trie.build(codes, sizes), ScriptedDecoder(sizes, len(refused), seed)
    hidden = [sorted(set(range(1, len(codes) + 1)) - set(row)) for row in allowed]
    search = {"users": len(refused), "width": len(codes)}
    limits = AllowLists.of_items(trie, *ragged(allowed))
    lists = beam_search(decoder, decoder.start(), trie, limits=limits, **search)
    assert_equals_walk(lists, trie, decoder, codes, hidden, items=1)
    user = data.draw(st.integers(0, len(refused) - 1))
    small = trie.restrict(np.isin(np.arange(1, len(codes) + 1), allowed[user]))
    alone = beam_search(decoder, decoder.start(), small, **search)
    assert found_ids(alone, small, user) == found_ids(lists, trie, user)


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(1, 4), st.integers(1, 3))
def test_whatever_the_width_only_items_that_exist_and_are_left_come_out(world, width, items):
    codes, sizes, refused, seed = world
    trie, decoder = Trie.build(codes, sizes), ScriptedDecoder(sizes, len(refused), seed)
    lists = beam_search(
        decoder,
        decoder.start(),
        trie,
        users=len(refused),
        width=width,
        items=items,
        limits=Exclusions.of_items(trie, *ragged(refused)),
    )
    assert lists.leaves.shape[1] <= width
    for user, hidden in enumerate(refused):
        left = ids_left(codes, hidden)
        ids, scores = found_ids(lists, trie, user)
        assert all(set(chosen) <= left and len(set(chosen)) == items for chosen in ids)
        assert len(set(ids)) == len(ids)
        assert scores == sorted(scores, reverse=True)
        # a branch whose leaves are all used up is never entered, so no width is lost to dead ends
        assert (len(ids) > 0) == (len(left) >= items)
        if items == 1:
            assert len(ids) == min(width, len(left))


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_equal_scores_are_in_the_order_of_the_semantic_ids(world):
    codes, sizes, refused, seed = world
    decoder = ScriptedDecoder(sizes, len(refused), seed, distinct=1)  # every code is as likely
    trie = Trie.build(codes, sizes)
    limits = Exclusions.of_items(trie, *ragged(refused))
    for width in (1, 2, len(codes)):
        lists = beam_search(
            decoder, decoder.start(), trie, users=len(refused), width=width, limits=limits
        )
        for user, hidden in enumerate(refused):
            ids, _ = found_ids(lists, trie, user)
            assert [chosen[0] for chosen in ids] == sorted(ids_left(codes, hidden))[:width]


def test_each_step_keeps_the_best_of_all_children_of_all_beams():
    rng = np.random.default_rng(3)
    sizes, width = (6, 6, 6), 4
    codes = np.unique(rng.integers(0, 6, (90, 3)), axis=0)
    trie, decoder = Trie.build(codes, sizes), ScriptedDecoder(sizes, 2, seed=9)
    lists = beam_search(decoder, decoder.start(), trie, users=2, width=width)
    for user in range(2):
        kept = [()]
        for level in range(3):
            prefixes = {tuple(row[: level + 1].tolist()) for row in codes}
            grown = [p for p in prefixes if p[:level] in kept]
            grown.sort(key=lambda p: -decoder.log_probability(user, p))
            kept = grown[:width]
        assert [chosen[0] for chosen in found_ids(lists, trie, user)[0]] == kept


def test_renormalised_over_children_the_leaves_sum_to_one():
    codes = [[0, 0], [0, 2], [3, 1], [3, 2], [3, 3]]
    trie, decoder = Trie.build(codes, (4, 4)), ScriptedDecoder((4, 4), 1, seed=5)
    lists = beam_search(decoder, decoder.start(), trie, users=1, width=9, normalize="children")
    assert float(lists.scores.exp().sum()) == pytest.approx(1, abs=1e-6)
    free = beam_search(decoder, decoder.start(), trie, users=1, width=9)
    assert float(free.scores.exp().sum()) < 0.9


def test_half_precision_logits_are_scored_in_float32():
    trie, decoder = Trie.build([[0, 0], [1, 1], [1, 2]], (3, 3)), ScriptedDecoder((3, 3), 1, 2)
    decoder.table = decoder.table.to(torch.bfloat16)
    lists = beam_search(decoder, decoder.start(), trie, users=1, width=3)
    assert lists.scores.dtype == torch.float32
    expected = sorted(decoder.log_probability(0, c) for c in [(0, 0), (1, 1), (1, 2)])[::-1]
    assert lists.scores[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_code_without_probability_ends_a_beam():
    trie, decoder = Trie.build([[0, 0], [0, 1], [1, 0]], (2, 2)), ScriptedDecoder((2, 2), 1, 2)
    decoder.table[:, 0, 0] = -math.inf
    lists = beam_search(decoder, decoder.start(), trie, users=1, width=3)
    assert found_ids(lists, trie, 0)[0] == [((1, 0),)]
    assert lists.leaves[0, 1:].flatten().tolist() in ([], [-1], [-1, -1])


def test_one_user_without_anything_left_does_not_disturb_another():
    codes = [[0, 0], [0, 1], [1, 0]]
    trie, decoder = Trie.build(codes, (2, 2)), ScriptedDecoder((2, 2), 2, seed=1)
    limits = Exclusions.of_items(trie, *ragged([[1, 2, 3], []]))
    lists = beam_search(decoder, decoder.start(), trie, users=2, width=3, limits=limits)
    assert lists.found.tolist() == [0, 3]
    items, scores = top_items(lists, trie, 3)
    assert items[0].tolist() == [0, 0, 0]
    assert np.isneginf(scores[0]).all()
    assert sorted(items[1].tolist()) == [1, 2, 3]


def test_items_that_share_an_id_have_one_score_and_the_order_of_the_trie():
    codes = [[0, 0], [1, 1], [0, 0], [1, 0]]
    trie = Trie.build(codes, (2, 2), order=[5, 0, 1, 0])
    decoder = ScriptedDecoder((2, 2), 1, seed=4)
    lists = beam_search(decoder, decoder.start(), trie, users=1, width=4)
    items, scores = top_items(lists, trie, 4)
    place = items[0].tolist().index(3)
    assert items[0, place + 1] == 1
    assert scores[0, place] == scores[0, place + 1]
    expected = [decoder.log_probability(0, codes[item - 1]) for item in items[0]]
    assert scores[0].tolist() == pytest.approx(expected, abs=1e-5)
    without = top_items(lists, trie, 4, lambda user, item: item != 3)[0]
    assert without[0].tolist() == [item for item in items[0] if item != 3] + [0]


def test_more_items_than_ids_come_from_a_search_that_found_every_id():
    trie, decoder = Trie.build([[0], [1], [0], [1]], (2,)), ScriptedDecoder((2,), 1, seed=4)
    lists = beam_search(decoder, decoder.start(), trie, users=1, width=4)
    assert lists.leaves.shape == (1, 2, 1)  # there are no more
    assert sorted(top_items(lists, trie, 4)[0][0].tolist()) == [1, 2, 3, 4]


def test_an_item_may_share_the_id_of_a_refused_one():
    trie = Trie.build([[0, 0], [0, 0], [1, 1]], (2, 2))
    allowed = AllowLists.of_items(trie, *ragged([[1, 3]]), refused=ragged([[1]]))
    every = torch.arange(trie.n_leaves)
    left = allowed.available(2, torch.zeros_like(every), every)
    assert left.tolist() == [0, 1]  # item 2 is not on the list, and item 1 is refused
    seen = Exclusions.of_items(trie, *ragged([[1]]))
    assert seen.available(2, torch.zeros_like(every), every).tolist() == [1, 1]


@pytest.mark.parametrize("name", ["users", "width", "items"])
def test_a_search_of_nothing_is_refused(name):
    trie = Trie.build([[0]], (1,))
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        Beams(trie, **{"users": 1, "width": 1, "items": 1, name: 0})


def test_limits_of_another_trie_are_refused():
    trie, other = Trie.build([[0]], (1,)), Trie.build([[0]], (1,))
    with pytest.raises(ConfigError, match="another trie"):
        Beams(trie, 1, 1, limits=Exclusions.of_items(other, [], [0, 0]))


def test_scores_of_a_wrong_shape_and_not_finite_ones_are_refused():
    trie = Trie.build([[0, 1], [2, 0]], (3, 2))
    with pytest.raises(DataError, match=r"shape \(1, 1, 3\)"):
        Beams(trie, 1, 2).advance(StepScores.of_level(torch.zeros(1, 1, 2)))
    for value in (math.nan, math.inf):
        bad = torch.tensor([[[0.0, 0, 0]], [[0.0, value, 0]]])
        with pytest.raises(DataError, match="NaN or infinity for the user in row 1 at level 0"):
            Beams(trie, 2, 2).advance(StepScores.of_level(bad))


def test_a_beam_narrower_than_the_list_is_refused():
    trie, decoder = Trie.build([[0], [1]], (2,)), ScriptedDecoder((2,), 1, 1)
    lists = beam_search(decoder, decoder.start(), trie, users=1, width=1)
    with pytest.raises(ConfigError, match="a beam of 1 cannot give 2 items; set the width to 2"):
        top_items(lists, trie, 2)
    pairs = beam_search(decoder, decoder.start(), trie, users=1, width=2, items=2)
    with pytest.raises(ConfigError, match="one item, not of 2"):
        top_items(pairs, trie, 1)


def test_an_allow_list_that_leaves_nothing_is_refused():
    trie = Trie.build([[0], [1]], (2,))
    with pytest.raises(DataError, match=r"leaves nothing for the users in rows 1;"):
        AllowLists.of_items(trie, *ragged([[1], [2]]), refused=ragged([[], [2]]))
    with pytest.raises(DataError, match="leaves no item that has a semantic ID"):
        trie.restrict([False, False])
