"""The preset in which 60 past items show a taste that the last ten do not."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score

from llmrec.data import given, leave_one_out
from llmrec.data.simulator import preset, simulate

USERS, EVENTS = 2_000, 101


@pytest.fixture(scope="module")
def topics(long_taste):
    """``[users, 101]`` main topic of every event."""
    return long_taste._world.items.topic[long_taste._events.item.reshape(USERS, EVENTS)]


def probe(long_taste, topics, window):
    """Cross-validated AUC of a linear model of the last like, on likes of its topic in a window."""
    liked = long_taste._events.like.reshape(USERS, EVENTS)
    same = topics[:, window] == topics[:, [-1]]
    counts = [(same & (liked[:, window] == answer)).sum(axis=1) for answer in (0, 1)]
    model = LogisticRegression(max_iter=300)
    return cross_val_score(model, np.log1p(counts).T, liked[:, -1], cv=3, scoring="roc_auc").mean()


def test_sixty_items_show_the_taste_and_the_last_ten_do_not(long_taste, topics):
    assert probe(long_taste, topics, slice(40, 100)) > 0.75
    assert probe(long_taste, topics, slice(90, 100)) < 0.55


def test_the_last_ten_are_one_shared_trend(long_taste, topics):
    events, last = long_taste._events, topics[:, 90:100]
    period = events.state.period.reshape(USERS, EVENTS)[:, 90]
    trend = long_taste._world.trend[period]
    assert (last == trend[:, None]).mean() > 0.6


def test_its_split_puts_a_trend_before_every_target(long_taste):
    split = given(long_taste.dataset)
    valid, test = split.cases("valid"), split.cases("test")
    assert (len(valid), len(test)) == (400, 1_600)
    assert set(test.histories.lengths) == {100}
    assert not set(valid.histories.user_ids) & set(test.histories.user_ids)
    assert (leave_one_out(long_taste.dataset).cases("test").histories.lengths == 100).all()


def test_likes_at_the_target_are_predictable_from_the_taste_only(long_taste):
    events, truth = long_taste._events, long_taste.truth
    index = events.offsets[1:] - 1
    users = np.arange(1, USERS + 1)
    known = truth.outcomes(users, events.item[index, None] + 1, events.time[index]).like[:, 0]
    others = truth.outcomes(np.roll(users, 1), events.item[index, None] + 1, None).like[:, 0]
    assert roc_auc_score(events.like[index], known) > 0.75
    assert roc_auc_score(events.like[index], others) < 0.65


def test_the_taste_tells_the_choice_from_the_rest_of_the_slate():
    few = preset("simulate:long-taste@2").model_copy(update={"users": 150})
    simulation = simulate(few)
    last = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    slates = simulation.exposures.filter(last)
    preference = simulation.truth.preference(np.arange(1, 151))
    item = simulation.dataset.item_vocabulary.encode(slates["item_id"]) - 1
    scores = preference[slates["user_id"].to_numpy() - 1, item]
    assert roc_auc_score(slates["chosen"].to_numpy(), scores) > 0.75
