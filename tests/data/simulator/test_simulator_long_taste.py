"""The preset in which 60 past items show a taste that the last ten do not."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score

from llmrec.data import given, leave_one_out
from llmrec.data.simulator import preset, simulate


@pytest.fixture(scope="module")
def topics(long_taste):
    """``[users, 71]`` main topic of every event."""
    return long_taste._world.items.topic[long_taste._events.item.reshape(1_000, 71)]


def probe(topics, target):
    """Cross-validated accuracy of a linear model on topic counts."""
    counts = np.eye(10)[topics].sum(axis=1)
    return cross_val_score(LogisticRegression(max_iter=300), counts, target, cv=3).mean()


def test_sixty_items_show_the_taste_and_the_last_ten_do_not(long_taste, topics):
    taste = long_taste._events.state.taste.reshape(1_000, 71, 10)[:, -1].argmax(axis=1)
    chance = np.bincount(taste).max() / 1_000
    assert probe(topics[:, 10:70], taste) > 0.6
    assert probe(topics[:, 60:70], taste) < chance + 0.05


def test_the_target_follows_the_taste(topics):
    target = topics[:, 70]
    chance = np.bincount(target).max() / 1_000
    assert probe(topics[:, 10:70], target) > chance + 0.2
    assert probe(topics[:, 60:70], target) < chance + 0.05


def test_the_last_ten_are_one_shared_trend(long_taste, topics):
    events, last = long_taste._events, topics[:, 60:70]
    period = events.state.period.reshape(1_000, 71)[:, 60]
    trend = long_taste._world.trend[period]
    assert (last == trend[:, None]).mean() > 0.6


def test_its_split_puts_a_trend_before_every_target(long_taste):
    split = given(long_taste.dataset)
    valid, test = split.cases("valid"), split.cases("test")
    assert (len(valid), len(test)) == (200, 800)
    assert set(test.histories.lengths) == {70}
    assert not set(valid.histories.user_ids) & set(test.histories.user_ids)
    assert (leave_one_out(long_taste.dataset).cases("test").histories.lengths == 70).all()


def test_likes_at_the_target_are_predictable_from_the_taste_only(long_taste):
    events, truth = long_taste._events, long_taste.truth
    index = events.offsets[1:] - 1
    users = np.arange(1, 1_001)
    known = truth.outcomes(users, events.item[index, None] + 1, events.time[index]).like[:, 0]
    others = truth.outcomes(np.roll(users, 1), events.item[index, None] + 1, None).like[:, 0]
    assert roc_auc_score(events.like[index], known) > 0.75
    assert roc_auc_score(events.like[index], others) < 0.65


def test_the_taste_tells_the_choice_from_the_rest_of_the_slate():
    few = preset("simulate:long-taste@1").model_copy(update={"users": 150})
    simulation = simulate(few)
    last = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    slates = simulation.exposures.filter(last)
    preference = simulation.truth.preference(np.arange(1, 151))
    item = simulation.dataset.item_vocabulary.encode(slates["item_id"]) - 1
    scores = preference[slates["user_id"].to_numpy() - 1, item]
    assert roc_auc_score(slates["chosen"].to_numpy(), scores) > 0.8
