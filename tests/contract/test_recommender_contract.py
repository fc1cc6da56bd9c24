"""The recommender suite itself: others can inherit it, and it notices broken promises."""

import json

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from llmrec.contracts import Recommender
from llmrec.recommenders.base import BaseRecommender
from llmrec.testing.recommender import RecommenderContract
from llmrec.testing.worlds import make_world


class LastItemConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: float = 2.0


class LastItem(BaseRecommender[LastItemConfig]):
    """A recommender of somebody else's: items close in code to the newest event."""

    name = "last_item"
    config_class = LastItemConfig

    def _fit(self, train, valid):
        self._bias = np.bincount(train.items, minlength=len(train.vocabulary) + 1)[1:] / 100

    def _score_catalog(self, histories):
        newest = histories.items[histories.offsets[1:] - 1]
        distance = np.abs(np.arange(1, len(self.vocabulary) + 1) - newest[:, None])
        return (self._bias - self.config.scale * distance).astype(np.float32)

    def _state(self):
        return {"bias": self._bias}

    def _load_state(self, state):
        self._bias = state["bias"]


class TestSomebodyElsesModel(RecommenderContract):
    def make(self):
        return LastItem(scale=1.5)


def test_a_fitted_model_satisfies_the_protocol():
    assert isinstance(LastItem().fit(make_world("strings").train), Recommender)


class ReturnsItsMemory(LastItem):
    def _score_catalog(self, histories):
        found = super()._score_catalog(histories)
        if not hasattr(self, "memory") or self.memory.shape != found.shape:
            self.memory = found
        return self.memory


class Forgetful(LastItem):
    def _load_state(self, state):
        self._bias = np.zeros_like(state["bias"])


class Unseeded(LastItem):
    def _fit(self, train, valid):
        super()._fit(train, valid)
        self._bias = self._bias + np.random.default_rng().normal(size=self._bias.size)


class LooksAtTheWholeBatch(LastItem):
    def _score_catalog(self, histories):
        return super()._score_catalog(histories) + np.float32(len(histories))


class ScoresCandidatesOtherwise(LastItem):
    def _score_codes(self, histories, codes):
        return super()._score_codes(histories, codes) * np.float32(1.1)


class AddsToTheEarlierFit(LastItem):
    def _fit(self, train, valid):
        before = getattr(self, "_bias", np.zeros(1)).sum()
        super()._fit(train, valid)
        self._bias[0] += before


class LearnsInPlace(LastItem):
    def _fit(self, train, valid):
        before = getattr(self, "_bias", None)
        super()._fit(train, valid)
        if before is not None:
            before[:] = 0


class SavesUserIds(LastItem):
    def save_pretrained(self, directory, include_users=True):
        super().save_pretrained(directory, include_users)
        users = self.known_histories.user_ids.to_list()
        (directory / "extra.json").write_text(json.dumps(users))


BROKEN = [
    (ReturnsItsMemory, "test_catalog_scores"),
    (Forgetful, "test_round_trip"),
    (Unseeded, "test_same_seed_same_bits"),
    (LooksAtTheWholeBatch, "test_rows_do_not_depend_on_each_other"),
    (ScoresCandidatesOtherwise, "test_score_is_the_catalog_gathered"),
    (AddsToTheEarlierFit, "test_refit_forgets_the_earlier_data"),
    (LearnsInPlace, "test_refused_fit_changes_nothing"),
    (SavesUserIds, "test_without_users"),
]


@pytest.mark.parametrize(
    ("broken", "test"), BROKEN, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_suite_notices(broken, test, tmp_path, monkeypatch):
    class Suite(RecommenderContract):
        def make(self):
            return broken()

    world, suite = make_world("strings"), Suite()
    model = suite.make().fit(world.train)
    model.titles = model.vocabulary.ids
    method = getattr(suite, test)
    wanted = method.__code__.co_varnames[1 : method.__code__.co_argcount]
    given = {"world": world, "fitted": model, "tmp_path": tmp_path, "saved": tmp_path / "model"}
    given["monkeypatch"] = monkeypatch
    if "saved" in wanted:
        model.save_pretrained(given["saved"])
    with pytest.raises(AssertionError):
        method(**{name: given[name] for name in wanted})
