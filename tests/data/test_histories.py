import numpy as np
import polars as pl
import pytest
from event_strategies import dataset_of, event_lists, rows_of
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Dataset, Histories, Interactions, Vocabulary
from llmrec.errors import DataError, UnknownIdError

LISTS = {"ann": ["b", "a", "b"], "bob": [], "cid": ["c"]}


@pytest.fixture
def histories():
    return Histories.from_lists(LISTS, Vocabulary(["a", "b", "c"]))


def test_from_lists_keeps_order_and_empty_rows(histories):
    assert rows_of(histories) == LISTS
    assert histories.lengths.tolist() == [3, 0, 1]
    assert histories.items.tolist() == [2, 1, 2, 3]


def test_lists_without_users_are_numbered():
    numbered = Histories.from_lists([["c"], []], Vocabulary(["a", "b", "c"]))
    assert numbered.user_ids.to_list() == [0, 1]


def test_unknown_items_are_named():
    with pytest.raises(UnknownIdError, match="'zebra'"):
        Histories.from_lists({"ann": ["zebra"]}, Vocabulary(["a"]))


@given(event_lists(), st.data())
def test_take_last_block_and_prefixes_equal_list_slicing(events, data):
    histories = dataset_of(events).histories
    lists = [histories[row].tolist() for row in range(len(histories))]
    times = [t.tolist() for t in np.split(histories.times, histories.offsets[1:-1])]
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6))
    lengths = [data.draw(st.integers(0, len(lists[row]))) for row in rows]
    cut = histories.prefixes(rows, lengths)
    assert [cut[i].tolist() for i in range(len(cut))] == [
        lists[row][:length] for row, length in zip(rows, lengths, strict=True)
    ]
    expected = [t for row, n in zip(rows, lengths, strict=True) for t in times[row][:n]]
    assert cut.times.tolist() == expected
    taken = histories.take(rows)
    assert [taken[i].tolist() for i in range(len(taken))] == [lists[row] for row in rows]
    newest = histories.last(2)
    assert [newest[i].tolist() for i in range(len(newest))] == [row[-2:] for row in lists]
    start = data.draw(st.integers(0, len(lists)))
    block = histories.block(start, start + 2)
    assert [block[i].tolist() for i in range(len(block))] == lists[start : start + 2]
    assert block.times.tolist() == [t for own in times[start : start + 2] for t in own]


@given(event_lists(), st.data())
def test_before_a_moment_are_the_events_with_an_earlier_time(events, data):
    histories = dataset_of(events).histories
    moments = [*histories.times.tolist(), 0, int(histories.times.max()) + 1]
    moment = data.draw(st.sampled_from(moments))
    expected = {}
    for row, user in enumerate(histories.user_ids.to_list()):
        own = slice(*histories.offsets[row : row + 2])
        pairs = zip(histories.items[own].tolist(), histories.times[own].tolist(), strict=True)
        if early := [item for item, time in pairs if time < moment]:
            expected[user] = early
    found = histories.before(moment)
    ids = found.user_ids.to_list()
    assert {user: found[row].tolist() for row, user in enumerate(ids)} == expected


def test_nothing_is_before_a_moment_without_a_clock(histories):
    with pytest.raises(DataError, match="without a clock"):
        histories.before(3)


def test_a_prefix_longer_than_its_history_is_refused(histories):
    with pytest.raises(DataError, match="prefix"):
        histories.prefixes([1], [1])


def test_offsets_must_fit_the_users():
    with pytest.raises(DataError, match="need 2 offsets"):
        Histories(pl.Series(["a"]), np.zeros(0, np.int32), np.zeros(1, np.int64), Vocabulary([1]))


def test_another_vocabulary_means_the_same_items(histories):
    other = histories.with_vocabulary(Vocabulary(["c", "b", "a", "d"]))
    assert rows_of(other) == LISTS
    assert other.items.tolist() == [2, 3, 2, 1]
    with pytest.raises(UnknownIdError, match="'c'"):
        histories.with_vocabulary(Vocabulary(["a", "b"]))


def test_parquet_gives_back_empty_rows_times_and_ratings(tmp_path):
    vocabulary = Vocabulary(["a", "b", "c"])
    plain = Histories.from_lists(LISTS, vocabulary)
    full = Histories(
        plain.user_ids,
        plain.items,
        plain.offsets,
        vocabulary,
        np.array([5, 6, 7, 8]),
        np.array([1, 2, 3, 4.5], dtype=np.float32),
    )
    full.to_parquet(tmp_path / "h.parquet")
    back = Histories.from_parquet(tmp_path / "h.parquet", vocabulary)
    assert rows_of(back) == LISTS
    assert back.offsets.tolist() == full.offsets.tolist()
    assert back.times.tolist() == [5, 6, 7, 8]
    assert back.ratings.tolist() == [1, 2, 3, 4.5]
    assert back.ratings.dtype == np.float32


def test_labels_and_sessions_travel_with_the_events(tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "b"],
            "item_id": ["x", "y", "z", "x"],
            "timestamp": [1, 2, 3, 4],
            "label": [1, None, 0, 1],
            "session_id": ["s", "s", None, "s"],
        }
    )
    histories = Dataset("judged", Interactions(frame)).histories
    assert histories.labels.tolist() == [1, -1, 0, 1]
    assert histories.last(2).labels.tolist() == [-1, 0, 1]
    assert histories.block(1, 2).labels.tolist() == [1]
    first, same, none, other = histories.sessions.tolist()
    assert (first, none) == (same, -1)
    assert histories.last(2).sessions.tolist() == [same, none, other]
    histories.to_parquet(tmp_path / "h.parquet")
    again = Histories.from_parquet(tmp_path / "h.parquet", histories.vocabulary)
    assert again.labels.tolist() == [1, -1, 0, 1]
    assert again.sessions.tolist() == [first, same, none, other]
