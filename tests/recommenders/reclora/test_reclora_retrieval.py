"""Which events prompts tell, against a loop over rows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Histories, Vocabulary
from llmrec.data.ragged import offsets_of
from llmrec.recommenders.ctr.search import unit_rows
from llmrec.recommenders.reclora.retrieval import told_events

N_ITEMS = 9


def histories_of(rows):
    items = np.array([item for row in rows for item in row], dtype=np.int32)
    users = pl.Series([f"u{number}" for number in range(len(rows))])
    return Histories(users, items, offsets_of([len(r) for r in rows]), Vocabulary(range(N_ITEMS)))


def vectors(seed=0):
    drawn = np.random.default_rng(seed).normal(size=(N_ITEMS + 1, 4)).astype(np.float32)
    drawn[0] = 0
    return unit_rows(drawn)


def by_hand(row, about, most, searched, table):
    """Positions of the most similar of the newest events, newer ones first among equals."""
    start = max(0, len(row) - max(searched, most))
    scored = [(round(float(table[item] @ about) * 2**16), place) for place, item in enumerate(row)]
    best = sorted(scored[start:], reverse=True)[:most]
    return sorted(place for _, place in best)


rows_of_items = st.lists(st.lists(st.integers(1, N_ITEMS), max_size=12), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(rows_of_items, st.integers(0, 5), st.integers(1, 10))
def test_equals_a_loop(rows, most, searched):
    histories, table = histories_of(rows), vectors()
    targets = np.array([1 + len(row) % N_ITEMS for row in rows], dtype=np.int32)
    for retrieval in ("recent", "user_topk", "target_topk"):
        index, offsets = told_events(histories, retrieval, most, searched, table, targets)
        assert offsets.tolist() == offsets_of([min(len(row), most) for row in rows]).tolist()
        for number, row in enumerate(rows):
            own = (
                index[offsets[number] : offsets[number + 1]] - histories.offsets[number]
            ).tolist()
            if retrieval == "recent" or len(row) <= most or not most:
                assert own == list(range(max(0, len(row) - most), len(row)))
                continue
            window = row[-max(searched, most) :]
            about = table[targets[number]]
            if retrieval == "user_topk":
                about = table[window].mean(axis=0)
            chosen = by_hand(row, about, most, searched, table)
            scores = table[np.array(row)[own]] @ about
            expected = table[np.array(row)[chosen]] @ about
            assert own == sorted(own)
            np.testing.assert_allclose(np.sort(scores), np.sort(expected), atol=4e-5)


def test_equal_items_are_told_newest_first():
    histories = histories_of([[3, 3, 5, 3, 3]])
    index, _ = told_events(
        histories, "target_topk", 2, 60, vectors(), np.array([3], dtype=np.int32)
    )
    assert index.tolist() == [3, 4]


@pytest.mark.parametrize("retrieval", ["recent", "user_topk"])
def test_what_is_told_does_not_depend_on_the_item(retrieval):
    histories = histories_of([[1, 2, 3, 4, 5, 6]])
    found = [
        told_events(histories, retrieval, 3, 60, vectors(), np.array([t], dtype=np.int32))[
            0
        ].tolist()
        for t in (1, 7)
    ]
    assert found[0] == found[1]
