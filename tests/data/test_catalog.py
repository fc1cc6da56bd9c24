from datetime import date

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
        ({"item_id": [1], "title": [["a"]]}, r"column title: the values are List\(String\), not"),
        ({"item_id": [1], "title": [b"a"]}, "items.csv, column title: the values are Binary"),
        ({"item_id": [1], "title": [{"a": 1}]}, "column title: the values are Struct"),
        ({"item_id": [1], "category": [[["a"]]]}, "column category: .* not text or lists of texts"),
    ],
)
def test_each_mistake_gets_a_sentence(frame, message):
    with pytest.raises(DataError, match=message):
        Catalog(pl.DataFrame(frame), "items.csv")


@pytest.mark.parametrize(
    "titles", [["a", None], [1, 2], [1.5, None], [date(2001, 1, 1), None], [None, None]]
)
def test_what_can_be_written_as_text_is_a_title(titles):
    frame = pl.DataFrame({"item_id": [1, 2], "title": titles, "category": [["x", "y"], None]})
    expected = [str(i) if title is None else str(title) for i, title in enumerate(titles, 1)]
    assert Catalog(frame).titles.to_list() == expected
