"""The run of the simulation: choices one after the other, all users at a time.

The only loop is over the position in the history. The state before every choice can be kept, so
that the truth about any moment is known afterwards.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from llmrec.data.ragged import offsets_of, position_of_each, row_of_each
from llmrec.data.simulator.choice import Bool, ChoiceModel
from llmrec.data.simulator.items import Float, Int, Items, make_items
from llmrec.data.simulator.presets import Preset
from llmrec.data.simulator.rewards import (
    completion_probability,
    draw_completion,
    like_probability,
)
from llmrec.data.simulator.users import PAUSE, Plan, make_plan

_SHORTEST_PAUSE = 3


@dataclass(frozen=True, eq=False)
class World:
    """What all users share.

    Attributes:
        preset: The settings.
        items: The catalog's latent side.
        choices: The choice model over those items.
        trend: ``[periods]`` topic of the day.
        follower: ``[topics]`` the topic that follows each topic.
    """

    preset: Preset
    items: Items
    choices: ChoiceModel
    trend: Int
    follower: Int


@dataclass(frozen=True, eq=False)
class State:
    """What is known just before each of ``n`` choices, apart from the items taken before.

    Attributes:
        pull: ``[n, topics]``; without the interest where ``opens`` holds.
        last: ``[n]`` row of the last item in the session, or -1.
        period: ``[n]`` calendar period.
        opens: ``[n]`` whether the choice opens a session that has an interest, not yet drawn.
        taste: ``[n, topics]`` the taste of the session.
    """

    pull: Float
    last: Int
    period: Int
    opens: Bool
    taste: Float


@dataclass(frozen=True, eq=False)
class Events:
    """Events of ``n`` users, flat, in the order of users and time.

    Attributes:
        offsets: ``[n + 1]`` where each user's events begin.
        item: ``[events]`` item rows.
        session: ``[events]`` number of the session within the user.
        time: ``[events]`` Unix seconds, strictly ascending within a user.
        dwell: ``[events]`` seconds, to a tenth.
        completed: ``[events]`` share of the item that was consumed.
        like: ``[events]``.
        state: The state before every event, or None where it was not kept.
    """

    offsets: Int
    item: Int
    session: Int
    time: Int
    dwell: Float
    completed: Float
    like: Bool
    state: State | None


def make_world(preset: Preset, rng: np.random.Generator) -> World:
    """Draw items, trends and the order in which topics follow each other."""
    items = make_items(preset, rng)
    topics = preset.items.topics
    cycle = rng.permutation(topics)
    follower = np.empty(topics, dtype=np.int64)
    follower[cycle] = np.roll(cycle, -1)
    trend = rng.integers(0, topics, preset.sessions.periods)
    return World(preset, items, ChoiceModel(preset, items), trend, follower)


def run_users(
    world: World, users: int, rng: np.random.Generator, keep_state: bool = True
) -> tuple[Events, Plan]:
    """Simulate ``users`` users from their first to their last event."""
    plan = make_plan(world.preset, users, rng)
    walk = _Walk(world, plan, keep_state)
    for position in range(int(plan.counts.max())):
        walk.step(position, rng)
    offsets = offsets_of(plan.counts)
    return walk.finish(offsets, rng), plan


def topic_pull(
    world: World, taste: Float, trend: Bool, period: Int, bored: Float, last: Int
) -> Float:
    """What draws users to topics, without the interest: ``[n, topics]``.

    Args:
        world: What all users share.
        taste: ``[n, topics]``.
        trend: ``[n]`` whether the session follows the trend; taste and boredom do not count then.
        period: ``[n]``.
        bored: ``[n, topics]``.
        last: ``[n]`` row of the last item in the session, or -1.
    """
    choice = world.preset.choice
    rows = np.arange(last.size)
    pull = choice.taste * taste - choice.boredom * bored
    pull[trend] = 0.0
    pull[rows, world.trend[period]] += choice.trend * trend
    pull[rows, world.follower[world.items.topic[last]]] += choice.follow * (last >= 0)
    return pull


class _Walk:
    """The users on their way through their histories; ``[n, most events]`` arrays fill up."""

    def __init__(self, world: World, plan: Plan, keep_state: bool) -> None:
        shape = plan.session_of.shape
        self.world, self.plan = world, plan
        self.taken = np.full(shape, -1, dtype=np.int64)
        self.match = np.zeros(shape)
        self.fatigue = np.zeros(shape)
        self.bored = np.zeros((shape[0], world.preset.items.topics))
        self.states: list[State] | None = [] if keep_state else None

    def step(self, position: int, rng: np.random.Generator) -> None:
        """Let every user who is still there choose once."""
        world, plan = self.world, self.plan
        active = np.flatnonzero(plan.counts > position)
        session = plan.session_of[active, position]
        new = self._first_of_session(active, position, session)
        self.bored[active[new]] = 0.0
        last = np.where(new, -1, self.taken[active, position - 1])
        period, trend = plan.period[active, session], plan.trend[active, session]
        taste = plan.taste[active, session]
        pull = topic_pull(world, taste, trend, period, self.bored[active], last)
        full = pull.copy()
        topic = plan.interest[active, session]
        full[np.arange(active.size), topic] += world.preset.choice.interest * ~trend
        if self.states is not None:
            opens = new & ~trend
            kept = np.where(opens[:, None], pull, full)
            self.states.append(State(kept, last, period, opens, taste))
        item = world.choices.draw(rng, full, period, last, self.taken[active, :position])
        self._record(active, position, item, taste, trend)

    def _first_of_session(self, active: Int, position: int, session: Int) -> Bool:
        if position == 0:
            return np.ones(active.size, dtype=bool)
        return np.asarray(self.plan.session_of[active, position - 1] != session)

    def _record(self, active: Int, position: int, item: Int, taste: Float, trend: Bool) -> None:
        mixture = self.world.items.mixtures[self.world.items.profile[item]]
        counts = ~trend  # who follows the trend does not ask whether it is to their taste
        self.taken[active, position] = item
        self.match[active, position] = (taste * mixture).sum(axis=1) * counts
        self.fatigue[active, position] = (self.bored[active] * mixture).sum(axis=1) * counts
        decay = self.world.preset.choice.boredom_decay
        self.bored[active] = decay * self.bored[active] + mixture

    def finish(self, offsets: Int, rng: np.random.Generator) -> Events:
        """Draw responses and clocks, and lay the events out flat."""
        owner, position = row_of_each(offsets), position_of_each(offsets)
        item = self.taken[owner, position]
        session = self.plan.session_of[owner, position]
        reward, items = self.world.preset.reward, self.world.items
        arguments = (
            self.match[owner, position],
            items.quality[item],
            self.fatigue[owner, position],
        )
        share = completion_probability(reward, *arguments)
        completed = draw_completion(rng, reward, share)
        like = rng.random(item.size) < like_probability(reward, *arguments)
        dwell = np.round(items.duration[item] * completed, 1)
        start = self.plan.start[owner, session]
        time = _clock(owner, session, start, dwell, rng.integers(_SHORTEST_PAUSE, PAUSE, item.size))
        return Events(offsets, item, session, time, dwell, completed, like, self._state(offsets))

    def _state(self, offsets: Int) -> State | None:
        """The kept states, from one block per position to flat order."""
        if self.states is None:
            return None
        sizes = [state.last.size for state in self.states]
        active = np.concatenate([np.flatnonzero(self.plan.counts > p) for p in range(len(sizes))])
        flat = np.argsort(offsets[active] + np.repeat(np.arange(len(sizes)), sizes))
        names = [field.name for field in dataclasses.fields(State)]
        columns = {
            name: np.concatenate([getattr(state, name) for state in self.states])[flat]
            for name in names
        }
        return State(**columns)


def _clock(owner: Int, session: Int, start: Int, dwell: Float, pause: Int) -> Int:
    """Time of every event: the start of its session plus what came before in it."""
    spent = np.ceil(dwell).astype(np.int64) + pause
    before = np.cumsum(spent) - spent
    opens = np.ones(owner.size, dtype=bool)
    opens[1:] = (np.diff(owner) != 0) | (np.diff(session) != 0)
    first = np.maximum.accumulate(np.where(opens, np.arange(owner.size), 0))
    return np.asarray(start + before - before[first], dtype=np.int64)
