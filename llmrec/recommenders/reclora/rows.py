"""Few2Many: which events the language model's part learns from (reclora.md 2.6).

The CTR model learns the events before a moment, experts and gates a fixed subset of those from
then on: what the gates read of a row was then never learnt from that row. A row is asked with
the events strictly before it. Later updates learn the rows since a moment, and old ones again.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.ragged import position_of_each, row_of_each, smaller_before
from llmrec.errors import DataError
from llmrec.recommenders.ctr.pairs import labels_of

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """Histories, each with an item and the answer.

    Attributes:
        histories: ``[n]`` events strictly before the item's.
        items: ``[n]`` int32 item codes.
        labels: ``[n]`` float32, 1 for yes.
    """

    histories: Histories
    items: npt.NDArray[np.int32]
    labels: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return self.items.size


def is_judged(histories: Histories) -> bool:
    """Whether events say what users thought of them; else they only say what was chosen."""
    return histories.labels is not None or histories.ratings is not None


def late_rows(
    train: Histories,
    since: int | None,
    most: int,
    seed: int,
    negatives: int,
    liked_above: float,
) -> JudgedRows:
    """The rows that experts and gates learn from.

    Args:
        train: Training histories.
        since: Unix seconds from which on events are taken; None takes all.
        most: Events that are kept, drawn evenly; negatives come on top.
        seed: Of that draw and of the negatives.
        negatives: Items drawn per event where nothing tells what was liked.
        liked_above: Where events have ratings and no labels, those above this are liked.

    Raises:
        DataError: There is no such event.
    """
    events = answered_events(train, since, None, liked_above)
    if not events.size:
        raise DataError(
            "no training event with an answer is left for the language model's part; lower "
            "ctr_share."
        )
    rng = np.random.default_rng(seed)
    return rows_of_events(train, at_most(events, most, rng), negatives, liked_above, rng)


def newer_rows(
    histories: Histories,
    since: int | None,
    moment: int,
    most: int,
    replay: float,
    seed: int,
    negatives: int,
    liked_above: float,
) -> JudgedRows:
    """The rows of a later update: those from a moment on, and some earlier ones again.

    Args:
        histories: Whole histories, the new events included.
        since: As for :func:`late_rows`: replayed rows are not older.
        moment: Unix seconds from which on events are new.
        most: New events that are kept, drawn evenly; negatives come on top.
        replay: Earlier events per new one, as far as there are any, drawn evenly.
        seed: Of these draws and of the negatives.
        negatives: As for :func:`late_rows`.
        liked_above: As for :func:`late_rows`.

    Raises:
        DataError: No new event has an answer, or the histories have no clock.
    """
    if histories.times is None:
        raise DataError("an update needs events with a clock, to tell new ones from old ones.")
    new = answered_events(histories, moment, None, liked_above)
    if not new.size:
        raise DataError(f"no event with an answer is as new as {moment}; nothing can be learnt.")
    rng = np.random.default_rng(seed)
    new = at_most(new, most, rng)
    old = answered_events(histories, since, moment, liked_above)
    again = at_most(old, round(replay * new.size), rng)
    events = np.sort(np.concatenate([new, again]))
    return rows_of_events(histories, events, negatives, liked_above, rng)


def answered_events(
    histories: Histories, since: int | None, before: int | None, liked_above: float
) -> Int64:
    """Positions of the events of a stretch of time whose answer is known.

    Args:
        histories: With a clock, where a moment is given.
        since: Unix seconds from which on events are taken; None takes the oldest, too.
        before: Unix seconds before which they lie; None takes the newest, too.
        liked_above: Where events have ratings and no labels, those above this are liked.
    """
    labels = labels_of(histories, liked_above)
    wanted = np.ones(histories.items.size, dtype=bool) if labels is None else ~np.isnan(labels)
    for moment, late in ((since, True), (before, False)):
        if moment is not None:
            assert histories.times is not None
            wanted &= (histories.times >= moment) == late
    return np.flatnonzero(wanted)


def rows_of_events(
    histories: Histories,
    events: Int64,
    negatives: int,
    liked_above: float,
    rng: np.random.Generator,
) -> JudgedRows:
    """Each event as a row, with the events strictly before it.

    Args:
        histories: Whole histories.
        events: Positions of events in them.
        negatives: Items drawn per event where nothing tells what was liked.
        liked_above: Where events have ratings and no labels, those above this are liked.
        rng: Of the negatives.
    """
    labels = labels_of(histories, liked_above)
    before = (
        position_of_each(histories.offsets)
        if histories.times is None
        else smaller_before(histories.times, histories.offsets)
    )
    owners = row_of_each(histories.offsets)[events]
    items = histories.items[events]
    if labels is not None:
        return JudgedRows(histories.prefixes(owners, before[events]), items, labels[events])
    drawn = _others(items, negatives, len(histories.vocabulary), rng)
    again = np.repeat(np.arange(events.size), 1 + negatives)
    answers = np.zeros((events.size, 1 + negatives), dtype=np.float32)
    answers[:, 0] = 1
    asked = np.concatenate([items[:, None], drawn], axis=1)
    asked_after = histories.prefixes(owners[again], before[events][again])
    return JudgedRows(asked_after, asked.ravel(), answers.ravel())


def at_most(events: Int64, most: int, rng: np.random.Generator) -> Int64:
    """All events, or so many of them drawn evenly, in order."""
    return events if events.size <= most else np.sort(rng.choice(events, most, replace=False))


def _others(
    items: npt.NDArray[np.int32], count: int, n_items: int, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """``[n, count]`` items drawn evenly among all but each row's own."""
    drawn = rng.integers(1, max(2, n_items), (items.size, count))
    drawn += drawn >= items[:, None]
    return np.minimum(drawn, n_items).astype(np.int32)
