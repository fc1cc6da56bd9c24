"""The latent side of the catalog: topic mixtures, quality, popularity, series and release.

An item's topic mixture is one of a small set of profiles (a topic alone, or a main topic with one
of three companions). That keeps the choice model exact at any catalog size: whatever depends on
the user depends on the item through its profile only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.simulator.presets import ItemSettings, Preset

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

COMPANIONS = 3  # topics that a topic mixes with
MAIN_SHARE = 0.75  # of the main topic in a mixed profile


@dataclass(frozen=True, eq=False)
class Items:
    """Latent attributes; row ``i`` is the item of code ``i + 1``.

    Attributes:
        mixtures: ``[profiles, topics]`` rows sum to one.
        profile: ``[items]`` profile of every item.
        topic: ``[items]`` main topic.
        companion: ``[items]`` second topic; the main topic again where there is none.
        quality: ``[items]`` standard normal.
        popularity: ``[items]`` log exposure propensity.
        release: ``[items]`` period from which the item exists.
        duration: ``[items]`` seconds that consuming the whole item takes.
        series: ``[items]`` number of the series.
        part: ``[items]`` part of the series, from 1.
        following: ``[items]`` row of the next part, or -1.
    """

    mixtures: Float
    profile: Int
    topic: Int
    companion: Int
    quality: Float
    popularity: Float
    release: Int
    duration: Int
    series: Int
    part: Int
    following: Int

    def __len__(self) -> int:
        return self.profile.size

    @property
    def mixture(self) -> Float:
        """``[items, topics]`` topic mixture of every item."""
        return np.asarray(self.mixtures[self.profile])


def make_items(preset: Preset, rng: np.random.Generator) -> Items:
    """Draw the items of a preset."""
    settings = preset.items
    n = settings.items
    mixtures, mains, companions = _profiles(settings.topics)
    shuffled = rng.permutation(n)  # neighbouring ids must not tell that items share a series
    series = shuffled // settings.series_length
    part = shuffled % settings.series_length + 1
    n_series = int(series.max()) + 1
    profile = rng.integers(0, mains.size, n_series)[series]
    release = _releases(settings, preset.sessions.periods, n_series, rng)[series]
    quality = rng.normal(size=n)
    # Parts of a series are about equally well known, and a good item is shown more.
    fame = 0.7 * rng.normal(size=n_series)[series] + 0.6 * rng.normal(size=n) + 0.4 * quality
    return Items(
        mixtures=mixtures,
        profile=profile,
        topic=mains[profile],
        companion=companions[profile],
        quality=quality,
        popularity=settings.popularity_spread * fame,
        release=release,
        duration=np.clip(np.exp(rng.normal(5.0, 0.5, n)).astype(np.int64), 30, 600),
        series=series,
        part=part,
        following=_following(shuffled, settings.series_length),
    )


def _profiles(topics: int) -> tuple[Float, Int, Int]:
    """``[profiles, topics]`` mixtures with the main topic and the companion of every profile."""
    mains = np.repeat(np.arange(topics), 1 + COMPANIONS)
    companions = (mains + np.tile(np.arange(1 + COMPANIONS), topics)) % topics
    mixtures = np.zeros((mains.size, topics))
    rows = np.arange(mains.size)
    mixtures[rows, mains] += MAIN_SHARE
    mixtures[rows, companions] += 1 - MAIN_SHARE
    return mixtures, mains, companions


def _releases(settings: ItemSettings, periods: int, n_series: int, rng: np.random.Generator) -> Int:
    """``[series]`` period of release; 0 for what exists from the start."""
    is_new = rng.random(n_series) < settings.new_share
    return np.where(is_new, rng.integers(1, periods, n_series), 0)


def _following(shuffled: Int, length: int) -> Int:
    """``[items]`` row of the next part of the same series, or -1."""
    row_of = np.argsort(shuffled)
    successor = shuffled + 1
    has_next = (successor % length != 0) & (successor < shuffled.size)
    return np.where(has_next, row_of[np.minimum(successor, shuffled.size - 1)], -1)
