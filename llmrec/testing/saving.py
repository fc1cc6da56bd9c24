"""What every saved model promises, as tests to inherit; part of the recommender contract.

A saved model gives the scores of the one in memory, is written as a whole or not at all, is
refused by name when anything in it was changed, and says nothing about users unless asked to.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from llmrec.errors import ArtifactError, StorageError, UnknownIdError
from llmrec.recommenders.base import BaseRecommender
from llmrec.testing.worlds import IdKind, World, make_world

Model = BaseRecommender[Any]


class FakeHub:
    """Stands in for ``huggingface_hub.HfApi``: keeps what would be uploaded."""

    def __init__(self) -> None:
        self.repositories: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}

    def create_repo(self, repository: str, private: bool, exist_ok: bool) -> None:
        """Note the repository and whether it is private."""
        assert exist_ok
        self.repositories[repository] = private

    def upload_folder(self, repo_id: str, folder_path: str | Path) -> str:
        """Read every file of the folder."""
        files = (path for path in Path(folder_path).rglob("*") if path.is_file())
        self.files = {path.name: path.read_bytes() for path in files}
        return f"fake://{repo_id}"


class SavingContract:
    """Saving, loading and publishing; :class:`RecommenderContract` brings the rest."""

    def make(self) -> Model:
        """A small unfitted model, the same at every call."""
        raise NotImplementedError("a contract test says how its model is made: define make()")

    @pytest.fixture(params=["strings", "integers"])
    def world(self, request: pytest.FixtureRequest) -> World:
        """The data to fit on."""
        return make_world(request.param)

    @pytest.fixture
    def fitted(self, world: World) -> Model:
        """A fitted model, made once for all tests of a class: no test may change it."""
        return _fitted(type(self), world.kind)  # type: ignore[arg-type]  # a class can be hashed

    @pytest.fixture
    def saved(self, fitted: Model, tmp_path: Path) -> Path:
        """A directory with the fitted model."""
        fitted.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    def test_round_trip(self, fitted: Model, world: World, saved: Path) -> None:
        """A loaded model is the saved one: scores bit for bit, ids, titles, settings, origin."""
        loaded = type(fitted).from_pretrained(saved)
        histories = world.strangers()
        left, right = (model.score_catalog(histories) for model in (loaded, fitted))
        np.testing.assert_array_equal(left.view(np.uint32), right.view(np.uint32))
        assert loaded.config == fitted.config
        assert loaded.vocabulary.ids.equals(fitted.vocabulary.ids)
        assert list(loaded.seen) == list(fitted.seen)
        assert loaded.titles is not None
        assert fitted.titles is not None
        assert loaded.titles.to_list() == fitted.titles.to_list()

    def test_loaded_model_serves_known_users(
        self, fitted: Model, world: World, saved: Path
    ) -> None:
        """Users are served by id after loading, as before."""
        loaded = type(fitted).from_pretrained(saved)
        expected = fitted.recommend(world.users, k=4)
        assert loaded.recommend(world.users, k=4).equals(expected)

    def test_loaded_model_can_be_saved_and_refitted(
        self, fitted: Model, world: World, saved: Path, tmp_path: Path
    ) -> None:
        """Loading gives a whole model, not a view for scoring only."""
        loaded = type(fitted).from_pretrained(saved)
        loaded.save_pretrained(tmp_path / "again")
        again = type(fitted).from_pretrained(tmp_path / "again")
        other = make_world(world.kind, n_users=9, n_items=11, seed=8)
        again.fit(other.train)
        expected = self.make().fit(other.train).score_catalog(other.strangers())
        np.testing.assert_array_equal(again.score_catalog(other.strangers()), expected)

    def test_without_users(self, fitted: Model, world: World, tmp_path: Path) -> None:
        """Histories stay out, ids are refused by a sentence, histories are served."""
        fitted.save_pretrained(tmp_path / "model", include_users=False)
        _assert_nothing_about_users(_read_all(tmp_path / "model"), world)
        loaded = type(fitted).from_pretrained(tmp_path / "model")
        assert loaded.known_histories is None
        with pytest.raises(UnknownIdError, match="without its users' histories; pass Histories"):
            loaded.recommend(world.users[:1])
        assert loaded.recommend(world.strangers(), k=2).height == 8

    def test_histories_may_be_removed_later(self, fitted: Model, world: World, saved: Path) -> None:
        """Deleting the one file about users leaves a model that loads."""
        (saved / "histories.parquet").unlink()
        _assert_nothing_about_users(_read_all(saved), world)
        assert type(fitted).from_pretrained(saved).known_histories is None

    def test_changed_file_is_refused_by_name(self, fitted: Model, saved: Path) -> None:
        """One flipped bit in any file is found."""
        for file in sorted(saved.iterdir()):
            if file.name == "model.json":
                continue
            content = file.read_bytes()
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            with pytest.raises(ArtifactError, match=f"{file.name} does not match the hash"):
                type(fitted).from_pretrained(saved)
            file.write_bytes(content)
        type(fitted).from_pretrained(saved)

    def test_incomplete_directory_is_refused_by_name(self, fitted: Model, saved: Path) -> None:
        """A missing file, a cut-off description and a directory of something else."""
        load = type(fitted).from_pretrained
        description = (saved / "model.json").read_text()
        (saved / "model.json").write_text(description[: len(description) // 2])
        with pytest.raises(ArtifactError, match=r"model\.json is not valid JSON"):
            load(saved)
        (saved / "model.json").write_text('{"format": 1}')
        with pytest.raises(ArtifactError, match=r"model\.json is incomplete"):
            load(saved)
        (saved / "model.json").write_text(description.replace('"format": 1', '"format": 99'))
        with pytest.raises(ArtifactError, match="format 99"):
            load(saved)
        (saved / "model.json").write_text(description)
        (saved / "items.parquet").unlink()
        with pytest.raises(ArtifactError, match=r"items\.parquet is missing"):
            load(saved)
        (saved / "model.json").unlink()
        with pytest.raises(ArtifactError, match=r"not a saved model: it has no model\.json"):
            load(saved)
        with pytest.raises(ArtifactError, match="is not a directory"):
            load(saved / "nowhere")

    def test_model_of_another_class_is_refused(self, fitted: Model, saved: Path) -> None:
        """Loading does not turn one kind of model into another."""

        class Another(type(fitted)):  # type: ignore[misc]
            name = "another"

        with pytest.raises(ArtifactError, match=f"holds a {fitted.name} model, not another"):
            Another.from_pretrained(saved)

    def test_saving_replaces_an_earlier_model(
        self, fitted: Model, world: World, saved: Path
    ) -> None:
        """The directory holds the newer model and nothing of the older."""
        other = make_world(world.kind, n_users=9, n_items=11, seed=8)
        self.make().fit(other.train).save_pretrained(saved, include_users=False)
        assert type(fitted).from_pretrained(saved).vocabulary.ids.to_list() == other.items
        assert not (saved / "histories.parquet").exists()
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]

    def test_failed_save_leaves_the_earlier_model(
        self, fitted: Model, world: World, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk in the middle of a save changes nothing."""
        before = _read_all(saved)

        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(StorageError, match="No space left"):
            fitted.save_pretrained(saved)
        assert _read_all(saved) == before
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]

    def test_foreign_directory_is_not_replaced(self, fitted: Model, tmp_path: Path) -> None:
        """Somebody's files are never overwritten."""
        (tmp_path / "letters").mkdir()
        (tmp_path / "letters" / "dear.txt").write_text("Dear")
        with pytest.raises(ArtifactError, match="not a directory that llmrec wrote"):
            fitted.save_pretrained(tmp_path / "letters")
        assert _read_all(tmp_path / "letters") == {"dear.txt": b"Dear"}

    def test_publishing_says_nothing_about_users(
        self, fitted: Model, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An upload is private and without users unless the caller says otherwise."""
        hub = FakeHub()
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
        assert fitted.push_to_hub("owner/model") == "fake://owner/model"
        assert hub.repositories == {"owner/model": True}
        assert {"model.json", "README.md"} <= hub.files.keys()
        _assert_nothing_about_users(hub.files, world)
        fitted.push_to_hub("owner/model", include_users=True, private=False)
        assert hub.repositories == {"owner/model": False}
        assert "histories.parquet" in hub.files


@cache
def _fitted(suite: type[SavingContract], kind: IdKind) -> Model:
    world = make_world(kind)
    model = suite().make().fit(world.train)
    model.titles = pl.Series("title", [f"Title of {item}" for item in world.items])
    return model


def _read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _assert_nothing_about_users(files: dict[str, bytes], world: World) -> None:
    """No file of histories, and no user id in any file, compressed or not."""
    assert "histories.parquet" not in files
    for name, content in files.items():
        text = content.decode("latin-1")
        if name.endswith(".parquet"):
            text += str(pl.read_parquet(content).to_dict(as_series=False))
        found = [user for user in world.users if str(user) in text]
        assert not found, f"{name} names the users {found}"
