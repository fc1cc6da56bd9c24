import polars as pl
import pytest

from llmrec.data.catalog import Catalog
from llmrec.signatures.existence import TitleIndex, flag_unknown_items, listed_titles, normal_form

TITLES = {
    1: "Matrix, The (1999)",
    2: "Star Wars: Episode IV - A New Hope (1977)",
    3: "Misérables, Les (1995)",
    4: "Heat (1995)",
    5: "Heat (1986)",
    6: "Crouching Tiger, Hidden Dragon (2000)",
    7: "Thelma & Louise (1991)",
}


@pytest.fixture(scope="module")
def catalog():
    return Catalog(pl.DataFrame({"item_id": list(TITLES), "title": list(TITLES.values())}))


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ("The Matrix (1999)", (1,)),
        ("the  MATRIX", (1,)),
        ("Les Miserables (1995)", (3,)),
        ("Heat", (4, 5)),
        ("Heat (1986)", (5,)),
        ("Heat (1990)", ()),
        ("Star Wars: Episode IV - A New Hope (1977)", (2,)),
        ("Star Wars: Episode IV - A New Hope - space, for the family", (2,)),
        ("Crouching Tiger, Hidden Dragon", (6,)),
        ("Thelma and Louise (1991): two women flee", (7,)),
        ("Heat (1995) by Michael Mann", (4,)),
        ("Star Wars", ()),
        ("The Matrix 5", ()),
        ("", ()),
        ("!!!", ()),
    ],
)
def test_titles_are_found_however_they_are_written(catalog, written, ids):
    (found,) = TitleIndex(catalog).find([written])
    assert found.item_ids == ids
    assert found.exists == bool(ids)


def test_near_misses_are_named_and_not_taken(catalog):
    index = TitleIndex(catalog)
    near = index.find(["The Matrix (2015)", "Crouching Tiger, Hidden Dragons", "Wholly Unlike"])
    assert [found.nearest for found in near] == [TITLES[1], TITLES[6], None]
    assert not any(found.exists for found in near)


def test_the_titles_of_an_answer_that_do_not_exist(catalog):
    answer = "Here you are:\n1. **The Matrix** - neo\n2) 'Heat (1995)'\n- Matrix of Doom (2031)\n\n"
    unknown = flag_unknown_items([answer, "Heat\nNo Such Film", ""], catalog)
    assert [[found.title for found in one] for one in unknown] == [
        ["Matrix of Doom (2031)"],
        ["No Such Film"],
        [],
    ]
    assert listed_titles("I am sorry.") == ["I am sorry"]


def test_every_title_of_the_catalogue_is_itself(catalog):
    assert all(found.exists for found in TitleIndex(catalog).find(TITLES.values()))
    assert normal_form("A.I. Artificial Intelligence (2001)")[1] == "2001"


def test_items_without_titles_go_by_their_ids():
    index = TitleIndex(Catalog(pl.DataFrame({"item_id": ["b1", "b2"]})))
    assert index.find(["b2"])[0].item_ids == ("b2",)
