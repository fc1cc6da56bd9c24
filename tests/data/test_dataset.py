import numpy as np
import polars as pl
import pytest
from event_strategies import by_user, dataset_of, event_lists, frame_of, rows_of
from hypothesis import given

from llmrec.data import Catalog, Dataset, Interactions
from llmrec.errors import DataError


@given(event_lists())
def test_histories_hold_every_event_of_every_user_in_order(events):
    dataset = dataset_of(events)
    users = by_user(events)
    assert rows_of(dataset.histories) == {
        user: [event[1] for event in own] for user, own in users.items()
    }
    assert dataset.histories.times.tolist() == [e[2] for own in users.values() for e in own]
    assert np.diff(dataset.user_offsets).tolist() == [len(own) for own in users.values()]


def test_ratings_and_clock_reach_the_histories_only_if_there():
    events = [(1, 1, 5), (1, 2, 6)]
    assert dataset_of(events).histories.ratings is None
    assert dataset_of(events, rating=[1.0, 2.5]).histories.ratings.tolist() == [1.0, 2.5]
    assert dataset_of(events, clock=False).histories.times is None


def test_fingerprint_changes_with_every_table_and_not_with_the_name():
    events = Interactions(frame_of([(1, 1, 5), (1, 2, 6)]))
    catalog = Catalog(pl.DataFrame({"item_id": [1, 2], "title": ["a", "b"]}))
    users = pl.DataFrame({"user_id": [1], "age": [30]})
    base = Dataset("a", events, catalog, users)
    assert base.fingerprint == Dataset("b", events, catalog, users).fingerprint
    assert len(base.fingerprint) == 16
    later = Interactions(frame_of([(1, 1, 5), (1, 2, 7)]))
    renamed = Catalog(catalog.frame.with_columns(title=pl.Series(["a", "c"])))
    others = [
        Dataset("a", later, catalog, users),
        Dataset("a", events, renamed, users),
        Dataset("a", events, catalog),
        Dataset("a", events, catalog, users.with_columns(age=31)),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_fingerprint_does_not_depend_on_the_order_of_rows_across_users():
    events = [(1, 1, 5), (2, 2, 6), (1, 2, 7)]
    assert dataset_of(events).fingerprint == dataset_of(events[::-1]).fingerprint


def test_id_types_that_differ_are_named():
    events = Interactions(frame_of([(1, 1, 5)]))
    with pytest.raises(DataError, match="Int64 in the interactions but String in the catalog"):
        Dataset("toy", events, Catalog(pl.DataFrame({"item_id": ["1"]})))


def test_items_missing_from_the_catalog_are_named():
    events = Interactions(frame_of([(1, 1, 5), (1, 9, 6)]))
    with pytest.raises(DataError, match="1 items of the interactions are not in the catalog: 9"):
        Dataset("toy", events, Catalog(pl.DataFrame({"item_id": [1]})))
