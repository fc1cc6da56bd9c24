"""What every request showed: the choice among items the feed proposed and the user passed over.

The slate of a request holds the chosen item and others drawn without replacement with their
exposure propensities (Plackett-Luce), never items the user had taken before. The others stand in
the order they were drawn. The chosen one lies at position r with probability proportional to
``r ** -position_bias``: what stands first is taken more often than chance says.
"""

import numpy as np
import polars as pl

from llmrec.data.ragged import position_of_each, row_of_each
from llmrec.data.simulator.events import Events, World
from llmrec.data.simulator.items import Float, Int

_CELLS = 4_000_000  # of the request-by-item table held at once


def make_exposures(world: World, events: Events, rng: np.random.Generator) -> pl.DataFrame:
    """Draw the slate of every event.

    Returns:
        One row per shown item: ``user_id``, ``session_id``, ``item_id``, ``position`` (from 1),
        ``chosen``, ``timestamp`` (of the request), as rows and numbers, not yet as ids.
    """
    slate = world.preset.exposure.slate
    n_events = events.item.size
    first_taken = first_positions(world, events)
    block = max(_CELLS // len(world.items), 1)
    shown = [
        _others(world, events, first_taken, np.arange(s, min(s + block, n_events)), rng)
        for s in range(0, n_events, block)
    ]
    place = _places(world.preset.exposure.position_bias, slate, n_events, rng)
    column = np.arange(slate)
    chosen = column == place[:, None]
    source = np.minimum(column - (column > place[:, None]), slate - 2)
    others = np.take_along_axis(np.concatenate(shown), source, axis=1)
    item = np.where(chosen, events.item[:, None], others)
    return pl.DataFrame(
        {
            "user": np.repeat(row_of_each(events.offsets), slate),
            "session": np.repeat(events.session, slate),
            "item": item.ravel(),
            "position": np.tile(column + 1, n_events).astype(np.int64),
            "chosen": chosen.ravel(),
            "timestamp": np.repeat(events.time, slate),
        }
    )


def first_positions(world: World, events: Events) -> Int:
    """``[users, items]`` position at which the user took the item, or a number past the end."""
    n_users = events.offsets.size - 1
    first = np.full((n_users, len(world.items)), np.iinfo(np.int64).max)
    first[row_of_each(events.offsets), events.item] = position_of_each(events.offsets)
    return first


def _others(
    world: World, events: Events, first_taken: Int, index: Int, rng: np.random.Generator
) -> Int:
    """``[requests, slate - 1]`` items shown beside the choice, in the order they were drawn."""
    assert events.state is not None
    owner = np.searchsorted(events.offsets, index, side="right") - 1
    position = index - events.offsets[owner]
    # Arrival times of a race: rate e gives Plackett-Luce order, an arrival at infinity never comes.
    rate = np.exp(world.choices.log_exposure)[events.state.period[index]]
    arrival = np.full(rate.shape, np.inf)
    drawn = rng.standard_exponential(rate.shape)
    possible = (first_taken[owner] > position[:, None]) & (rate > 0)
    np.divide(drawn, rate, out=arrival, where=possible)
    count = world.preset.exposure.slate - 1
    top = np.argpartition(arrival, count, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(arrival, top, axis=1), axis=1)
    return np.asarray(np.take_along_axis(top, order, axis=1))


def _places(bias: float, slate: int, requests: int, rng: np.random.Generator) -> Int:
    """``[requests]`` place of the choice in the slate, from 0."""
    odds: Float = np.arange(1, slate + 1, dtype=np.float64) ** -bias
    return rng.choice(slate, size=requests, p=odds / odds.sum())
