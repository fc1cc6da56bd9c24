"""A small shop: five users with a clock, items whose texts are as messy as real ones."""

import polars as pl
import pytest

from llmrec.data import Catalog, Dataset, Interactions

ITEMS = {
    "item_id": ["p1", "p2", "p3", "p4", "p5", "p6"],
    "title": ["Blue Pen", "Ink\n  Pot", "AT&amp;T Phone", "{{ 7*7 }} Notes", None, "Étui 日本 🖋"],
    "brand": ["Bic", None, "AT&amp;T", "Bic", None, "Kokuyo"],
    "category": ["'Office', 'Pens'", "'Office', 'Inks, Refills'", "Phones", "Paper", None, None],
    "description": ["Writes. " * 100, None, " ", "Lined.", None, None],
    "price": [1.5, None, 30.0, 4.0, 5.0, 6.0],
}
# newest last; with leave-one-out the last two of everyone with three or more are held out
SEQUENCES = {
    "ann": ["p1", "p2", "p3", "p4"],
    "bob": ["p2", "p1", "p4", "p6", "p3"],
    "cid": ["p6", "p4", "p1"],
    "dan": ["p1", "p2"],
    "eve": ["p3", "p2", "p1", "p3", "p2", "p1", "p4", "p6"],
}


@pytest.fixture(scope="package")
def catalog():
    return Catalog(pl.DataFrame(ITEMS))


@pytest.fixture(scope="package")
def dataset(catalog):
    events = [
        (user, item, 100 * number + step)
        for number, (user, row) in enumerate(SEQUENCES.items(), 1)
        for step, item in enumerate(row)
    ]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    return Dataset("shop", Interactions(frame), catalog)


@pytest.fixture(scope="package")
def order_only(catalog):
    events = [(user, item) for user, row in SEQUENCES.items() for item in row]
    frame = pl.DataFrame(events, schema=["user_id", "item_id"], orient="row")
    return Dataset("shop-without-a-clock", Interactions(frame), catalog)
