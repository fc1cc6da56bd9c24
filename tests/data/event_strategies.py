"""Hypothesis strategies for logs of events, and slow, obvious readings of them."""

import polars as pl
from hypothesis import strategies as st

from llmrec.data import Dataset, Interactions

USERS = 5
ITEMS = 6


@st.composite
def event_lists(draw, least=1, most=40, clock=True):
    """A list of (user, item, timestamp) without equal events; few values, so that ties occur."""
    event = st.tuples(
        st.integers(1, USERS), st.integers(1, ITEMS), st.integers(0, 12) if clock else st.just(0)
    )
    return draw(st.lists(event, min_size=least, max_size=most, unique=clock))


def frame_of(events, clock=True):
    schema = {"user_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64}
    frame = pl.DataFrame(events, schema=schema, orient="row")
    return frame if clock else frame.drop("timestamp")


def dataset_of(events, clock=True, **columns):
    frame = frame_of(events, clock).with_columns(
        **{name: pl.Series(values) for name, values in columns.items()}
    )
    return Dataset("toy", Interactions(frame, "keep"))


def by_user(events):
    """User to events, oldest first; equal times keep the order of the source."""
    users = {}
    for event in events:
        users.setdefault(event[0], []).append(event)
    return {user: sorted(own, key=lambda event: event[2]) for user, own in sorted(users.items())}


def rows_of(histories):
    """User id to item ids, read row by row."""
    return {
        user: histories.vocabulary.decode(histories[row]).to_list()
        for row, user in enumerate(histories.user_ids)
    }
