"""Any user at any moment of a simulation: looks up the state that the simulation kept.

A moment is a position (number of earlier events) or a time (events before it have happened).
After the last event comes the opening of one more session with the last known taste.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.dataset import Dataset
from llmrec.data.ragged import row_of_each
from llmrec.data.simulator.choice import Bool
from llmrec.data.simulator.events import Events, State, World, topic_pull
from llmrec.data.simulator.exposures import first_positions
from llmrec.data.simulator.items import Float, Int
from llmrec.data.simulator.users import DAY, ORIGIN
from llmrec.data.vocabulary import Ids, Vocabulary
from llmrec.errors import DataError

_CLOCK_RANGE = 2**32  # Unix seconds stay below it; user row times this plus time is one sort key

Times = int | npt.NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class Situation:
    """Users at a moment outside any session.

    Attributes:
        taste: ``[n, topics]``.
        available: ``[n, items]`` released and not taken before.
    """

    taste: Float
    available: Bool


class Moments:
    """Looks up states by user and moment.

    Args:
        world: What all users share.
        events: Every event with the state before it.
        dataset: The data set made of them.
    """

    def __init__(self, world: World, events: Events, dataset: Dataset) -> None:
        if events.state is None:
            raise DataError("the simulation did not keep the states that its truth is made of.")
        self.users: Vocabulary = dataset.user_vocabulary
        self.vocabulary: Vocabulary = dataset.item_vocabulary
        self.world = world
        self._events = events
        self._state = events.state
        self._first = first_positions(world, events)

    def counts(self, users: Int) -> Int:
        """Number of events of user rows ``[n]``."""
        return np.asarray(np.diff(self._events.offsets)[users])

    def rows(self, user_ids: Ids) -> Int:
        """User rows ``[n]`` of ids.

        Raises:
            UnknownIdError: An id is not one of this simulation's users.
        """
        return self.users.encode(user_ids).astype(np.int64) - 1

    def at_positions(self, users: Int, positions: npt.ArrayLike) -> tuple[State, Bool]:
        """State before the event at ``positions`` and the items taken before, ``[n, items]``.

        Raises:
            DataError: A position is negative or past the end of the user's history.
        """
        place = np.asarray(positions, dtype=np.int64)
        counts = self.counts(users)
        if place.shape != users.shape:
            raise DataError(f"{users.size} users need as many positions, got shape {place.shape}.")
        if ((place < 0) | (place > counts)).any():
            row = int(np.argmax((place < 0) | (place > counts)))
            raise DataError(
                f"user {self.users.ids[int(users[row])]!r} has {counts[row]} events; there is no "
                f"position {place[row]}."
            )
        taken = self._first[users] < place[:, None]
        past_end = place == counts
        index = self._events.offsets[users] + np.minimum(place, counts - 1)
        return self._opening_where(past_end, index), taken

    def at_times(self, users: Int, times: Times) -> Situation:
        """Taste and available items of user rows at ``times`` (None: after the last event).

        The taste at an event is the one it was made with, between events the last one.
        """
        counts = self.counts(users)
        if times is None:
            place, current = counts, counts - 1
            period = self._state.period[self._events.offsets[users] + current]
        else:
            moment = np.broadcast_to(np.asarray(times, dtype=np.int64), users.shape)
            place = self._events_before(users, moment)
            current = self._current(users, place, moment)
            length = self.world.preset.sessions.period_days * DAY
            period = np.clip((moment - ORIGIN) // length, 0, self.world.trend.size - 1)
        taste = self._state.taste[self._events.offsets[users] + current]
        released = self.world.choices.log_exposure[period] > -np.inf
        return Situation(taste, released & (self._first[users] >= place[:, None]))

    def _events_before(self, users: Int, moment: Int) -> Int:
        """How many events of each user have a smaller time."""
        owner = row_of_each(self._events.offsets)
        keys = owner * _CLOCK_RANGE + self._events.time
        query = users * _CLOCK_RANGE + np.clip(moment, 0, _CLOCK_RANGE - 1)
        return np.asarray(np.searchsorted(keys, query) - self._events.offsets[users])

    def _current(self, users: Int, place: Int, moment: Int) -> Int:
        """Position of the event whose taste holds at the moment."""
        nearest = np.minimum(place, self.counts(users) - 1)
        at_event = self._events.time[self._events.offsets[users] + nearest] == moment
        return np.where(at_event & (place == nearest), place, np.maximum(place - 1, 0))

    def _opening_where(self, past_end: Bool, index: Int) -> State:
        """States of the events ``index``; a new session's where ``past_end`` holds."""
        state, n = self._state, past_end.size
        taste, period = state.taste[index], state.period[index]
        no_item = np.full(n, -1, dtype=np.int64)
        fresh = topic_pull(
            self.world, taste, np.zeros(n, dtype=bool), period, np.zeros_like(taste), no_item
        )
        return State(
            pull=np.where(past_end[:, None], fresh, state.pull[index]),
            last=np.where(past_end, no_item, state.last[index]),
            period=period,
            opens=past_end | state.opens[index],
            taste=taste,
        )
