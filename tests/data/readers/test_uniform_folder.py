import math

import polars as pl
import pytest
from event_strategies import event_lists, frame_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec.data import Catalog, Dataset, Interactions
from llmrec.data.readers import (
    read_interactions,
    read_uniform_folder,
    write_uniform_folder,
)
from llmrec.errors import ArtifactError, ConfigError, DataError

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def full_dataset():
    events = frame_of([(1, 2, 30), (1, 1, 20), (2, 2, 10)]).with_columns(
        pl.col("item_id").cast(pl.String),  # text that looks like integers must stay text
        rating=pl.Series([0.1, math.nan, None]),
        label=pl.Series([0, 1, 1]),
        session_id=pl.Series(["s", None, ""]),
    )
    items = pl.DataFrame(
        {
            "item_id": ["2", "1", "003"],
            "title": ['a, "b"\r\nc', None, ""],
            "price": pl.Series([1 / 3, None, -0.0], dtype=pl.Float32),
            "sold": [True, None, False],
        }
    )
    users = pl.DataFrame({"user_id": [2, 1], "zip": ["00501", " x "]})
    return Dataset("toy", Interactions(events), Catalog(items), users)


@pytest.mark.parametrize("file_format", ["csv.gz", "parquet"])
def test_reading_back_gives_an_equal_fingerprint(tmp_path, file_format):
    dataset = full_dataset()
    write_uniform_folder(dataset, tmp_path / "toy", file_format)
    back = read_uniform_folder(tmp_path / "toy")
    assert back.name == "toy"
    assert back.fingerprint == dataset.fingerprint
    assert back.interactions.frame.equals(dataset.interactions.frame)
    assert back.catalog.frame.equals(dataset.catalog.frame)
    assert back.users.equals(dataset.users)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(event_lists(most=10), st.booleans(), st.data())
def test_any_text_and_number_survives_csv(tmp_path, events, clock, data):
    items = sorted({event[1] for event in events})
    titles = [data.draw(st.one_of(st.none(), text)) for _ in items]
    scores = [data.draw(st.floats()) for _ in items]
    catalog = Catalog(
        pl.DataFrame(
            {"item_id": items, "title": titles, "score": scores},
            schema_overrides={"title": pl.String},
        )
    )
    dataset = Dataset("toy", Interactions(frame_of(events, clock), "keep"), catalog)
    write_uniform_folder(dataset, tmp_path / "toy")
    back = read_uniform_folder(tmp_path / "toy")
    assert back.catalog.frame.equals(dataset.catalog.frame)
    assert back.interactions.frame.equals(dataset.interactions.frame)
    assert back.has_timestamps == clock


def test_a_changed_folder_is_refused(tmp_path):
    write_uniform_folder(full_dataset(), tmp_path / "toy", "parquet")
    path = tmp_path / "toy" / "interactions.parquet"
    frame = pl.read_parquet(path)
    frame.with_columns(timestamp=pl.col("timestamp") + 1).write_parquet(path)
    with pytest.raises(ArtifactError, match="has changed since it was written"):
        read_uniform_folder(tmp_path / "toy")
    path.unlink()
    with pytest.raises(ArtifactError, match="interactions is missing"):
        read_uniform_folder(tmp_path / "toy")


def test_a_failed_write_leaves_the_earlier_folder(tmp_path, monkeypatch):
    dataset = full_dataset()
    write_uniform_folder(dataset, tmp_path / "toy")

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_uniform_folder(dataset, tmp_path / "toy")
    monkeypatch.undo()
    assert read_uniform_folder(tmp_path / "toy").fingerprint == dataset.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="not a directory that llmrec wrote"):
        write_uniform_folder(full_dataset(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_nested_columns_need_parquet(tmp_path):
    events = frame_of([(1, 2, 30)]).with_columns(tags=pl.Series([["a", "b"]]))
    dataset = Dataset("toy", Interactions(events))
    with pytest.raises(DataError, match=r'column tags: List.*file_format="parquet"'):
        write_uniform_folder(dataset, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()
    write_uniform_folder(dataset, tmp_path / "toy", "parquet")
    assert read_uniform_folder(tmp_path / "toy").fingerprint == dataset.fingerprint
    with pytest.raises(ConfigError, match=r"'csv.gz' or 'parquet'"):
        write_uniform_folder(dataset, tmp_path / "toy", "feather")


def test_a_plain_folder_needs_no_manifest(tmp_path):
    (tmp_path / "interactions.csv").write_text("user_id,item_id,mood\n1,7,3\n")
    (tmp_path / "items.tsv").write_text("item_id\ttitle\n7\tSeven\n8\tEight\n")
    (tmp_path / "users.jsonl").write_text('{"user_id": 1, "age": 30}\n')
    dataset = read_uniform_folder(tmp_path, "mine")
    assert dataset.name == "mine"
    assert dataset.interactions.frame.rows() == [(1, 7, 3)]
    assert dataset.users.rows() == [(1, 30)]
    assert len(dataset.catalog) == 2
    assert len(read_uniform_folder(tmp_path, catalog="interacting").catalog) == 1


def test_id_types_that_differ_are_named(tmp_path):
    (tmp_path / "interactions.csv").write_text("user_id,item_id\n1,7\n")
    (tmp_path / "items.csv").write_text("item_id,title\nB007,Seven\n")
    with pytest.raises(DataError, match="Int64 in the interactions but String in the catalog"):
        read_uniform_folder(tmp_path)


MISTAKES = {
    "user_id,item_id,timestamp\n1,7,5\n1,7,5\n": ("duplicates", "drop the repeated rows"),
    "user_id,item_id,timestamp\n1,7,2001-09-09T01:46:40Z\n": ("time_format", "write Unix seconds"),
    "user,item_id\n1,7\n": ("columns", "rename the column"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_who_reads_a_folder_is_told_what_to_do_to_the_file(tmp_path, text):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "interactions.csv").write_text(text)
    option, instead = MISTAKES[text]
    with pytest.raises(DataError, match=f"{option}=.* no such option: {instead}.*another folder"):
        read_uniform_folder(tmp_path / "shop")
    with pytest.raises(DataError) as told:
        read_interactions(tmp_path / "shop" / "interactions.csv")
    assert "folder" not in str(told.value)


def test_the_way_round_an_option_works(tmp_path):
    (tmp_path / "interactions.csv").write_text(next(iter(MISTAKES)))
    events = read_interactions(tmp_path / "interactions.csv", duplicates="drop")
    write_uniform_folder(Dataset("shop", events), tmp_path / "other")
    assert read_uniform_folder(tmp_path / "other").interactions.frame.rows() == [(1, 7, 5)]


def test_folders_without_events(tmp_path):
    with pytest.raises(DataError, match=r"neither interactions.csv nor sequences.csv"):
        read_uniform_folder(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        read_uniform_folder(tmp_path / "nowhere")
