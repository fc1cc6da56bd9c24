"""Frozen, versioned settings of the simulator.

A preset is a name with a version (``simulate:small@1``) and every figure that shapes the data. The
data behind a name never changes: another behaviour is another version. Settings of one's own come
from ``preset(name).model_copy(update=...)``; a data set made from them is marked as custom.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmrec.data.simulator.words import TOPICS
from llmrec.errors import ConfigError, nearest_name

MOST_EVENTS = 1_000  # of a user; a session id is the user's id and three digits


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ItemSettings(_Settings):
    """What the catalog looks like.

    Attributes:
        items: Number of items.
        topics: Number of topics; each has its own words.
        series_length: Items in a series; a series is told in order, part after part.
        popularity_spread: Standard deviation of the log exposure propensity.
        new_share: Share of the series that are released while the simulation runs.
        freshness: Log exposure bonus of an item in the period of its release.
    """

    items: int = Field(gt=0)
    topics: int = Field(gt=3, le=len(TOPICS))
    series_length: int = Field(default=4, gt=0)
    popularity_spread: float = 1.0
    new_share: float = Field(default=0.15, ge=0, lt=1)
    freshness: float = 1.0


class ChoiceSettings(_Settings):
    """What draws a user to an item; all weights are in units of log odds.

    Attributes:
        taste: Weight of the user's taste (standard normal per topic).
        drift: Standard deviation of the slow change of taste around its centre.
        drift_memory: Correlation of that change from one session to the next.
        interest: Weight of the one topic that the user came for in this session.
        interest_focus: How closely that topic follows the taste.
        follow: Weight of the topic that follows the last item's topic.
        series: Bonus of the next part of the last item's series.
        boredom: Penalty per item of the same topic already met in the session.
        boredom_decay: What is left of the boredom after one more item.
        quality: Weight of the item's quality (standard normal).
        trend: Weight of the topic of the day in sessions that follow it.
    """

    taste: float = 1.6
    drift: float = 0.3
    drift_memory: float = Field(default=0.9, ge=0, le=1)
    interest: float = 2.5
    interest_focus: float = 1.5
    follow: float = 1.0
    series: float = 4.0
    boredom: float = 0.4
    boredom_decay: float = Field(default=0.9, ge=0, le=1)
    quality: float = 0.4
    trend: float = 6.0


class SessionSettings(_Settings):
    """How often users come, and for how long.

    With ``cycles`` above 0 every user has the same plan: ``cycles`` times ``taste_sessions``
    sessions of ``longest`` items that follow the taste and one of ``trend_length`` items that
    follows the trend, then one more item that follows the taste. Otherwise the number of events is
    log-normal and no session follows the trend.

    Attributes:
        events: Median number of events of a user.
        spread: Standard deviation of the logarithm of that number.
        fewest: Smallest number of events.
        most: Largest number of events.
        shortest: Smallest number of items in a session; the last session may be cut.
        longest: Largest number of items in a session.
        periods: Number of calendar periods; releases and trends change between them.
        period_days: Length of a period.
        cycles: Number of cycles, or 0.
        taste_sessions: Sessions that follow the taste in a cycle.
        trend_length: Items of the session that follows the trend.
    """

    events: float = 35
    spread: float = 0.5
    fewest: int = Field(default=10, ge=3)
    most: int = 100
    shortest: int = Field(default=4, gt=0)
    longest: int = 10
    periods: int = Field(default=13, gt=1)
    period_days: int = Field(default=28, gt=0)
    cycles: int = Field(default=0, ge=0)
    taste_sessions: int = Field(default=5, gt=0)
    trend_length: int = Field(default=10, gt=0)


class RewardSettings(_Settings):
    """How users respond to what they chose; weights are in units of log odds.

    Attributes:
        completion: Base log odds of the share of an item that is consumed.
        like: Base log odds of a like.
        taste: Weight of the match between taste and item.
        quality: Weight of the item's quality.
        boredom: Weight of the boredom.
        concentration: Sum of the two parameters of the beta distribution of the completion.
        stay: Probability to go on to the next item of a session.
        like_value: Worth of a like, in minutes of dwell.
    """

    completion: float = 0.0
    like: float = -2.0
    taste: float = 1.0
    quality: float = 0.6
    boredom: float = 0.5
    concentration: float = Field(default=6.0, gt=0)
    stay: float = Field(default=0.9, gt=0, le=1)
    like_value: float = 2.0


class ExposureSettings(_Settings):
    """What one request shows.

    Attributes:
        slate: Items per request.
        position_bias: The choice lies at position r with probability proportional to
            ``r ** -position_bias``.
    """

    slate: int = Field(default=6, gt=1)
    position_bias: float = 1.0


class Preset(_Settings):
    """Everything that shapes a simulation.

    Attributes:
        name: ``simulate:NAME@VERSION``.
        users: Number of users.
        seed: The seed that is used where none is given.
        items: The catalog.
        choice: What users choose.
        sessions: When they come.
        reward: How they respond.
        exposure: What they are shown.
        chunk_users: Users simulated at once; part of the definition, as each chunk has its own
            stream of random numbers.
    """

    name: str
    users: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    items: ItemSettings
    choice: ChoiceSettings = ChoiceSettings()
    sessions: SessionSettings = SessionSettings()
    reward: RewardSettings = RewardSettings()
    exposure: ExposureSettings = ExposureSettings()
    chunk_users: int = Field(default=20_000, gt=0)

    @property
    def most_events(self) -> int:
        """The largest number of events a user can have."""
        plan = self.sessions
        if not plan.cycles:
            return plan.most
        return plan.cycles * (plan.taste_sessions * plan.longest + plan.trend_length) + 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        plan = self.sessions
        if plan.shortest > plan.longest or plan.fewest > plan.most:
            raise ValueError("sessions: shortest <= longest and fewest <= most must hold.")
        # Users never take an item twice, and a third of the items may not be out yet.
        if self.items.items < 2 * self.most_events or self.items.items < 2 * self.exposure.slate:
            raise ValueError(
                f"items: {self.items.items} items are too few for {self.most_events} events a "
                f"user and slates of {self.exposure.slate}; give at least twice as many."
            )
        if self.most_events > MOST_EVENTS:
            raise ValueError(
                f"sessions: {self.most_events} events a user are more than {MOST_EVENTS}, for "
                "which session ids have room."
            )
        return self


_TINY = Preset(
    name="simulate:tiny@1",
    users=60,
    items=ItemSettings(items=80, topics=6),
    sessions=SessionSettings(events=18, fewest=8, most=36, longest=8, periods=4),
)
_SMALL = Preset(
    name="simulate:small@1",
    users=1_500,
    items=ItemSettings(items=500, topics=10, popularity_spread=1.2, new_share=0.08, freshness=0.5),
    choice=ChoiceSettings(interest=3.0, interest_focus=2.0, series=5.5, boredom=0.3),
    sessions=SessionSettings(shortest=6, longest=12),
)
_LONG_TASTE = Preset(
    name="simulate:long-taste@2",
    users=2_000,
    items=ItemSettings(items=1_000, topics=10, popularity_spread=1.6, new_share=0.0),
    choice=ChoiceSettings(taste=2.0, drift=0.0, interest=0.0, follow=0.0, series=0.0, boredom=0.0),
    sessions=SessionSettings(
        shortest=5, longest=5, periods=30, period_days=14, cycles=4, taste_sessions=3
    ),
    reward=RewardSettings(like=-1.0, taste=3.0, quality=0.0, boredom=0.0),
)
_LARGE = Preset(
    name="simulate:large@1",
    users=1_000_000,
    items=ItemSettings(items=100_000, topics=12),
    choice=ChoiceSettings(series=8.0),
    sessions=SessionSettings(events=18, spread=0.5, fewest=5, most=60),
)
PRESETS = {preset.name: preset for preset in (_TINY, _SMALL, _LONG_TASTE, _LARGE)}


def preset(name: str) -> Preset:
    """Look up a preset by its full name.

    Raises:
        ConfigError: The name is unknown; the closest one is suggested.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown simulator preset {name!r}{nearest_name(name, PRESETS)}.")
    return PRESETS[name]


def checked(source: str | Preset, seed: int | None) -> tuple[Preset, int]:
    """Settings and seed of a simulation; copies made with ``update=`` are checked only here.

    Raises:
        ConfigError: The name is unknown, a setting is out of range or the seed is negative.
    """
    settings = preset(source) if isinstance(source, str) else source
    try:
        settings = Preset.model_validate(settings.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"preset {settings.name!r}: {reason.rstrip('.')}.") from None
    if seed is not None and seed < 0:
        raise ConfigError(f"seed={seed} must not be negative.")
    return settings, settings.seed if seed is None else seed
