"""Histories from what a model knows, what a store keeps, and a file, against lists by hand."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from small_store import draw, store

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError
from llmrec.runs.new_events import with_new_events

ITEMS = Vocabulary(["pen", "ink", "paper", "clip"])


def model(known=None):
    return SimpleNamespace(vocabulary=ITEMS, known_histories=known)


def known(users, lists, times=None, ratings=None, labels=None):
    items = np.concatenate([ITEMS.encode(row) for row in lists])
    offsets = np.cumsum([0, *map(len, lists)])
    given = [None if v is None else np.asarray(v, t) for v, t in
             ((times, np.int64), (ratings, np.float32), (labels, np.int8))]  # fmt: skip
    return Histories(pl.Series(users), items, offsets, ITEMS, *given)


class Days:
    """Reads files one after the other and keeps what came, as a refresh does."""

    def __init__(self, folder, given):
        folder.mkdir(exist_ok=True)
        self.path, self.model, self.store = folder / "events.csv", given, store(folder)

    def ask(self, header, *lines):
        self.path.write_text("\n".join([header, *lines, ""]))
        return with_new_events(self.model, self.path, self.store)

    def __call__(self, header, *lines, read=()):
        found = self.ask(header, *lines)
        self.store.events.add(found.came, read)
        histories = found.histories
        return {
            user: (ITEMS.decode(histories[row]).to_list(), int(found.counts[row]))
            for row, user in enumerate(histories.user_ids)
        }


def test_without_a_clock_events_stand_in_the_order_in_which_they_came(tmp_path):
    day = Days(tmp_path, model(known(["a", "b"], [["pen"], ["clip"]])))
    head = "user_id,item_id"
    assert day(head, "a,ink", "c,pen", read=["a", "c"]) == {
        "a": (["pen", "ink"], 1),
        "c": (["pen"], 1),
    }
    assert day(head, "a,ink", "c,paper") == {
        "a": (["pen", "ink", "ink"], 1),  # nothing tells it from the first
        "c": (["pen", "paper"], 1),
    }
    assert day(head, "b,ink") == {
        "a": (["pen", "ink", "ink"], 1),
        "b": (["clip", "ink"], 1),
        "c": (["pen", "paper"], 1),
    }


def test_events_that_the_training_learnt_twice_stay_twice(tmp_path):
    day = Days(tmp_path, model(known(["a"], [["pen", "pen", "ink"]], [10, 10, 30])))
    lines = ("a,pen,10", "a,clip,40")
    assert day("user_id,item_id,timestamp", *lines) == {"a": (["pen", "pen", "ink", "clip"], 1)}


def test_with_a_clock_an_event_counts_once_and_stands_at_its_time(tmp_path):
    given = known(["a"], [["pen", "ink"]], [10, 30], [5, np.nan], [1, -1])
    day = Days(tmp_path, model(given))
    head = "user_id,item_id,timestamp,rating,label"
    assert day(head, "a,pen,10,5,1", "a,ink,30,,", "a,clip,20,,", read=["a"]) == {
        "a": (["pen", "clip", "ink"], 1)
    }
    assert len(day.store.events) == 1
    assert day(head, "a,clip,20,,", "a,paper,25,3,0") == {"a": (["pen", "clip", "paper", "ink"], 1)}
    found = day.ask(head, "a,paper,25,3,0").histories
    np.testing.assert_array_equal(found.times, [10, 20, 25, 30])
    np.testing.assert_array_equal(found.ratings, [5, np.nan, 3, np.nan])
    np.testing.assert_array_equal(found.labels, [1, -1, 0, -1])


def test_a_model_that_knows_nobody(tmp_path):
    day = Days(tmp_path, model())
    assert day("user_id,item_id,timestamp", "7,pen,1", read=[7]) == {7: (["pen"], 1)}
    assert day("user_id,item_id,timestamp", "7,ink,2", "7,glue,3") == {7: (["pen", "ink"], 1)}
    assert day.ask("user_id,item_id,timestamp", "7,glue,3").left_out == 1
    assert day("user_id,item_id,timestamp", "8,glue,3", read=[7]) == {7: (["pen", "ink"], 1)}
    assert day("user_id,item_id,timestamp", "8,glue,3") == {}


def test_gates_that_read_more_than_the_new_events_are_not_replaced_unseen(tmp_path):
    head, lines = "user_id,item_id", ("a,ink", "new,pen")
    day = Days(tmp_path, model())
    day.store.put(["a"], draw(1))  # of a model that knew what a did
    with pytest.raises(DataError, match="saved without users, so it does not know what user 'a'"):
        day.ask(head, *lines)
    whole = with_new_events(day.model, day.path, day.store, whole=True).histories
    assert whole.user_ids.to_list() == ["a", "new"]
    assert day(head, "new,pen") == {"new": (["pen"], 1)}
    knowing = Days(tmp_path / "other", model(known(["a"], [["pen"]])))
    knowing.store.put(["a"], draw(1))
    assert knowing(head, "a,ink") == {"a": (["pen", "ink"], 1)}


def test_kept_events_that_do_not_fit_are_told(tmp_path):
    day = Days(tmp_path, model())
    day("user_id,item_id", "a,pen")
    with pytest.raises(DataError, match="have no time, and these have one"):
        day("user_id,item_id,timestamp", "a,ink,2")
    other = Days(tmp_path / "other", model(known(["a"], [["pen"]], [1])))
    with pytest.raises(DataError, match="has no column 'timestamp'"):
        other("user_id,item_id", "a,ink")
    numbers = Days(tmp_path / "third", model(known([1], [["pen"]], [1])))
    with pytest.raises(DataError, match="not of the model's type"):
        numbers("user_id,item_id,timestamp", "a,ink,2")
