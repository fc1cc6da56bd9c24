"""Which items of a history belong together, and the training rows made of that.

A session is what one request returned. Few data sets say so (``session_id``): where only moments
are known, events without a long pause between them stand in, and where not even those are known,
the next few events. What a rule yields is a pseudo-session unless the data's own were given.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, position_of_each, row_of_each
from llmrec.errors import DataError

Int64Array = npt.NDArray[np.int64]


class SessionRule(BaseModel):
    """How events become sessions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: Literal["next", "gap", "given"] = Field(
        "next",
        description="next: the events that follow each event, whatever lies between them; gap: "
        "events without a pause longer than gap_seconds; given: events in a row with the same "
        "session_id, which the data have to hold.",
    )
    gap_seconds: int = Field(1800, ge=0, description="Longest pause inside a session.")
    min_size: int = Field(1, ge=1, description="Fewest items of a session that is learnt.")
    min_rating: float | None = Field(
        None, description="Sessions with a lower mean rating are not learnt."
    )
    min_liked: int = Field(
        0, ge=0, description="Sessions with fewer events that are marked as liked are not learnt."
    )


def told_sessions(rule: SessionRule) -> dict[str, Any]:
    """What a model that writes sessions says of those it learnt from, as JSON values.

    Returns:
        ``rule``, ``pseudo`` (they stand in for what requests returned, which the data do not say),
        and ``told``, a sentence of it for people.
    """
    about: dict[str, Any] = {"rule": rule.model_dump(mode="json"), "pseudo": rule.group != "given"}
    if rule.group == "given":
        return {**about, "told": "sessions as the data give them (session_id)"}
    how = "the events that follow one another"
    if rule.group == "gap":
        how = f"events without a pause longer than {rule.gap_seconds} seconds"
    told = f"pseudo-sessions, {how}; what single requests returned is not known"
    return {**about, "told": told}


class SessionSpans(NamedTuple):
    """Sessions as spans of the flat events, ``[sessions]`` int64 each.

    Attributes:
        first: Where the user's events begin.
        start: Where the session begins; what lies between is its history.
        length: Its items.
    """

    first: Int64Array
    start: Int64Array
    length: Int64Array


def session_spans(histories: Histories, rule: SessionRule, most: int) -> SessionSpans:
    """Find the sessions that have a history.

    Args:
        histories: Events.
        rule: What a session is.
        most: Most items of a session; longer ones give several, one after another.

    Raises:
        DataError: The rule needs what the events lack (times, sessions, ratings, likes), or finds
            no session.
    """
    starts = _starts(histories, rule, most)
    owner = row_of_each(histories.offsets)[starts]
    first, end = histories.offsets[:-1][owner], histories.offsets[1:][owner]
    if rule.group == "next":
        length = np.minimum(end - starts, most)
    else:
        following = np.append(starts[1:], histories.items.size)
        length = np.minimum(np.minimum(following, end) - starts, most)
    kept = (starts > first) & (length >= rule.min_size)
    if rule.min_rating is not None:
        kept &= _mean_ratings(histories, starts, length) >= rule.min_rating
    if rule.min_liked:
        kept &= _likes(histories, starts, length) >= rule.min_liked
    if not kept.any():
        raise DataError(
            "the rule finds no session with a history before it; lower min_size or min_rating, or "
            "check the split."
        )
    return SessionSpans(first[kept], starts[kept], length[kept])


def _starts(histories: Histories, rule: SessionRule, most: int) -> Int64Array:
    """First events of sessions, and of their parts where they are longer than ``most``."""
    if rule.group == "next":
        return np.arange(histories.items.size, dtype=np.int64)
    begins = np.ones(histories.items.size, dtype=np.bool_)
    begins[1:] = _breaks(histories, rule)
    begins[histories.offsets[:-1][histories.lengths > 0]] = True
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, begins.size))
    within = position_of_each(offsets_of(sizes))
    return np.flatnonzero(within % most == 0)


def _breaks(histories: Histories, rule: SessionRule) -> npt.NDArray[np.bool_]:
    """``[events - 1]``: whether an event is in another session than the one before it."""
    if rule.group == "given":
        if histories.sessions is None:
            raise DataError(
                "group=given needs sessions, but these events have no column session_id; name the "
                "column when reading, or use group=gap or group=next."
            )
        before, after = histories.sessions[:-1], histories.sessions[1:]
        return np.asarray((after != before) | (after < 0))
    if histories.times is None:
        raise DataError("group=gap needs a clock, which these events lack; use group=next.")
    return np.asarray(np.diff(histories.times) > rule.gap_seconds)


def _likes(histories: Histories, starts: Int64Array, length: Int64Array) -> Int64Array:
    if histories.labels is None:
        raise DataError("min_liked needs labels, which these events lack; leave it out.")
    total = np.concatenate([[0], np.cumsum(histories.labels == 1)])
    return np.asarray(total[starts + length] - total[starts])


def _mean_ratings(
    histories: Histories, starts: Int64Array, length: Int64Array
) -> npt.NDArray[np.float64]:
    if histories.ratings is None:
        raise DataError("min_rating needs ratings, which these events lack; leave it out.")
    total = np.concatenate([[0.0], np.cumsum(histories.ratings, dtype=np.float64)])
    return np.asarray((total[starts + length] - total[starts]) / length)
