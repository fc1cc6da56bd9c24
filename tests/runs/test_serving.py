"""Requests by text: ids of users and items, histories, candidates, and every mistake in them."""

import polars as pl
import pytest

import llmrec
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, StorageError, UnknownIdError
from llmrec.runs.directory import RunDirectory
from llmrec.runs.serving import rank_from, recommend_from, recommend_to_everyone, typed_ids


@pytest.fixture
def run(trained):
    return RunDirectory(trained / "sasrec")


def test_known_users_get_what_the_model_recommends(run):
    lists = recommend_from(run, ["7", "3"], [], k=4)
    expected = llmrec.load(run.path).recommend([7, 3], k=4)
    assert lists.drop("title").equals(expected)
    assert lists["title"].null_count() == 0


def test_a_history_gets_what_its_items_earn(run):
    lists = recommend_from(run, [], ["10001, 10002"], k=80 - 2)
    assert lists["user_id"].unique().to_list() == ["history 1"]
    assert not set(lists["item_id"]) & {10001, 10002}
    everything = recommend_from(run, [], ["10001,10002"], k=80, exclude_seen=False)
    assert set(everything["item_id"]) >= {10001, 10002}


def test_everyone_is_served_into_a_file_by_one_machine_or_several(run, tmp_path):
    model = llmrec.load(run.path)
    expected = model.recommend(model.known_histories.user_ids, k=4, exclude_seen=False)
    whole = tmp_path / "lists" / "all.parquet"
    assert recommend_to_everyone(run, whole, 4, False) == len(model.known_histories)
    assert pl.read_parquet(whole).equals(expected)
    parts = [tmp_path / f"part-{number}.parquet" for number in (1, 2, 3)]
    served = [
        recommend_to_everyone(run, part, 4, False, shard=(number, 3))
        for number, part in enumerate(parts, 1)
    ]
    assert sum(served) == len(model.known_histories)
    assert max(served) - min(served) <= 1
    together = pl.concat([pl.read_parquet(part) for part in parts])
    assert together["item_id"].equals(expected["item_id"])
    assert together["user_id"].equals(expected["user_id"])


def test_a_place_that_cannot_be_written_is_found_before_the_work(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(RunDirectory, "model", lambda self: pytest.fail("it was opened"))
    with pytest.raises(StorageError, match="cannot be written"):
        recommend_to_everyone(run, tmp_path / "file" / "lists.parquet")
    with pytest.raises(ConfigError, match="shard 3 of 2; expected a number from 1 to 2"):
        recommend_to_everyone(run, tmp_path / "lists.parquet", shard=(3, 2))


def test_candidates_are_what_is_chosen_from(run):
    lists = recommend_from(run, ["7"], [], k=2, exclude_seen=False, candidates="10005,10009,10001")
    expected = llmrec.load(run.path).recommend(
        [7], k=2, exclude_seen=False, candidates=[10005, 10009, 10001]
    )
    assert lists.drop("title").equals(expected)
    with pytest.raises(ConfigError, match="k=10 must lie between 1 and the 1 items"):
        recommend_from(run, ["7"], [], candidates="10005")
    with pytest.raises(UnknownIdError, match="unknown item id 77"):
        recommend_from(run, ["7"], [], candidates="10005,77")


def test_a_session_is_what_the_model_writes(sessions_run):
    model = llmrec.load(sessions_run.path)
    chosen = [10005, 10009, 10001, 10030]
    for told, asked in [
        ({}, {}),
        ({"exclude_seen": False}, {"exclude_seen": False}),
        ({"candidates": "10005,10009,10001,10030"}, {"candidates": chosen}),
    ]:
        found = recommend_from(sessions_run, ["7", "3"], [], session=3, **told)
        assert found.drop("title").equals(model.recommend_session([7, 3], 3, **asked))
    history = recommend_from(sessions_run, [], ["10001,10002"], session=2)
    assert history["rank"].to_list() == [1, 2]
    assert history["title"].null_count() == 0


def test_sessions_that_cannot_be_written(run, sessions_run):
    with pytest.raises(ConfigError, match="sasrec, ranks items one by one and writes no sessions"):
        recommend_from(run, ["7"], [], session=3)
    with pytest.raises(ConfigError, match="m=4 must lie between 1 and the 3 items"):
        recommend_from(sessions_run, ["7"], [], session=4)
    with pytest.raises(ConfigError, match="too few for a session of 3"):
        recommend_from(sessions_run, ["7"], [], session=3, candidates="10005,10009")
    with pytest.raises(ConfigError, match="either --k, items one by one, or --session"):
        recommend_from(sessions_run, ["7"], [], k=3, session=3)


def test_candidates_are_ordered(run, tmp_path):
    file = tmp_path / "candidates.txt"
    file.write_text("10005\n10009\n\n10001\n")
    lists = rank_from(run, ["1"], [], f"@{file}")
    assert set(lists["item_id"]) == {10005, 10009, 10001}
    assert lists["score"].is_sorted(descending=True)
    assert lists.equals(rank_from(run, ["1"], [], "10005,10009,10001"))
    assert lists.equals(rank_from(run, ["1"], [], "10005,10009,10005,10001,10009"))


@pytest.mark.parametrize(
    ("users", "histories", "k", "error", "sentence"),
    [
        (
            ["999"],
            [],
            3,
            UnknownIdError,
            r"unknown user id 999; known ones are .*1, 2, 3.*--history",
        ),
        (["ann"], [], 3, UnknownIdError, r"user id 'ann' is not a whole number"),
        ([], ["10001,77"], 3, UnknownIdError, r"unknown item id 77; known ones"),
        ([], ["10001,x"], 3, UnknownIdError, r"item id 'x' is not a whole number"),
        ([], [","], 3, UnknownIdError, r"at least one event"),
        ([], [], 3, ConfigError, r"give either --user"),
        (["1"], ["10001"], 3, ConfigError, r"give either --user"),
        (["1"], [], 81, ConfigError, r"k=81 must lie between 1 and the 80 items"),
        (["1"], [], 0, ConfigError, r"k=0 must lie"),
    ],
)
def test_mistakes(run, users, histories, k, error, sentence):
    with pytest.raises(error, match=sentence):
        recommend_from(run, users, histories, k=k)


@pytest.mark.parametrize("candidates", ["@nowhere.txt", "@."])
def test_unreadable_candidates(run, candidates):
    with pytest.raises(ConfigError, match="cannot be read"):
        rank_from(run, ["1"], [], candidates)


def test_a_run_without_histories_asks_for_one(runs):
    (runs / "pop" / "model" / "histories.parquet").unlink()
    with pytest.raises(UnknownIdError, match="no histories of known users"):
        recommend_from(RunDirectory(runs / "pop"), ["1"], [])


def test_words_get_the_nearest_word():
    vocabulary = Vocabulary(pl.Series(["pencil", "paper", "ink"]), "item")
    with pytest.raises(UnknownIdError, match="unknown item id 'pensil'; did you mean 'pencil'"):
        typed_ids(["ink", " pensil "], vocabulary)
    assert typed_ids([" ink "], vocabulary).to_list() == ["ink"]


def test_a_run_without_its_model_is_refused(runs):
    (runs / "pop" / "model").rename(runs / "elsewhere")
    with pytest.raises(ArtifactError, match="without its model"):
        llmrec.load(runs / "pop")


def test_a_changed_weight_file_is_refused(runs):
    weights = runs / "pop" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="does not match"):
        llmrec.load(runs / "pop")


@pytest.mark.parametrize("name", ["nowhere", "./no/where"])
def test_load_names_what_is_missing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="does not exist"):
        llmrec.load(name)
