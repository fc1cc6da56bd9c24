"""The checks of ``validate``: each takes a table and returns findings, and changes nothing.

Tables may be raw text or typed. A check that lacks its column finds nothing; required columns are
checked by ``missing_columns``.
"""

import time
from collections.abc import Sequence

import polars as pl

from llmrec.data.catalog import TEXTS, text_problem
from llmrec.data.findings import Finding, Rule, report_rows
from llmrec.data.readers.columns import infer, whole_numbers
from llmrec.errors import nearest_name

DAY = 86_400
OLDEST = 631_152_000  # 1990-01-01, before which nobody logged clicks
MILLISECONDS = 100_000_000_000  # as seconds this is the year 5138
RATINGS = (0.0, 10.0)
_HTML = r"</?[a-zA-Z][^<>]*>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,5});"
_SECONDS = "write Unix seconds, or read with time_format=..."
_DIVIDE = 'divide by 1000, or read with time_format="ms"'
_HINDSIGHT = ("price", "sales_rank")


def missing_columns(
    frame: pl.DataFrame, file: str, required: Sequence[str], separator: str = ""
) -> list[Finding]:
    """Required columns that are not there."""
    found = []
    for column in required:
        if column in frame.columns:
            continue
        fix = "rename the column, or name it when reading (columns=...)"
        if frame.width == 1 and separator:
            fix = f"the header is one column when cut at {separator!r}: pass the right separator"
        near = nearest_name(column, frame.columns)
        found.append(Finding("error", file, None, column, f"the column is missing{near}", fix))
    return found


def missing_values(frame: pl.DataFrame, file: str, limit: int) -> list[Finding]:
    """Ids and timestamps that are missing (errors), other core values (warnings)."""
    found = []
    for column in ("user_id", "item_id", "timestamp", "rating", "label"):
        if column in frame.columns:
            severe = column in ("user_id", "item_id", "timestamp")
            rule = Rule(
                "error" if severe else "warning", "the value is missing", "drop or fill the row"
            )
            found += report_rows(rule, file, column, _empty(frame[column]), limit)
    return found


def surrounding_blanks(frame: pl.DataFrame, file: str, limit: int) -> list[Finding]:
    """Ids and numbers with blanks around them."""
    rule = Rule("warning", "found {value}, with blanks around it", "remove the blanks")
    found = []
    for column in ("user_id", "item_id", "timestamp", "rating", "label"):
        if column in frame.columns and (values := frame[column]).dtype == pl.String:
            blank = (values != values.str.strip_chars()) & ~_empty(values)
            found += report_rows(rule, file, column, blank, limit, values.__getitem__)
    return found


def timestamps(frame: pl.DataFrame, file: str, limit: int) -> list[Finding]:
    """Timestamps that cannot be read, lie in the future, before 1990, or are milliseconds."""
    if "timestamp" not in frame.columns:
        return []
    raw = frame["timestamp"]
    seconds = whole_numbers(raw)
    unread = seconds.is_null() & ~_empty(raw)
    milli = seconds.abs() >= MILLISECONDS
    late = (seconds > int(time.time()) + DAY) & ~milli
    rules = (
        (Rule("error", "found {value}, not Unix seconds", _SECONDS), unread),
        (Rule("error", "found {value}, probably milliseconds", _DIVIDE), milli),
        (Rule("warning", "found {value}, in the future", "correct the clock"), late),
        (
            Rule("warning", "found {value}, before 1990", "correct or drop the row"),
            (seconds < OLDEST) & ~milli,
        ),
    )
    found = []
    for rule, wrong in rules:
        found += report_rows(rule, file, "timestamp", wrong, limit, raw.__getitem__)
    return found


def values(frame: pl.DataFrame, file: str, limit: int) -> list[Finding]:
    """Ratings, labels and split names out of their range."""
    found = []
    if "rating" in frame.columns:
        raw = frame["rating"]
        numbers = _numbers(raw)
        unread = numbers.is_null() & ~_empty(raw)
        rule = Rule("error", "found {value}, not a number", "correct or drop the row")
        found += report_rows(rule, file, "rating", unread, limit, raw.__getitem__)
        rule = Rule("warning", "found {value}, outside 0 to 10", "check the scale of the ratings")
        outside = ~numbers.is_between(*RATINGS) | numbers.is_nan()
        found += report_rows(rule, file, "rating", outside, limit, raw.__getitem__)
    if "label" in frame.columns:
        raw = frame["label"]
        rule = Rule("error", "found {value}, neither 0 nor 1", "make labels 0 or 1")
        wrong = ~_numbers(raw).is_in([0.0, 1.0]) | (_numbers(raw).is_null() & ~_empty(raw))
        found += report_rows(rule, file, "label", wrong, limit, raw.__getitem__)
    if "split" in frame.columns:
        raw = frame["split"]
        rule = Rule("error", "found {value}", "use 'train', 'valid' or 'test'")
        wrong = ~raw.cast(pl.String).is_in(["train", "valid", "test"])
        found += report_rows(rule, file, "split", wrong.fill_null(True), limit, raw.__getitem__)
    return found


def duplicate_events(frame: pl.DataFrame, file: str, limit: int) -> list[Finding]:
    """Events equal in user, item and timestamp to an earlier row."""
    keys = ["user_id", "item_id", "timestamp"]
    if not set(keys) <= set(frame.columns):
        return []
    again = ~frame.select(pl.struct(keys).is_first_distinct()).to_series()
    again &= ~frame.select(pl.any_horizontal(pl.col(keys).is_null())).to_series()
    rule = Rule(
        "error",
        "the event repeats an earlier row: user, item, timestamp are {value}",
        'drop it, or read with duplicates="drop" or "keep"',
    )
    events = frame.select(keys)
    return report_rows(rule, file, None, again, limit, lambda row: events.row(row))


def order_in_time(frame: pl.DataFrame, file: str, limit: int) -> list[Finding]:
    """Rows that come before an earlier event of the same user; reading sorts them."""
    if not {"user_id", "timestamp"} <= set(frame.columns):
        return []
    timed = frame.select("user_id", whole_numbers(frame["timestamp"]).alias("seconds"))
    back = timed.select(
        (pl.col("seconds") < pl.col("seconds").shift(1).over("user_id")).alias("back")
    )["back"]
    rule = Rule(
        "info",
        "the timestamp is earlier than the user's previous row",
        "nothing to do if timestamps are right: events are sorted when read",
    )
    return report_rows(rule, file, "timestamp", back, min(limit, 1))


def short_users(frame: pl.DataFrame, file: str, limit: int, least: int = 3) -> list[Finding]:
    """First row of users with fewer than ``least`` events; splits leave them in training."""
    if "user_id" not in frame.columns:
        return []
    few = frame.select(
        (
            (pl.len().over("user_id") < least)
            & pl.col("user_id").is_first_distinct()
            & pl.col("user_id").is_not_null()
        ).alias("few")
    )["few"]
    rule = Rule(
        "info",
        f"user {{value}} has fewer than {least} events and cannot be tested on",
        "nothing to do, or keep a 3-core",
        "users",
    )
    return report_rows(rule, file, "user_id", few, limit, frame["user_id"].__getitem__)


def mixed_ids(frame: pl.DataFrame, file: str, limit: int, column: str) -> list[Finding]:
    """Ids that are not integers in a column where nearly all are."""
    if column not in frame.columns or frame[column].dtype != pl.String:
        return []
    ids = frame[column].str.strip_chars()
    odd = ~ids.str.contains(r"^(?:0|-?[1-9]\d{0,17})$") & ~_empty(ids)
    share = odd.sum() / max(ids.len(), 1)
    rule = Rule(
        "warning",
        "found {value} where nearly all ids are integers, so that all ids become text",
        "correct the id",
    )
    return report_rows(rule, file, column, odd, limit, ids.__getitem__) if share < 0.05 else []


def large_ids(frame: pl.DataFrame, file: str, limit: int, column: str) -> list[Finding]:
    """Integers that do not fit in 64 bits with a sign."""
    if column not in frame.columns or not frame[column].dtype.is_integer():
        return []
    large = frame[column].cast(pl.Int64, strict=False).is_null() & frame[column].is_not_null()
    rule = Rule("error", "found {value}, beyond 2**63 - 1", "make the column text")
    return report_rows(rule, file, column, large, limit, frame[column].__getitem__)


def repeated_keys(frame: pl.DataFrame, file: str, limit: int, column: str) -> list[Finding]:
    """Rows whose id was there before, in a table with one row per id."""
    if column not in frame.columns:
        return []
    again = ~frame[column].is_first_distinct() & ~_empty(frame[column])
    rule = Rule("error", "{value} was there before", "keep one row per id")
    return report_rows(rule, file, column, again, limit, frame[column].__getitem__)


def no_texts(frame: pl.DataFrame, file: str) -> list[Finding]:
    """Titles and categories that are of a type that cannot be shown."""
    found = []
    for column in (c for c in TEXTS if c in frame.columns):
        what, _, fix = text_problem(frame[column]).partition("; ")
        if what:
            found.append(Finding("error", file, None, column, what, fix))
    return found


def item_texts(frame: pl.DataFrame, file: str, limit: int) -> list[Finding]:
    """Items without a title, titles with HTML, and attributes from the future."""
    found = [
        Finding("info", file, None, c, "crawled after the events", "never use it as a feature")
        for c in _HINDSIGHT
        if c in frame.columns
    ]
    if "title" not in frame.columns:
        fix = "add titles; reports and text models show ids until then"
        return [*found, Finding("warning", file, None, "title", "items have no titles", fix)]
    if text_problem(frame["title"]):
        return found
    titles = frame["title"].cast(pl.String)
    rule = Rule("warning", "the item has no title", "its id is shown instead; add a title", "items")
    found += report_rows(rule, file, "title", _empty(titles), limit)
    rule = Rule("warning", "the title contains HTML: {value}", "strip tags and entities", "titles")
    html = titles.str.contains(_HTML)
    return found + report_rows(rule, file, "title", html, limit, titles.__getitem__)


def sequences(frame: pl.DataFrame, file: str, limit: int, column: str) -> list[Finding]:
    """Rows without an item, and the first users with fewer than three."""
    lengths = sequence_items(frame[column]).list.len().fill_null(0)
    users = frame["user_id"]
    rule = Rule("error", "user {value} has no item", "drop the row", "users")
    found = report_rows(rule, file, column, lengths == 0, limit, users.__getitem__)
    rule = Rule(
        "info",
        "user {value} has fewer than 3 events and cannot be tested on",
        "nothing to do, or keep a 3-core",
        "users",
    )
    few = (lengths > 0) & (lengths < 3)
    return found + report_rows(rule, file, column, few, limit, users.__getitem__)


def sequence_items(series: pl.Series) -> pl.Series:
    """The items of every sequence as lists, whether given as lists or as text with blanks."""
    if series.dtype != pl.String:
        return series
    return series.fill_null("").str.extract_all(r"\S+")


def across(
    events: pl.DataFrame,
    file: str,
    items: pl.DataFrame,
    items_file: str,
    limit: int,
    numbers: pl.Series | None = None,
) -> list[Finding]:
    """Ids of events against the catalog: type, unknown items, user and item swapped.

    Args:
        events: Has ``user_id`` and ``item_id``.
        file: Its name.
        items: The catalog's table.
        items_file: Its name.
        limit: Most rows to list.
        numbers: ``[events]`` the row of the file that each event stands in, if not its own.
    """
    if not {"user_id", "item_id"} <= set(events.columns) or "item_id" not in items.columns:
        return []
    users, used, known = (_ids(s) for s in (events["user_id"], events["item_id"], items["item_id"]))
    if used.dtype != known.dtype:
        message = f"item_id is {_kind(used)} here but {_kind(known)} in {items_file}"
        fix = 'read both as the same type (id_type="string"), or correct the odd ids'
        return [Finding("error", file, None, "item_id", message, fix)]
    unknown = ~used.is_in(known.implode()) & used.is_not_null()
    if not unknown.any():
        return []
    swapped = users.dtype == known.dtype and users.is_in(known.implode()).all()
    if swapped and users.n_unique() > 1:
        message = f"every user_id is an item of {items_file}, and not every item_id is"
        fix = "user_id and item_id seem swapped: rename the columns"
        return [Finding("error", file, None, "item_id", message, fix)]
    rule = Rule("error", f"item {{value}} is not in {items_file}", "add the item or drop the event")
    return report_rows(rule, file, "item_id", unknown, limit, used.__getitem__, numbers)


def _empty(series: pl.Series) -> pl.Series:
    if series.dtype != pl.String:
        return series.is_null()
    return series.is_null() | (series.str.strip_chars() == "").fill_null(True)


def _numbers(series: pl.Series) -> pl.Series:
    text = series.str.strip_chars() if series.dtype == pl.String else series
    return text.cast(pl.Float64, strict=False)


def _ids(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String:
        return infer(series.str.strip_chars().alias("id"))
    return series.cast(pl.Int64, strict=False) if series.dtype.is_integer() else series


def _kind(series: pl.Series) -> str:
    return "integers" if series.dtype.is_integer() else "text"
