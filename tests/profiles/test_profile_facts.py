import doctest

import polars as pl
import pytest

import llmrec.profiles.facts as facts_module
from llmrec.data import Catalog
from llmrec.errors import ConfigError
from llmrec.profiles.facts import ItemFields, item_facts, split_category, tidy


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("'Beauty', 'Makeup'", ["Beauty", "Makeup"]),
        ("""'Beauty', "Women's", 'Creams, Gels'""", ["Beauty", "Women's", "Creams, Gels"]),
        ("'Women's', 'Face'", ["Women's", "Face"]),
        (r"['Men\'s', 'Care']", ["Men's", "Care"]),
        ("[['Beauty', 'Makeup'], ['Face']]", ["Beauty", "Makeup", "Face"]),
        ("Animation|Children's|Comedy", ["Animation", "Children's", "Comedy"]),
        ("Office, Pens & Refills, Gel", ["Office", "Pens & Refills", "Gel"]),
        ("Office > Pens, Pencils > Gel", ["Office", "Pens, Pencils", "Gel"]),
        ("Home; Kitchen", ["Home", "Kitchen"]),
        ("Health &amp; Care", ["Health & Care"]),
        ("Pens,, Pens , ", ["Pens"]),
        ("'unfinished", ["unfinished"]),
        ("[]", []),
        ("''", []),
        ("  ", []),
        ("スキンケア|クリーム", ["スキンケア", "クリーム"]),
    ],
)  # fmt: skip
def test_category_strings_as_they_come(text, parts):
    assert split_category(text) == parts


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("AT&amp;T; phone", "AT&T; phone"),
        ("cut & copy &copyright", "cut & copy &copyright"),
        ("a\r\nEND\x00\x1bb\u2028c", "a END b c"),
        ("  日本  🖋 ", "日本 🖋"),
    ],
)
def test_tidy(text, clean):
    assert tidy(text) == clean


def test_facts_of_the_shop(catalog):
    facts = item_facts(catalog)
    assert facts.titles == [
        "Blue Pen", "Ink Pot", "AT&T Phone", "{{ 7*7 }} Notes", "p5", "Étui 日本 🖋"
    ]  # fmt: skip
    assert facts.own_titles[4] == ""
    assert facts.brands == ["Bic", "", "AT&T", "Bic", "", "Kokuyo"]
    assert facts.categories[:3] == [["Office", "Pens"], ["Office", "Inks, Refills"], ["Phones"]]
    assert facts.categories[4:] == [[], []]
    assert facts.descriptions[0] == ("Writes. " * 100)[:500].rstrip()
    assert facts.descriptions[1:4] == ["", "", "Lined."]
    assert facts.facts == [[]] * 6


def test_an_item_without_a_title_is_called_by_its_category():
    frame = {"item_id": [7, 8], "title": [None, " "], "category": ["Office|Pens", None]}
    facts = item_facts(Catalog(pl.DataFrame(frame)))
    assert facts.titles == ["Pens", "8"]


def test_category_lists_are_taken_as_they_are():
    frame = {"item_id": [1, 2], "category": [["A, B", "C", "C", None, ""], None]}
    assert item_facts(Catalog(pl.DataFrame(frame))).categories == [["A, B", "C"], []]


def test_price_and_rank_are_told_only_on_request_and_with_a_warning(catalog):
    with pytest.warns(UserWarning, match="price were crawled after the events"):
        facts = item_facts(catalog, ItemFields(facts=("price",)))
    assert facts.facts[:3] == [[("Price", "1.5")], [], [("Price", "30.0")]]


def test_other_facts_need_no_warning(recwarn):
    frame = pl.DataFrame({"item_id": [1], "release_year": [1999], "salesRank": [3]})
    assert item_facts(Catalog(frame), ItemFields(facts=("release_year",))).facts == [
        [("Release year", "1999")]
    ]
    assert not recwarn.list
    with pytest.warns(UserWarning, match="salesRank"):
        item_facts(Catalog(frame), ItemFields(facts=("salesRank",)))


def test_an_unknown_fact_is_refused(catalog):
    with pytest.raises(ConfigError, match=r"no column 'prise'.*did you mean 'price'"):
        item_facts(catalog, ItemFields(facts=("prise",)))


def test_examples_in_the_documentation():
    assert doctest.testmod(facts_module).attempted >= 3
    assert doctest.testmod(facts_module).failed == 0
