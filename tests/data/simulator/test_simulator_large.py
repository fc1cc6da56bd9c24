import json

import polars as pl
import pytest

from llmrec.data import Catalog, Dataset, Interactions
from llmrec.data.simulator import preset, simulate, write_large
from llmrec.errors import ArtifactError, ConfigError


@pytest.fixture
def settings():
    return preset("simulate:tiny@1")


def read(folder):
    return pl.read_parquet(folder / "interactions.parquet"), pl.read_parquet(
        folder / "items.parquet"
    )


def test_one_chunk_equals_the_simulation_in_memory(settings, tmp_path):
    events, items = read(write_large(tmp_path / "data", settings))
    dataset = Dataset("written", Interactions(events), Catalog(items))
    assert dataset.fingerprint == simulate(settings).dataset.fingerprint


def test_chunks_join_without_gaps_and_with_the_same_schema(settings, tmp_path):
    events, _ = read(
        write_large(tmp_path / "data", settings.model_copy(update={"chunk_users": 25}))
    )
    in_memory = simulate(settings).dataset.interactions.frame
    assert set(events["user_id"]) == set(range(1, 61))
    assert events["user_id"].is_sorted()
    assert dict(events.select(sorted(events.columns)).schema) == dict(
        in_memory.select(sorted(in_memory.columns)).schema
    )
    first = events.filter(pl.col("user_id") <= 25)
    assert first["session_id"].n_unique() < events["session_id"].n_unique()
    assert not Interactions(events).frame.is_empty()


def test_large_preset_in_small(tmp_path):
    large = preset("simulate:large@1").model_copy(update={"users": 1_500, "chunk_users": 1_000})
    events, items = read(write_large(tmp_path / "data", large))
    per_user = events.group_by("user_id").len()
    assert items.height == 100_000
    assert per_user.height == 1_500
    assert 18 <= per_user["len"].mean() <= 23  # about 20M events of a million users
    assert items["title"].n_unique() == items.height


def test_description_beside_the_data(settings, tmp_path):
    folder = write_large(tmp_path / "data", settings, seed=9)
    found = json.loads((folder / "simulation.json").read_text())
    assert found["name"] == "simulate:tiny@1+seed9"
    assert found["seed"] == 9
    assert found["users"] == 60
    assert found["events"] == read(folder)[0].height


def test_a_folder_of_something_else_is_left_alone(settings, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match=r"not a directory that llmrec wrote"):
        write_large(tmp_path, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unknown_preset_writes_nothing(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'simulate:large@1'"):
        write_large(tmp_path / "data", "simulate:lrge@1")
    assert not (tmp_path / "data").exists()
