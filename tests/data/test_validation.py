import time

import polars as pl
import pytest
from event_strategies import dataset_of

from llmrec.data import Catalog, Dataset, Interactions
from llmrec.data.findings import Finding
from llmrec.data.validation import validate
from llmrec.errors import DataError

GOOD = "user_id,item_id,timestamp,rating\n" + "".join(
    f"{user},{item},{1_000_000_000 + item},4\n" for user in (1, 2) for item in (5, 6, 7)
)


def places(found, word):
    return [(f.severity, f.file, f.row, f.column) for f in found if word in f.message]


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_good_data_has_no_finding(tmp_path):
    items = "item_id,title\n5,Five\n6,Six & Co\n7,Seven < 8\n"
    folder = write(tmp_path, interactions=GOOD, items=items, users="user_id,age\n1,30\n2,40\n")
    assert validate(folder) == []


@pytest.mark.parametrize(
    ("row", "word", "severity", "column"),
    [
        (",5,1000000000,4", "missing", "error", "user_id"),
        ("1,,1000000000,4", "missing", "error", "item_id"),
        ("1,8,,4", "missing", "error", "timestamp"),
        ("1,8,1000000000,", "missing", "warning", "rating"),
        ("1,8,1000000000 ,4", "'1000000000 ', with blanks", "warning", "timestamp"),
        ("1,8,12/03/24,4", "'12/03/24', not Unix seconds", "error", "timestamp"),
        ("1,8,1000000000000,4", "probably milliseconds", "error", "timestamp"),
        (f"1,8,{int(time.time()) + 10**7},4", "in the future", "warning", "timestamp"),
        ("1,8,631151999,4", "before 1990", "warning", "timestamp"),
        ("1,8,1000000000,good", "'good', not a number", "error", "rating"),
        ("1,8,1000000000,11", "'11', outside 0 to 10", "warning", "rating"),
        ("1,8,1000000000,-1", "outside 0 to 10", "warning", "rating"),
        ("1,8,1000000000,nan", "outside 0 to 10", "warning", "rating"),
        ("1,5,1000000005,2", "repeats an earlier row", "error", None),
        ("1,8,900000000,4", "earlier than the user's previous row", "info", "timestamp"),
        ("9,8,1000000000,4", "'9' has fewer than 3 events", "info", "user_id"),
    ],
)
def test_each_rule_finds_its_row(tmp_path, row, word, severity, column):
    assert places(validate(write(tmp_path, interactions=GOOD)), word) == []
    (tmp_path / "interactions.csv").write_text(GOOD + row + "\n")
    expected = [(severity, "interactions.csv", 7, column)]
    assert places(validate(tmp_path), word) == expected


def test_the_limits_of_ranges_are_inside(tmp_path):
    rows = "1,8,631152000,0\n1,9,631152001,10\n"
    found = validate(write(tmp_path, interactions=GOOD + rows))
    assert [f for f in found if f.severity != "info"] == []


def test_labels_and_split_names(tmp_path):
    text = "user_id,item_id,label,split\n1,5,1,train\n1,6,2,dev\n1,7,0,test\n"
    found = validate(write(tmp_path, interactions=text))
    assert places(found, "neither 0 nor 1") == [("error", "interactions.csv", 2, "label")]
    assert places(found, "'dev'") == [("error", "interactions.csv", 2, "split")]


def test_one_odd_id_among_integers(tmp_path):
    rows = "".join(f"{1 + i // 5},{i},{10**9}\n" for i in range(100))
    text = "user_id,item_id,timestamp\n" + rows + f"1,1OO,{10**9}\n"
    found = validate(write(tmp_path, interactions=text))
    assert places(found, "'1OO'") == [("warning", "interactions.csv", 101, "item_id")]
    assert (
        places(validate(pl.DataFrame({"user_id": ["1", "b"], "item_id": [1, 1]})), "nearly") == []
    )


def test_rows_are_bounded_and_counted():
    frame = pl.DataFrame({"user_id": [1] * 100, "item_id": [None] * 100, "timestamp": range(100)})
    found = [f for f in validate(frame, limit=3) if f.column == "item_id" and f.row]
    assert [f.row for f in found] == [1, 2, 3]
    assert all("(100 rows in all)" in f.message for f in found)


def test_items(tmp_path):
    text = (
        "item_id,title,price\n5,Five,1\n5,Again,1\n6,,2\n7,<b>Seven</b>,3\n8,Tom &amp; Jerry,4\n"
        "9,A < B > C & D,5\n,x,6\n"
    )
    (tmp_path / "items.csv").write_text(text)
    found = validate(tmp_path / "items.csv")
    assert places(found, "was there before") == [("error", "items.csv", 2, "item_id")]
    assert places(found, "no title") == [("warning", "items.csv", 3, "title")]
    assert [row for *_, row, _ in places(found, "HTML")] == [4, 5]
    assert places(found, "missing") == [("error", "items.csv", 7, "item_id")]
    assert places(found, "crawled after") == [("info", "items.csv", None, "price")]


def test_items_without_titles(tmp_path):
    (tmp_path / "items.csv").write_text("item_id\n5\n")
    assert places(validate(tmp_path / "items.csv"), "no titles") == [
        ("warning", "items.csv", None, "title")
    ]


def test_users_twice(tmp_path):
    (tmp_path / "users.csv").write_text("user_id,age\n1,30\n1,31\n")
    found = validate(tmp_path / "users.csv")
    assert places(found, "before") == [("error", "users.csv", 2, "user_id")]


def test_events_against_the_catalog(tmp_path):
    folder = write(tmp_path, interactions=GOOD, items="item_id,title\n5,a\n6,b\n")
    found = validate(folder, limit=1)
    assert places(found, "item 7 is not in items.csv (2 rows") == [
        ("error", "interactions.csv", 3, "item_id")
    ]


def test_id_types_that_differ(tmp_path):
    folder = write(tmp_path, interactions=GOOD, items="item_id,title\nB5,a\nB6,b\n")
    assert places(validate(folder), "integers here but text in items.csv") == [
        ("error", "interactions.csv", None, "item_id")
    ]


def test_swapped_columns_are_suspected(tmp_path):
    text = "user_id,item_id\n5,1\n6,1\n7,2\n"
    folder = write(tmp_path, interactions=text, items="item_id,title\n5,a\n6,b\n7,c\n")
    found = validate(folder)
    assert len(places(found, "every user_id is an item")) == 1
    assert "swapped" in next(f.fix for f in found if "every user_id" in f.message)


def test_sequences(tmp_path):
    text = "user_id,item_ids_in_time_order\na,5 6 7\nb,\nc,5 9\na,5 6 7\n"
    folder = write(tmp_path, sequences=text, items="item_id,title\n5,a\n6,b\n7,c\n")
    found = validate(folder)
    assert places(found, "no item") == [("error", "sequences.csv", 2, "item_ids_in_time_order")]
    assert places(found, "fewer than 3") == [("info", "sequences.csv", 3, "item_ids_in_time_order")]
    assert places(found, "before") == [("error", "sequences.csv", 4, "user_id")]
    assert places(found, "item 9 is not in") == [("error", "sequences.csv", 3, "item_id")]


def test_missing_columns_and_separators(tmp_path):
    found = validate(write(tmp_path, interactions="user,item_id\n1,2\n"))
    assert places(found, "did you mean 'user'") == [("error", "interactions.csv", None, "user_id")]
    found = validate(write(tmp_path, interactions="user_id item_id\n1 2\n"))
    assert "separator" in found[0].fix


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "empty"), ("user_id,item_id\n", "no rows"), ("user_id,item_id\n1,2,3\n", "3 fields")],
)
def test_what_cannot_be_read_is_a_finding_too(tmp_path, text, word):
    found = validate(write(tmp_path, interactions=text))
    assert [(f.severity, word in f.message) for f in found] == [("error", True)]


def test_paths(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        validate(tmp_path / "nowhere")
    assert places(validate(tmp_path), "neither interactions nor sequences") != []


def test_atomic_files_are_checked_too(tmp_path):
    path = tmp_path / "shop.inter"
    path.write_text("user_id:token\titem_id:token\ttimestamp:float\n1\t2\t978300760000\n")
    assert places(validate(path), "milliseconds") == [("error", "shop.inter", 1, "timestamp")]


def test_datasets_are_checked_in_canonical_rows():
    found = validate(dataset_of([(1, 1, 5), (1, 2, 10**9), (1, 3, 10**9)]))
    assert places(found, "before 1990") == [("warning", "toy interactions", 1, "timestamp")]
    catalog = Catalog(pl.DataFrame({"item_id": [1, 2], "title": ["a", "<i>b</i>"]}))
    events = Interactions(pl.DataFrame({"user_id": [1, 1, 1], "item_id": [1, 2, 1]}))
    assert places(validate(Dataset("toy", events, catalog)), "HTML") == [
        ("warning", "toy items", 2, "title")
    ]


def test_errors_come_first_and_findings_read_as_sentences():
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": [1, None], "rating": [99.0, 1.0]})
    found = validate(frame)
    assert [f.severity for f in found] == ["error", "warning", "info"]
    finding = Finding("error", "a.csv", 3, "rating", "found 'x', not a number", "drop it")
    assert str(finding) == "error: a.csv row 3, column rating: found 'x', not a number; drop it."


def test_texts_that_cannot_be_shown_are_errors():
    frame = pl.DataFrame({"item_id": [1], "title": [["a"]], "category": [{"a": 1}]})
    found = [(f.severity, f.column) for f in validate(frame)]
    assert found == [("error", "title"), ("error", "category")]
    frame = pl.DataFrame({"item_id": [1], "title": ["a"], "category": [["b", "c"]]})
    assert validate(frame) == []


def test_integer_ids_that_no_reader_takes_are_errors():
    events = {"item_id": [1, 2, 3], "timestamp": [10**9] * 3}
    frame = pl.DataFrame({"user_id": pl.Series([7, 2**63, 7], dtype=pl.UInt64), **events})
    assert places(validate(frame), "beyond 2**63") == [("error", "frame", 2, "user_id")]


def test_widths_of_integers_are_no_difference(tmp_path):
    ids = pl.Series("item_id", [5, 6, 7], dtype=pl.Int32)
    pl.DataFrame([ids, pl.Series("user_id", [1, 1, 1])]).write_parquet(
        tmp_path / "interactions.parquet"
    )
    pl.DataFrame([ids.cast(pl.Int64), pl.Series("title", ["a", "b", "c"])]).write_parquet(
        tmp_path / "items.parquet"
    )
    assert validate(tmp_path) == []


def test_long_values_are_cut():
    frame = pl.DataFrame({"item_id": [1], "title": ["<b>" + "x" * 1000]})
    assert all(len(f.message) < 200 for f in validate(frame))


@pytest.mark.parametrize("moment", [1_000_000_000_000, -1_000_000_000_000])
def test_milliseconds_are_not_also_called_out_of_range(moment):
    frame = pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [moment]})
    found = [f for f in validate(frame) if f.column == "timestamp"]
    assert [("milliseconds" in f.message) for f in found] == [True]
