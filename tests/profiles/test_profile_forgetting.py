"""Forgetting a user in saved profiles and in the shards they grew from."""

import polars as pl
import pytest

from llmrec.data import Catalog, Histories, Vocabulary
from llmrec.errors import ArtifactError
from llmrec.profiles import Profiles, TemplateWriter, user_requests, write_profiles
from llmrec.profiles.forgetting import forget_in_profiles
from llmrec.templates import load_template


@pytest.fixture
def written(tmp_path):
    items = Vocabulary(["pen", "ink", "pad"])
    train = Histories.from_lists({1: ["pen", "ink", "pad"], 11: ["ink", "pad", "pen"]}, items)
    catalog = Catalog(pl.DataFrame({"item_id": ["pen", "ink", "pad"], "title": ["A", "B", "C"]}))
    requests = user_requests(train, catalog)
    writer = TemplateWriter(load_template("user_profile"))
    profiles = write_profiles(requests, writer, tmp_path / "shards", shard_size=3)
    profiles.save(tmp_path / "saved")
    return requests, writer, profiles


def test_saved_rows_of_the_user_go_and_others_stay(written, tmp_path):
    _, _, profiles = written
    assert forget_in_profiles(tmp_path / "saved", "1") == 2
    left = Profiles.load(tmp_path / "saved")
    assert left.frame.equals(profiles.frame.filter(pl.col("user_id") == 11))
    assert left.writer_fingerprint == profiles.writer_fingerprint
    assert forget_in_profiles(tmp_path / "saved", "1") == 0
    assert forget_in_profiles(tmp_path / "saved", "11") == 2
    assert not (tmp_path / "saved").exists()


def test_shards_lose_the_user_and_serve_the_others(written, tmp_path):
    requests, _, profiles = written
    assert forget_in_profiles(tmp_path / "shards", "1") == 2
    stored = pl.concat([pl.read_parquet(f) for f in (tmp_path / "shards").glob("*.parquet")])
    assert set(stored["subject"]) == {"11"}

    class Counting(TemplateWriter):
        asked = 0

        def write(self, rows):
            Counting.asked += len(rows)
            return super().write(rows)

    again = write_profiles(requests, Counting(load_template("user_profile")), tmp_path / "shards")
    assert Counting.asked == 2
    assert again.frame.equals(profiles.frame)


def test_profiles_of_items_are_left_alone(tmp_path):
    frame = pl.DataFrame({"item_id": [1, 2], "text": ["a pen", "ink"]})
    Profiles.from_frame(frame, "item").save(tmp_path / "items")
    assert forget_in_profiles(tmp_path / "items", "1") == 0
    assert len(Profiles.load(tmp_path / "items")) == 2


def test_what_is_no_folder_of_profiles_is_refused(written, tmp_path):
    with pytest.raises(ArtifactError, match="holds no profiles"):
        forget_in_profiles(tmp_path / "nowhere", "1")
    file = next((tmp_path / "shards").glob("*.parquet"))
    pl.DataFrame({"key": ["a"], "subject": ["1"], "text": ["b"]}).write_parquet(file)
    with pytest.raises(ArtifactError, match="was changed"):
        forget_in_profiles(tmp_path / "shards", "1")
