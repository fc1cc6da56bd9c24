"""The trie: every path is an item and every item is a path, for any table of codes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import DataError
from llmrec.recommenders.onerec.selection import _of_tensors, best_first, best_positions
from llmrec.recommenders.onerec.trie import Trie, expand_leaves, leaves_of_lists


@st.composite
def tables(draw):
    levels = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 6), min_size=levels, max_size=levels))
    row = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    return np.array(draw(st.lists(row, min_size=1, max_size=30))), tuple(sizes)


def paths(trie):
    """Every path from the root to a leaf, by walking the arrays one node at a time."""
    found = []

    def walk(level, node, prefix):
        if level == trie.depth:
            start, stop = trie.item_offsets[node : node + 2].tolist()
            found.append((prefix, trie.items[start:stop].tolist()))
            return
        start, stop = trie.children[level][node : node + 2].tolist()
        for child in range(start, stop):
            walk(level + 1, child, (*prefix, int(trie.codes[level][child])))

    walk(0, 0, ())
    return found


@settings(max_examples=200, deadline=None)
@given(tables())
def test_every_path_is_an_item_and_every_item_is_a_path(table):
    codes, sizes = table
    expected = {}
    for item, row in enumerate(codes.tolist(), 1):
        expected.setdefault(tuple(row), []).append(item)
    assert paths(Trie.build(codes, sizes)) == sorted(expected.items())


@settings(max_examples=100, deadline=None)
@given(tables(), st.data())
def test_a_restricted_trie_is_the_trie_of_the_rest(table, data):
    codes, sizes = table
    mask = data.draw(st.lists(st.booleans(), min_size=len(codes), max_size=len(codes)))
    mask[0] = True
    expected = {}
    for item, row in enumerate(codes.tolist(), 1):
        if mask[item - 1]:
            expected.setdefault(tuple(row), []).append(item)
    trie = Trie.build(codes, sizes).restrict(mask)
    assert paths(trie) == sorted(expected.items())
    assert trie.item_leaves.tolist().count(-1) == mask.count(False)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_spans_ancestors_and_codes_agree_with_the_paths(table):
    codes, sizes = table
    trie = Trie.build(codes, sizes)
    found = [prefix for prefix, _ in paths(trie)]
    every = torch.arange(trie.n_leaves)
    assert [tuple(row) for row in trie.leaf_codes(every).tolist()] == found
    assert [tuple(codes[item]) for item in range(len(codes))] == [
        found[leaf] for leaf in trie.item_leaves
    ]
    for level in range(trie.depth + 1):
        nodes = trie.ancestors(level, every)
        prefixes = sorted({prefix[:level] for prefix in found})
        assert [prefixes[node] for node in nodes.tolist()] == [p[:level] for p in found]
        first, stop = trie.leaf_spans(level, torch.arange(trie.n_nodes(level)))
        counts = [sum(p[:level] == prefix for p in found) for prefix in prefixes]
        assert (stop - first).tolist() == counts


def test_a_small_trie_written_out():
    trie = Trie.build([[1, 0], [0, 2], [1, 0], [1, 1]], (2, 3), order=[9, 0, 1, 0])
    assert [edges.tolist() for edges in trie.children] == [[0, 2], [0, 1, 3]]
    assert [codes.tolist() for codes in trie.codes] == [[0, 1, 0, 0], [2, 0, 1, 0, 0]]
    assert [edges.tolist() for edges in trie.leaves] == [[0, 3], [0, 1, 3]]
    assert trie.items.tolist() == [2, 3, 1, 4]  # items 1 and 3 share (1, 0); 3 comes first
    assert trie.item_offsets.tolist() == [0, 1, 3, 4]
    assert {tensor.dtype for tensor in (*trie.children, *trie.codes, trie.items)} == {torch.int32}
    items, owner = expand_leaves(trie, [1, 0])
    assert items.tolist() == [3, 1, 2]
    assert owner.tolist() == [0, 0, 1]


def test_ids_too_long_for_one_number_are_sorted_all_the_same():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (50, 9)) * 8191
    trie = Trie.build(codes, [8192] * 9)
    assert [prefix for prefix, _ in paths(trie)] == sorted({tuple(row) for row in codes.tolist()})


def test_lists_of_items_to_leaves_whole_or_in_part():
    trie = Trie.build([[0], [1], [0], [2]], (3,))
    lists = [1, 2, 2, 1, 3], [0, 3, 3, 5]
    assert [part.tolist() for part in leaves_of_lists(trie, *lists, every_item=True)] == [
        [0, 2],
        [1, 0],
    ]
    assert [part.tolist() for part in leaves_of_lists(trie, *lists, every_item=False)] == [
        [0, 0, 2],
        [0, 1, 0],
    ]


@pytest.mark.parametrize(
    ("codes", "sizes", "message"),
    [
        ([[0, 3]], (2, 3), "item row 0 has the code 3 at level 1, which has the codes 0 to 2"),
        ([[0], [-1]], (2,), "item row 1 has the code -1"),
        ([[0, 1]], (2,), r"shape \[items, 1\], not \(1, 2\)"),
        (np.zeros((0, 2), int), (2, 2), "shape"),
        ([[0.5]], (2,), "must be integers"),
    ],
)
def test_a_table_that_is_no_set_of_ids_is_refused(codes, sizes, message):
    with pytest.raises(DataError, match=message):
        Trie.build(codes, sizes)


def test_wrong_masks_orders_and_items_are_refused():
    trie = Trie.build([[0], [1]], (2,))
    with pytest.raises(DataError, match="3 marks for 2 items"):
        trie.restrict([True, True, False])
    with pytest.raises(DataError, match="not one number per item"):
        Trie.build([[0], [1]], (2,), order=[1])
    with pytest.raises(DataError, match="between 1 and 2"):
        leaves_of_lists(trie, [3], [0, 1], every_item=True)


def rows_of_scores(data, n):
    """A few rows with many equal scores, some of them shut out."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    shape = data.draw(st.integers(1, 4)), n
    scores = rng.integers(0, data.draw(st.integers(1, 40) | st.just(2**20)), shape)
    scores = scores.astype(np.float32)
    scores[rng.random(shape) < data.draw(st.floats(0, 1))] = -np.inf
    return scores


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_best_of_every_row_as_a_stable_sort_says(data):
    n = data.draw(st.integers(1, 120) | st.integers(1025, 1200))
    k = data.draw(st.integers(1, min(n, 60)))
    scores = rows_of_scores(data, n)
    for positions, kept in (
        best_positions(torch.from_numpy(scores), k),
        _of_tensors(torch.from_numpy(scores), k),  # what devices other than the CPU take
    ):
        for row in range(len(scores)):
            order = sorted(range(n), key=lambda place: (-scores[row, place], place))
            best = sorted(place for place in order[:k] if scores[row, place] > -np.inf)
            used = kept[row] > -np.inf
            assert positions[row, used].tolist() == best
            assert kept[row, used].tolist() == scores[row, best].tolist()
            assert ((positions[row] >= 0) & (positions[row] < n)).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equal_scores_keep_their_order_when_the_best_come_first(data):
    scores = rows_of_scores(data, data.draw(st.integers(1, 60)))
    found = best_first(torch.from_numpy(scores))
    for row, order in zip(scores, found.tolist(), strict=True):
        assert order == sorted(range(len(row)), key=lambda place: (-row[place], place))
