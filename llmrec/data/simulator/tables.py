"""Simulated arrays as tables with ids, the same columns and types at every size."""

import polars as pl

from llmrec.data.ragged import row_of_each
from llmrec.data.simulator.events import Events, World
from llmrec.data.simulator.items import Int
from llmrec.data.simulator.presets import MOST_EVENTS
from llmrec.data.simulator.rewards import CONSUMED
from llmrec.data.simulator.users import DAY, ORIGIN, Plan

FIRST_ITEM_ID = 10_001  # not 1, so that a code taken for an id is noticed
FIRST_USER_ID = 1
_VALID_EVERY = 5  # every fifth user is for validation where the data brings its own split


def interaction_table(
    world: World, events: Events, plan: Plan, first_user: int = 0
) -> pl.DataFrame:
    """One row per event.

    Returns:
        ``user_id, item_id, timestamp, session_id, kind, dwell, label`` and, where users follow
        trends, ``split``: the last event of every fifth user is for validation, that of all
        others for the test, so that the ten items before it are always a trend.
    """
    owner = row_of_each(events.offsets)
    user = owner + first_user
    frame = pl.DataFrame(
        {
            "user_id": user + FIRST_USER_ID,
            "item_id": events.item + FIRST_ITEM_ID,
            "timestamp": events.time,
            "session_id": session_ids(user, events.session),
            "kind": pl.Series(events.completed >= CONSUMED).replace_strict(
                {True: "consume", False: "click"}, return_dtype=pl.String
            ),
            "dwell": events.dwell,
            "label": pl.Series(events.like).cast(pl.Int8),
        }
    )
    if not plan.trend.any():
        return frame
    part = pl.Series("split", ["train"]).new_from_index(0, owner.size)
    ends = events.offsets[1:] - 1
    for_valid = ends[(owner[ends] + first_user) % _VALID_EVERY == 0]
    part = part.scatter(ends, "test").scatter(for_valid, "valid")
    return frame.with_columns(part)


def item_table(world: World, text: pl.DataFrame) -> pl.DataFrame:
    """One row per item: ``item_id, title, category, description, duration, released``."""
    released = ORIGIN + world.items.release * world.preset.sessions.period_days * DAY
    return text.select(
        pl.Series("item_id", range(FIRST_ITEM_ID, FIRST_ITEM_ID + len(world.items))),
        pl.all(),
        pl.Series("duration", world.items.duration),
        pl.Series("released", released),
    )


def exposure_table(rows: pl.DataFrame) -> pl.DataFrame:
    """Give ids to what :func:`~llmrec.data.simulator.exposures.make_exposures` returned."""
    return rows.select(
        user_id=pl.col("user") + FIRST_USER_ID,
        session_id=pl.Series(session_ids(rows["user"].to_numpy(), rows["session"].to_numpy())),
        item_id=pl.col("item") + FIRST_ITEM_ID,
        position=pl.col("position"),
        chosen=pl.col("chosen"),
        timestamp=pl.col("timestamp"),
    )


def session_ids(user: Int, session: Int) -> Int:
    """Ids unique over all users: user id, then the number of the session in three digits."""
    return (user + FIRST_USER_ID) * MOST_EVENTS + session
