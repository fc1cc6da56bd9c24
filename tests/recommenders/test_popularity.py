"""Popularity keeps the recommender contract, and counts as written out by hand."""

import numpy as np
import polars as pl
import pytest

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.popularity import Popularity
from llmrec.testing.recommender import RecommenderContract

DAY = 86_400


class TestContract(RecommenderContract):
    def make(self):
        return Popularity()


class TestContractWithHalfLife(RecommenderContract):
    def make(self):
        return Popularity(half_life_days=30)


@pytest.fixture
def train():
    # ann: pen, ink, pen; bob: pen. The newest event is bob's, two days after ann's first.
    return Histories(
        pl.Series(["ann", "bob"]),
        np.array([1, 2, 1, 1], dtype=np.int32),
        np.array([0, 3, 4]),
        Vocabulary(["pen", "ink", "paper"]),
        times=np.array([0, DAY, 2 * DAY, 2 * DAY]),
    )


def test_counts_every_event(train):
    model = Popularity().fit(train)
    assert model.score_catalog(train).tolist() == [[3, 1, 0], [3, 1, 0]]


def test_old_events_fade(train):
    model = Popularity(half_life_days=1).fit(train)
    assert model.score_catalog(train)[0].tolist() == [2.25, 0.5, 0]


def test_half_life_needs_a_clock_and_a_refused_fit_changes_nothing(train):
    without = Histories(train.user_ids, train.items, train.offsets, train.vocabulary)
    model = Popularity(half_life_days=1)
    with pytest.raises(DataError, match="needs timestamps"):
        model.fit(without)
    assert not model.is_fitted
    model.fit(train)
    other = Histories(train.user_ids, train.items, train.offsets, Vocabulary(["a", "b", "c"]))
    with pytest.raises(DataError, match="needs timestamps"):
        model.fit(other)
    assert model.vocabulary is train.vocabulary


def test_half_life_must_be_positive():
    with pytest.raises(ConfigError, match="half_life_days"):
        Popularity(half_life_days=0)
