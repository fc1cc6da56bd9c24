import math
from collections import Counter
from datetime import UTC, date, datetime

import polars as pl
import pytest
from event_strategies import by_user, event_lists, frame_of
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Interactions
from llmrec.errors import DataError


@given(event_lists(), st.randoms())
def test_no_event_is_lost_and_time_never_goes_back(events, random):
    random.shuffle(events)
    rows = Interactions(frame_of(events)).frame.rows()
    expected = [event for own in by_user(events).values() for event in own]
    assert rows == expected


@given(event_lists(clock=False))
def test_without_a_clock_users_keep_the_order_of_the_source(events):
    interactions = Interactions(frame_of(events, clock=False))
    assert not interactions.has_timestamps
    expected = [event[:2] for own in by_user(events).values() for event in own]
    assert interactions.frame.rows() == expected


@given(event_lists(most=30), st.integers(1, 4))
def test_k_core_equals_a_loop_that_drops_one_at_a_time(events, k):
    left = set(events)
    while True:
        users = Counter(event[0] for event in left)
        items = Counter(event[1] for event in left)
        poor = next((e for e in left if users[e[0]] < k or items[e[1]] < k), None)
        if poor is None:
            break
        left.remove(poor)
    if not left:
        with pytest.raises(DataError, match=f"{k}-core"):
            Interactions(frame_of(events)).k_core(k)
    else:
        assert set(Interactions(frame_of(events)).k_core(k).frame.rows()) == left


def test_columns_come_in_canonical_order_and_type():
    frame = pl.DataFrame(
        {
            "mood": ["x"],
            "label": [True],
            "timestamp": [10.9],
            "item_id": pl.Series([7], dtype=pl.UInt16),
            "rating": ["4"],
            "user_id": ["u"],
        }
    )
    result = Interactions(frame).frame
    assert dict(result.schema) == {
        "user_id": pl.String,
        "item_id": pl.Int64,
        "timestamp": pl.Int64,
        "rating": pl.Float64,
        "label": pl.Int8,
        "mood": pl.String,
    }
    assert result.row(0) == ("u", 7, 10, 4.0, 1, "x")


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (datetime(2001, 9, 9, 1, 46, 40), 1_000_000_000),
        (datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC), 1_000_000_000),
        (date(1970, 1, 2), 86_400),
    ],
)
def test_datetimes_become_unix_seconds(moment, seconds):
    frame = pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [moment]})
    assert Interactions(frame).frame["timestamp"].to_list() == [seconds]


def test_duplicates_are_named_dropped_or_kept():
    frame = frame_of([(1, 5, 10), (2, 5, 10), (1, 5, 10), (1, 5, 11)])
    with pytest.raises(DataError, match=r"log.csv.*rows 1 and 3 are user 1, item 5, timestamp 10"):
        Interactions(frame, source="log.csv")
    assert len(Interactions(frame, "drop")) == 3
    assert len(Interactions(frame, "keep")) == 4


def test_drop_keeps_the_first_of_equal_events():
    frame = frame_of([(1, 5, 10), (1, 5, 10)]).with_columns(rating=pl.Series([2.0, 3.0]))
    assert Interactions(frame, "drop").frame["rating"].to_list() == [2.0]


def test_duplicates_are_named_where_the_data_has_a_column_called_row():
    frame = frame_of([(1, 5, 10), (1, 5, 10)]).with_columns(row=pl.Series([8, 9]))
    with pytest.raises(DataError, match="rows 1 and 2 are user 1"):
        Interactions(frame)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, None],
        [0.0, 1.0, None],
        [False, True, None],
        ["0", "1.0", None],
        pl.Series([0, 1, None], dtype=pl.UInt8),
    ],
)
def test_labels_are_zero_one_or_not_said(labels):
    frame = frame_of([(1, i, i) for i in range(3)]).with_columns(label=pl.Series(labels))
    found = Interactions(frame).frame["label"]
    assert found.dtype == pl.Int8
    assert found.to_list() == [0, 1, None]


@pytest.mark.parametrize(
    "labels", [[1, 5], [0, -1], [0.0, 0.4], [1.0, math.nan], [None, 256], [None, "0.5"]]
)
def test_other_labels_are_refused_and_not_made_zero_or_one(labels):
    frame = frame_of([(1, 1, 1), (1, 2, 2)]).with_columns(label=pl.Series(labels))
    message = f"log.csv row 2, column label: found {labels[1]!r}; labels are 1 .liked. or 0"
    with pytest.raises(DataError, match=message):
        Interactions(frame, source="log.csv")


def test_order_only_data_may_repeat_items():
    assert len(Interactions(pl.DataFrame({"user_id": [1, 1], "item_id": [5, 5]}))) == 2


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"user": [1], "item_id": [1]}, "no column 'user_id'; did you mean 'user'"),
        ({"user_id,item_id": ["1,2"]}, "separator"),
        ({"user_id": [], "item_id": []}, "no rows"),
        ({"user_id": [1, None], "item_id": [1, 1]}, "row 2, column user_id: the value is missing"),
        (
            {"user_id": [1, 1], "item_id": [1, 2], "timestamp": ["5", "12/03/24"]},
            "row 2, column timestamp: found '12/03/24'; expected Unix seconds",
        ),
        ({"user_id": [1], "item_id": [1], "rating": ["good"]}, "column rating: found 'good'"),
        (
            {"user_id": [1], "item_id": [1], "rating": [[4]]},
            r"column rating: found \[4\]; expected a Float64",
        ),
        ({"user_id": [1.5], "item_id": [1]}, "user ids must be integers or strings"),
        (
            {"user_id": pl.Series([2**63], dtype=pl.UInt64), "item_id": [1]},
            "user ids that are integers must lie between .* found 9223372036854775808",
        ),
    ],
)
def test_each_mistake_gets_a_sentence(frame, message):
    with pytest.raises(DataError, match=message):
        Interactions(pl.DataFrame(frame))


def test_filter_keeps_what_it_says_and_refuses_nothing_left():
    interactions = Interactions(frame_of([(1, 1, 1), (2, 2, 2)]))
    assert interactions.filter(pl.col("user_id") == 2).frame.rows() == [(2, 2, 2)]
    with pytest.raises(DataError, match="no rows"):
        interactions.filter(pl.col("user_id") == 3)
