"""When users come, and what they are like when they do: the plan made before any choice.

A plan has one row per user and one column per session. Tastes drift from session to session; the
interest of a session is one topic, drawn by the taste.
"""

from dataclasses import dataclass

import numpy as np

from llmrec.data.simulator.choice import Bool
from llmrec.data.simulator.items import Float, Int
from llmrec.data.simulator.presets import ChoiceSettings, Preset, SessionSettings

ORIGIN = 1_704_067_200  # 2024-01-01, Unix seconds
DAY = 86_400
PAUSE = 31  # the longest pause between two items of a session, in seconds
LONGEST_ITEM = 600


@dataclass(frozen=True, eq=False)
class Plan:
    """Sessions of ``n`` users; columns beyond a user's last session are to be ignored.

    Attributes:
        counts: ``[n]`` events of every user.
        sessions: ``[n]`` sessions of every user.
        session_of: ``[n, most events]`` session number of every event.
        start: ``[n, most sessions]`` Unix seconds.
        period: ``[n, most sessions]`` calendar period.
        trend: ``[n, most sessions]`` whether the session follows the trend.
        taste: ``[n, most sessions, topics]``.
        interest: ``[n, most sessions]`` the topic of the session.
    """

    counts: Int
    sessions: Int
    session_of: Int
    start: Int
    period: Int
    trend: Bool
    taste: Float
    interest: Int


def make_plan(preset: Preset, users: int, rng: np.random.Generator) -> Plan:
    """Draw the plan of ``users`` users."""
    counts, lengths = _lengths(preset, users, rng)
    ends = np.cumsum(lengths, axis=1)
    sessions = (ends < counts[:, None]).sum(axis=1) + 1
    columns = int(sessions.max())
    event = np.arange(int(counts.max()))
    session_of = np.zeros((users, event.size), dtype=np.int64)
    for column in range(columns - 1):
        session_of += event >= ends[:, column, None]
    start, period = _calendar(preset, sessions, columns, rng)
    taste = _tastes(preset.choice, preset.items.topics, users, columns, rng)
    return Plan(
        counts=counts,
        sessions=sessions,
        session_of=session_of,
        start=start,
        period=period,
        trend=_trends(preset.sessions, users, columns),
        taste=taste,
        interest=draw_topic(rng, interest_odds(preset.choice, taste)),
    )


def interest_odds(choice: ChoiceSettings, taste: Float) -> Float:
    """Probability ``[..., topics]`` of every topic to be the interest of a new session."""
    logits = choice.interest_focus * taste
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def draw_topic(rng: np.random.Generator, odds: Float) -> Int:
    """Draw one topic per row of ``odds [..., topics]``."""
    edges = np.cumsum(odds, axis=-1)
    point = rng.random(odds.shape[:-1]) * edges[..., -1]
    return np.asarray((edges <= point[..., None]).sum(axis=-1), dtype=np.int64)


def _lengths(preset: Preset, users: int, rng: np.random.Generator) -> tuple[Int, Int]:
    """Events per user ``[users]`` and items per session ``[users, enough sessions]``."""
    settings = preset.sessions
    if settings.cycles:
        cycle = [settings.longest] * settings.taste_sessions + [settings.trend_length]
        lengths = np.tile(np.array([*cycle * settings.cycles, 1], dtype=np.int64), (users, 1))
        return lengths.sum(axis=1), lengths
    drawn = settings.events * np.exp(settings.spread * rng.normal(size=users))
    counts = np.clip(np.rint(drawn), settings.fewest, settings.most).astype(np.int64)
    columns = -(-int(counts.max()) // settings.shortest)
    return counts, rng.integers(settings.shortest, settings.longest + 1, (users, columns))


def _trends(settings: SessionSettings, users: int, columns: int) -> Bool:
    """``[users, columns]`` whether a session follows the trend: the last one of every cycle."""
    if not settings.cycles:
        return np.zeros((users, columns), dtype=bool)
    place = np.arange(columns) % (settings.taste_sessions + 1)
    return np.tile(place == settings.taste_sessions, (users, 1))


def _calendar(
    preset: Preset, sessions: Int, columns: int, rng: np.random.Generator
) -> tuple[Int, Int]:
    """Start and period of every session: uniform over the calendar, never overlapping."""
    settings = preset.sessions
    days = settings.periods * settings.period_days
    longest = max(settings.longest, settings.trend_length) * (LONGEST_ITEM + PAUSE)
    points = rng.random((sessions.size, columns))
    number = np.arange(columns)
    points[number >= sessions[:, None]] = 1.0
    points.sort(axis=1)
    free = np.maximum(days * DAY - longest * sessions, 0)[:, None]
    seconds = (points * free).astype(np.int64) + longest * number
    period = np.minimum(seconds // (settings.period_days * DAY), settings.periods - 1)
    return ORIGIN + seconds, period


def _tastes(
    choice: ChoiceSettings, topics: int, users: int, columns: int, rng: np.random.Generator
) -> Float:
    """``[users, columns, topics]`` a standard normal centre plus a slow stationary change."""
    centre = rng.normal(size=(users, topics))
    taste = np.empty((users, columns, topics))
    change = rng.normal(size=(users, topics))
    memory = choice.drift_memory
    for column in range(columns):
        taste[:, column] = centre + choice.drift * change
        step = rng.normal(size=(users, topics))
        change = memory * change + np.sqrt(1 - memory**2) * step
    return taste
