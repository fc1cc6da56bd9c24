import numpy as np
import polars as pl
import pytest

from llmrec.data.simulator import preset, simulate


@pytest.fixture(scope="module")
def simulation():
    return simulate(preset("simulate:small@1").model_copy(update={"users": 200}))


@pytest.fixture(scope="module")
def shown(simulation):
    return simulation.exposures


def test_every_event_has_one_slate_with_its_item_chosen(simulation, shown):
    events = simulation.dataset.interactions.frame
    chosen = shown.filter("chosen").select("user_id", "item_id", "timestamp", "session_id")
    assert chosen.equals(events.select("user_id", "item_id", "timestamp", "session_id"))
    slates = shown.group_by("user_id", "timestamp").agg(
        pl.col("position").sort(), pl.col("item_id").n_unique(), pl.col("chosen").sum()
    )
    assert slates["position"].to_list() == [[1, 2, 3, 4, 5, 6]] * len(events)
    assert (slates["item_id"] == 6).all()
    assert (slates["chosen"] == 1).all()


def test_nothing_is_shown_that_the_user_had_or_that_does_not_exist_yet(simulation, shown):
    had = simulation.dataset.interactions.frame.select(
        "user_id", "item_id", pl.col("timestamp").alias("taken_at")
    )
    repeated = shown.join(had, on=["user_id", "item_id"])
    assert (repeated["taken_at"] >= repeated["timestamp"]).all()
    dated = shown.join(simulation.dataset.catalog.frame, on="item_id")
    assert (dated["timestamp"] >= dated["released"]).all()


def test_position_bias(shown):
    rate = shown.group_by("position").agg(pl.col("chosen").mean()).sort("position")["chosen"]
    weight = 1 / np.arange(1, 7)
    np.testing.assert_allclose(rate.to_numpy(), weight / weight.sum(), atol=0.025)


def test_popular_items_are_shown_more_even_where_not_chosen(simulation, shown):
    counts = shown.filter(~pl.col("chosen")).group_by("item_id").len()
    popularity = simulation._world.items.popularity
    index = simulation.dataset.item_vocabulary.encode(counts["item_id"]) - 1
    correlation = np.corrcoef(popularity[index], np.log(counts["len"].to_numpy()))[0, 1]
    assert correlation > 0.8
