import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Origin
from llmrec.errors import ArtifactError, DataError
from llmrec.profiles import Profiles

USERS = {
    "user_id": ["ann", "ann", "bob"],
    "n_events": [1, 3, 2],
    "newest_item": ["p1", "p3", None],
    "newest_time": [100, 102, None],
    "text": ["one", "thrée 🖋", "two"],
}
ORIGIN = Origin("shop", "f" * 16, "5" * 16, "train", 102)


def table(**changes):
    return pl.DataFrame({**USERS, **changes})


def test_saved_profiles_come_back(tmp_path):
    profiles = Profiles.from_frame(table(), "user", "template", "writer", ORIGIN)
    profiles.save(tmp_path / "p")
    profiles.save(tmp_path / "p")  # replaces its own kind
    loaded = Profiles.load(tmp_path / "p")
    assert loaded.frame.equals(table())
    assert (loaded.kind, loaded.template_fingerprint, loaded.writer_fingerprint) == (
        "user", "template", "writer",
    )  # fmt: skip
    assert loaded.origin == ORIGIN
    assert loaded.fingerprint == profiles.fingerprint


def test_item_profiles_need_only_id_and_text(tmp_path):
    frame = pl.DataFrame({"item_id": [3, 1], "text": ["three", "one"]})
    profiles = Profiles.from_frame(frame, "item")
    assert profiles.frame.columns == ["item_id", "n_events", "newest_item", "newest_time", "text"]
    assert profiles.frame["n_events"].to_list() == [0, 0]
    assert profiles.ids.to_list() == [3, 1]
    profiles.save(tmp_path / "p")
    assert Profiles.load(tmp_path / "p").frame.equals(profiles.frame)
    assert Profiles.load(tmp_path / "p").origin is None


def test_the_fingerprint_follows_the_texts():
    changed = table(text=["one", "three", "two!"])
    assert Profiles.from_frame(changed, "user").fingerprint != (
        Profiles.from_frame(table(), "user").fingerprint
    )


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (table().drop("user_id"), "no column 'user_id'"),
        (table().drop("n_events"), "no column 'n_events'; without it nobody can tell"),
        (table().rename({"newest_time": "newest"}), "unknown column 'newest'; did you mean"),
        (table().clear(), "has no rows"),
        (table(user_id=["ann", None, "bob"]), "row 2, column user_id: the value is missing"),
        (table(n_events=[1, 0, 2]), "row 2, column n_events: found 0 for user 'ann'"),
        (table(n_events=[1, 3, None]), "row 3, column n_events: found None for user 'bob'"),
        (table(n_events=[1.0, 3.0, 2.0]), "column n_events: expected whole numbers"),
        (table(newest_time=["a", "b", "c"]), "column newest_time: expected Unix seconds"),
        (table(text=["one", " \n", "two"]), "row 2: the text about user 'ann' is empty"),
        (table(text=["one", "two", None]), "row 3: the text about user 'bob' is empty"),
        (table(text=[1, 2, 3]), "column text: expected texts, found Int64"),
        (table(n_events=[3, 3, 2]), "more than one profile of user 'ann' with 3 events"),
    ],
)
def test_a_table_that_is_not_right(frame, complaint):
    with pytest.raises(DataError, match="my table.*" + complaint):
        Profiles.from_frame(frame, "user", source="my table")


def test_an_item_has_one_profile():
    frame = pl.DataFrame({"item_id": [3, 3], "n_events": [0, 1], "text": ["a", "b"]})
    with pytest.raises(DataError, match="more than one profile of item 3;"):
        Profiles.from_frame(frame, "item")
    with pytest.raises(DataError, match="unknown kind of profile 'items'; did you mean 'item'"):
        Profiles.from_frame(frame, "items")


@pytest.fixture
def saved(tmp_path):
    Profiles.from_frame(table(), "user", origin=ORIGIN).save(tmp_path / "p")
    return tmp_path / "p"


def test_a_changed_or_incomplete_directory_is_refused(saved, tmp_path):
    manifest = json.loads((saved / "profiles.json").read_text())
    table(text=["x", "y", "z"]).write_parquet(saved / "profiles.parquet")
    with pytest.raises(ArtifactError, match=r"profiles\.parquet does not match the hash"):
        Profiles.load(saved)
    (saved / "profiles.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"profiles\.parquet is missing"):
        Profiles.load(saved)
    del manifest["origin"]
    (saved / "profiles.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="incomplete: origin"):
        Profiles.load(saved)
    (saved / "profiles.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ArtifactError, match="not of profile format 1"):
        Profiles.load(saved)
    with pytest.raises(ArtifactError, match="holds no profiles"):
        Profiles.load(tmp_path / "nothing")


def test_a_directory_of_another_kind_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match="not a directory that llmrec wrote"):
        Profiles.from_frame(table(), "user").save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_rows_at_written_out():
    profiles = Profiles.from_frame(table(), "user")
    users, known = ["ann", "ann", "ann", "bob", "bob", "zoe"], [1, 2, 9, 1, 2, 5]
    assert profiles.rows_at(users, known).tolist() == [0, 0, 1, -1, 2, -1]
    assert profiles.rows_at(users, known, allow_newer=True).tolist() == [0, 0, 1, 2, 2, -1]
    assert profiles.rows_at([], []).tolist() == []
    with pytest.raises(DataError, match="2 users need as many numbers"):
        profiles.rows_at(["ann", "bob"], [1])
    items = Profiles.from_frame(pl.DataFrame({"item_id": [1], "text": ["a"]}), "item")
    with pytest.raises(DataError, match="do not depend on a number of events"):
        items.rows_at([1], [1])


@settings(max_examples=100, deadline=None)
@given(
    own=st.sets(st.tuples(st.integers(0, 4), st.integers(1, 12)), min_size=1),
    asked=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 15)), min_size=1),
    newer=st.booleans(),
    seed=st.integers(0, 5),
)
def test_rows_at_by_brute_force(own, asked, newer, seed):
    rows = [sorted(own)[i] for i in np.random.default_rng(seed).permutation(len(own))]
    users, counts = zip(*rows, strict=True)
    frame = pl.DataFrame({"user_id": users, "n_events": counts, "text": ["t"] * len(rows)})
    expected = []
    for user, known in asked:
        mine = {n: row for row, (owner, n) in enumerate(rows) if owner == user}
        older, later = [n for n in mine if n <= known], [n for n in mine if n > known]
        if older:
            expected.append(mine[max(older)])
        else:
            expected.append(mine[min(later)] if newer and later else -1)
    wanted, known = zip(*asked, strict=True)
    found = Profiles.from_frame(frame, "user").rows_at(wanted, known, newer)
    assert found.tolist() == expected
