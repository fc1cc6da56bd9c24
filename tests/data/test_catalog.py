import polars as pl
import pytest

from llmrec.data import Catalog
from llmrec.errors import DataError


def test_rows_follow_the_codes():
    catalog = Catalog(pl.DataFrame({"title": ["C", "A"], "item_id": [30, 10]}))
    assert catalog.frame.columns == ["item_id", "title"]
    assert catalog.frame["item_id"].to_list() == catalog.vocabulary.ids.to_list() == [10, 30]
    assert catalog.vocabulary.encode([30]).tolist() == [2]
    assert len(catalog) == 2


def test_items_without_title_show_their_id():
    frame = pl.DataFrame({"item_id": [1, 2, 3], "title": ["One", None, "  "]})
    assert Catalog(frame).titles.to_list() == ["One", "2", "3"]
    assert Catalog(frame.drop("title")).titles.to_list() == ["1", "2", "3"]


def test_restrict_keeps_what_occurs():
    catalog = Catalog(pl.DataFrame({"item_id": [1, 2, 3], "title": ["a", "b", "c"]}))
    assert catalog.restrict(pl.Series([3, 3, 1])).frame.rows() == [(1, "a"), (3, "c")]


def test_from_ids_has_each_once():
    assert Catalog.from_ids(pl.Series(["b", "a", "b"])).vocabulary.ids.to_list() == ["a", "b"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"item": [1]}, "items.csv has no column 'item_id'; did you mean 'item'"),
        ({"item_id": []}, "items.csv has no rows"),
        ({"item_id": [1, 1]}, "item ids are there more than once: 1"),
        ({"item_id": [1, None]}, "item id is missing"),
    ],
)
def test_each_mistake_gets_a_sentence(frame, message):
    with pytest.raises(DataError, match=message):
        Catalog(pl.DataFrame(frame), "items.csv")
