import gzip
import json
import re
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.readers import read_catalog, read_interactions, read_sequences, read_users
from llmrec.data.readers.columns import (
    _COMMON_FORMATS,
    infer,
    parse_ids,
    parse_timestamps,
)
from llmrec.data.readers.scan import open_table
from llmrec.errors import ConfigError, DataError

ROWS = [(1, 30, 100, 4.5), (1, 20, 90, 3.0), (2, 30, 80, 1.0)]
CANONICAL = [(1, 20, 90, 3.0), (1, 30, 100, 4.5), (2, 30, 80, 1.0)]
NAMES = ["user_id", "item_id", "timestamp", "rating"]


SHARP = gzip.compress(b"user_id,item_id\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(9999)))


def damaged(data, where):
    return data[:where] + b"\xff" * 40 + data[where + 40 :]


def write(path, text, encoding="utf-8"):
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def separated(separator, header=True):
    rows = [NAMES, *ROWS] if header else ROWS
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.tsv", "log.tsv.gz", "log.txt"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_separated_text_is_read_whatever_the_separator(tmp_path, name, separator):
    path = write(tmp_path / name, separated(separator))
    cut = separator if ".tsv" in name else None
    assert read_interactions(path, separator=cut).frame.rows() == CANONICAL


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz", "log.ndjson"])
def test_json_lines(tmp_path, name):
    lines = "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS)
    assert read_interactions(write(tmp_path / name, lines)).frame.rows() == CANONICAL


def test_parquet_keeps_declared_types(tmp_path):
    frame = pl.DataFrame(ROWS, schema=NAMES, orient="row")
    frame = frame.with_columns(pl.col("item_id").cast(pl.String))
    frame.write_parquet(tmp_path / "log.parquet")
    result = read_interactions(tmp_path / "log.parquet").frame
    assert result["item_id"].to_list() == ["20", "30", "30"]


def test_windows_line_ends_a_byte_order_mark_and_blank_last_lines(tmp_path):
    text = "\ufeff" + separated(",").replace("\n", "\r\n") + "\r\n\r\n"
    assert read_interactions(write(tmp_path / "log.csv", text)).frame.rows() == CANONICAL


def test_columns_are_renamed_and_only_needed_ones_kept(tmp_path):
    text = "userId,movieId,when,mood,review\n1,7,5,x,good\n"
    path = write(tmp_path / "log.csv", text)
    columns = {"user_id": "userId", "item_id": "movieId", "timestamp": "when"}
    assert read_interactions(path, columns=columns).frame.columns == NAMES[:3]
    some = read_interactions(path, columns=columns, extra=["mood"]).frame
    assert some.columns == [*NAMES[:3], "mood"]
    everything = read_interactions(path, columns=columns, extra="all").frame
    assert everything.columns == [*NAMES[:3], "mood", "review"]


def test_a_file_without_header(tmp_path):
    path = write(tmp_path / "log.csv", separated(",", header=False))
    assert read_interactions(path, header=NAMES).frame.rows() == CANONICAL
    with pytest.raises(DataError, match=r"4 fields in its first line.*header names 2"):
        read_interactions(path, header=NAMES[:2])
    with pytest.raises(DataError, match=r"first line looks like data: pass header="):
        read_interactions(path)


def test_blanks_around_numbers_and_ids_are_removed(tmp_path):
    path = write(tmp_path / "log.csv", "user_id,item_id,timestamp\n1, 7 ,964982495 \n")
    assert read_interactions(path).frame.rows() == [(1, 7, 964982495)]


def test_ids_with_leading_zeros_stay_text(tmp_path):
    path = write(tmp_path / "log.csv", "user_id,item_id\n1,007\n2,12\n")
    frame = read_interactions(path).frame
    assert frame["item_id"].to_list() == ["007", "12"]
    assert frame["user_id"].dtype == pl.Int64
    assert read_interactions(path, id_type="string").frame["user_id"].to_list() == ["1", "2"]
    with pytest.raises(DataError, match=r"log.csv row 1, column item_id: found \'007\'.*id_type"):
        read_interactions(path, id_type="integer")
    with pytest.raises(ConfigError, match="'auto', 'integer' or 'string'"):
        read_interactions(path, id_type="number")


@given(st.lists(st.integers(-(10**17), 10**17), min_size=1))
def test_integer_ids_survive_as_integers(numbers):
    assert parse_ids(pl.Series("x", map(str, numbers)), "auto", "f").to_list() == numbers


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1))
def test_whole_timestamps_are_exact(numbers):
    series = pl.Series("timestamp", [f" {n}" for n in numbers])
    assert parse_timestamps(series, None, "f").to_list() == numbers


@pytest.mark.parametrize(
    ("text", "time_format", "seconds"),
    [
        ("978300760.9", None, 978300760),
        ("978300760999", "ms", 978300760),
        ("978300760999999", "us", 978300760),
        ("2001-01-01 00:12:40", "%Y-%m-%d %H:%M:%S", 978307960),
        ("2001-01-01T01:12:40+0100", "%Y-%m-%dT%H:%M:%S%z", 978307960),
        ("2001-01-01T01:12:40+01:00", "%Y-%m-%dT%H:%M:%S%z", 978307960),
        ("2001-01-01T00:12:40Z", "%Y-%m-%dT%H:%M:%S%z", 978307960),
        ("2001-01-01T00:12:40Z", "%Y-%m-%dT%H:%M:%SZ", 978307960),
        ("01/01/01", "%d/%m/%y", 978307200),
    ],
)
def test_time_formats(text, time_format, seconds):
    assert parse_timestamps(pl.Series("t", [text]), time_format, "f").to_list() == [seconds]


def test_an_unparsable_timestamp_is_placed_and_a_format_suggested(tmp_path):
    text = "user_id,item_id,when\n1,1,5\n1,2,13/12/24\n"
    path = write(tmp_path / "ratings.csv", text)
    expected = (
        r"ratings.csv row 2, column when \(timestamp\): found '13/12/24', "
        r"expected Unix seconds; pass time_format='%d/%m/%y'"
    )
    with pytest.raises(DataError, match=expected):
        read_interactions(path, columns={"timestamp": "when"})
    with pytest.raises(DataError, match=r"row 1.*expected the format '%Y-%m-%d'"):
        read_interactions(path, columns={"timestamp": "when"}, time_format="%Y-%m-%d")


@pytest.mark.parametrize(
    "text",
    [
        "2024-07-01T12:00:00Z",
        "2024-07-01T14:00:00+02:00",
        "2024-07-01T14:00:00+0200",
        "2024-07-01 12:00:00Z",
        "2024-07-01T12:00:00.250Z",
        "2024-07-01T12:00:00.250",
        "2024-07-01 12:00:00.250",
        "2024-07-01T12:00:00",
        "2024-07-01 12:00",
    ],
)
def test_the_format_that_is_advised_reads_the_value(text):
    series = pl.Series("timestamp", [text])
    with pytest.raises(DataError) as told:
        parse_timestamps(series, None, "f")
    advised = re.search(r"pass time_format='([^']+)'", str(told.value))[1]
    assert parse_timestamps(series, advised, "f").to_list() == [1719835200]


@given(st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1)), st.sampled_from(_COMMON_FORMATS))
def test_every_advised_format_reads_what_it_is_advised_for(moment, time_format):
    moment = moment.replace(tzinfo=UTC)
    series = pl.Series("t", [moment.strftime(time_format.replace("%.f", ".%f"))])
    with pytest.raises(DataError) as told:
        parse_timestamps(series, None, "f")
    advised = re.search(r"pass time_format='([^']+)'", str(told.value))[1]
    parse_timestamps(series, advised, "f")
    expected = datetime.strptime(series[0], time_format.replace("%.f", ".%f")).replace(tzinfo=UTC)
    assert parse_timestamps(series, time_format, "f").to_list() == [int(expected.timestamp())]


def test_a_format_for_numbers_is_refused(tmp_path):
    pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [5]}).write_parquet(
        tmp_path / "x.parquet"
    )
    with pytest.raises(DataError, match="Int64, not text"):
        read_interactions(tmp_path / "x.parquet", time_format="%Y")


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("user,item_id\n1,2\n", {}, "log.csv has no column 'user_id'; did you mean 'user'"),
        (
            "user_id,item_id\n1,2\n",
            {"columns": {"timestamp": "when"}},
            r"no column 'when' \(for timestamp\)",
        ),
        ("user_id;item_id\n1;2\n", {"separator": ","}, "one column.*pass separator=';'"),
        (
            "user_id,item_id\n1,2\n1,2,3,4\n",
            {},
            "log.csv row 2: found 4 fields where the header has 2",
        ),
        ("", {}, r"log.csv is empty \(0 bytes\)"),
        ("user_id,item_id\n", {}, "log.csv has a header but no rows"),
        ("user_id,item_id,item_id\n1,2,3\n", {}, "column 'item_id' more than once"),
        ("user_id,item_id\n1,\n", {}, "log.csv row 1, column item_id: the value is missing"),
        ("user_id,item_id\n1,2\n\n1,3\n", {}, "row 2, column user_id: the value is missing"),
        (
            "user_id,item_id,rating\n1,2,3\n1,3,good\n",
            {},
            r"row 2, column rating: found 'good', expected a number \(Float64\)",
        ),
        (
            "user_id,item_id,timestamp\n1,2,3\n1,2,3\n",
            {},
            "rows 1 and 2 are user 1, item 2, timestamp 3",
        ),
        ("user_id,item_id\n1,2\n", {"extra": ["mood"]}, "no column 'mood'"),
        (
            "user_id,item_id,label\n1,2,1.0\n1,3,0.4\n",
            {},
            "log.csv row 2, column label: found 0.4; labels are",
        ),
    ],
)
def test_each_mistake_gets_a_sentence(tmp_path, text, arguments, message):
    path = write(tmp_path / "log.csv", text)
    with pytest.raises(DataError, match=message):
        read_interactions(path, **arguments)


def test_surplus_fields_of_a_column_that_is_not_needed_are_noticed(tmp_path):
    path = write(tmp_path / "log.csv", "user_id,item_id,text\n1,2,a\n1,3,b,c\n")
    with pytest.raises(DataError, match="row 2: found 4 fields"):
        read_interactions(path)


def test_names_that_are_not_ours_are_refused(tmp_path):
    path = write(tmp_path / "log.csv", separated(","))
    with pytest.raises(ConfigError, match="'userid' is no column name; did you mean 'user_id'"):
        read_interactions(path, columns={"userid": "user_id"})
    with pytest.raises(ConfigError, match="one character"):
        read_interactions(path, separator="::")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_interactions(tmp_path / "log.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_interactions(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("log.csv", "user_id,item_id\né,2\n".encode("latin-1"), "not UTF-8"),
        ("log.csv.gz", gzip.compress(separated(",").encode() * 2000)[:-30], "log.csv.gz"),
        ("log.csv.gz", b"\x1f\x8bnonsense", "cannot be read"),
        ("log.csv.gz", damaged(SHARP, 20), "log.csv.gz cannot be read: Error -3.*get a whole copy"),
        ("log.csv.gz", damaged(SHARP, len(SHARP) // 2), "log.csv.gz"),
        ("log.txt", b"x" * 200_000, "log.txt has no header that can be read"),
        ("log.parquet", b"PAR1 nonsense", "log.parquet cannot be read"),
        ("log.jsonl", b'{"user_id": 1, "item_id": 2}\n{"user_id":\n', "log.jsonl cannot be read"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_interactions(tmp_path / name)


def test_quoted_fields_may_hold_separators_and_line_ends(tmp_path):
    path = write(tmp_path / "items.csv", 'item_id,title\n1,"A, ""B""\nC"\n')
    assert read_catalog(path).titles.to_list() == ['A, "B"\nC']


def test_a_catalog_keeps_titles_as_text_and_numbers_as_numbers(tmp_path):
    text = "asin,title,price,year,zip\n2,1984,5.5,1949,00501\n1,2012,,2009,10001\n"
    path = write(tmp_path / "items.csv", text)
    frame = read_catalog(path, columns={"item_id": "asin"}).frame
    assert frame.rows() == [
        (1, "2012", None, 2009, "10001"),
        (2, "1984", 5.5, 1949, "00501"),
    ]
    with pytest.raises(DataError, match="no column 'item_id'"):
        read_catalog(path)


def test_users_are_read_like_items(tmp_path):
    path = write(tmp_path / "users.csv", "user_id,age\nb,30\na,40\n")
    assert read_users(path).rows() == [("b", 30), ("a", 40)]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_inferred_numbers_are_the_numbers_that_were_written(numbers):
    series = infer(pl.Series("x", [repr(n) for n in numbers]))
    assert series.to_list() == numbers


def test_sequences_become_events_in_order(tmp_path):
    path = write(tmp_path / "s.csv", "user_id,item_ids_in_time_order\nb,30 10  20\na,10\n")
    interactions = read_sequences(path)
    assert interactions.frame.rows() == [("a", 10), ("b", 30), ("b", 10), ("b", 20)]
    assert not interactions.has_timestamps


def test_sequences_as_lists_in_parquet(tmp_path):
    frame = pl.DataFrame({"user_id": [1], "item_ids_in_time_order": [[3, 1]]})
    frame.write_parquet(tmp_path / "s.parquet")
    assert read_sequences(tmp_path / "s.parquet").frame.rows() == [(1, 3), (1, 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1\nb,\n", "row 2, column item_ids_in_time_order: user 'b' has no item"),
        ("a,1\na,2\n", "more than one row for user 'a'"),
    ],
)
def test_broken_sequences_are_named(tmp_path, rows, message):
    path = write(tmp_path / "s.csv", "user_id,item_ids_in_time_order\n" + rows)
    with pytest.raises(DataError, match=message):
        read_sequences(path)


def test_parquet_is_not_read_when_opened(tmp_path):
    frame = pl.DataFrame({"user_id": [1], "item_id": [2], "long_text": ["x" * 1000]})
    frame.write_parquet(tmp_path / "log.parquet")
    table = open_table(tmp_path / "log.parquet")
    plan = table.lazy.select("user_id").explain()
    assert "PROJECT 1/3 COLUMNS" in plan
