"""One call from a preset to data, exposures and ground truth."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.interactions import Interactions
from llmrec.data.simulator.events import Events, World, make_world, run_users
from llmrec.data.simulator.exposures import make_exposures
from llmrec.data.simulator.moments import Moments
from llmrec.data.simulator.oracle import Oracle
from llmrec.data.simulator.presets import PRESETS, Preset, checked
from llmrec.data.simulator.tables import exposure_table, interaction_table, item_table
from llmrec.data.simulator.text import describe
from llmrec.data.simulator.truth import Truth
from llmrec.errors import ConfigError

_WORLD, _TEXT, _USERS, _EXPOSURES = range(4)  # streams of random numbers; never renumber
_MOST_CELLS = 50_000_000  # of the user-by-item table that the truth holds


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    """Simulated data and what is true about it.

    Attributes:
        preset: The settings.
        seed: The seed that was used.
        dataset: What a recommender may see.
        truth: What only the simulator knows.
    """

    preset: Preset
    seed: int
    dataset: Dataset
    truth: Truth
    _world: World
    _events: Events

    def __repr__(self) -> str:
        return f"Simulation({self.dataset!r}, seed {self.seed})"

    @cached_property
    def exposures(self) -> pl.DataFrame:
        """What was shown: ``user_id, session_id, item_id, position, chosen, timestamp``.

        One row per shown item, ``preset.exposure.slate`` rows per event, made when first asked for.
        """
        rng = _stream(self.seed, _EXPOSURES)
        return exposure_table(make_exposures(self._world, self._events, rng))

    @cached_property
    def oracle(self) -> Oracle:
        """A recommender that ranks by the true probabilities."""
        return Oracle(self.truth, self.dataset)


def simulate(source: str | Preset, seed: int | None = None) -> Simulation:
    """Simulate a preset.

    The same preset and seed give the same data.

    Args:
        source: Name of a preset (``simulate:small@1``), or settings of one's own.
        seed: Seed of all random numbers; None takes the preset's own.

    Raises:
        ConfigError: The name is unknown, the seed is negative, or the preset is too large to be
            held in memory with its truth; such presets are written by :func:`write_large`.

    >>> simulate("simulate:tiny@1").dataset
    Dataset(simulate:tiny@1: 1,093 interactions, 60 users, 80 items, with clock)
    """
    settings, seed = checked(source, seed)
    if settings.users * settings.items.items > _MOST_CELLS:
        raise ConfigError(
            f"{settings.name}: {settings.users:,} users by {settings.items.items:,} items are too "
            "many to hold with their truth; write the data to a folder with write_large."
        )
    world, catalog = make_catalog(settings, seed)
    events, plan = run_users(world, settings.users, user_stream(seed, 0))
    table = interaction_table(world, events, plan)
    dataset = Dataset(data_name(settings, seed), Interactions(table), Catalog(catalog))
    truth = Truth(Moments(world, events, dataset))
    return Simulation(settings, seed, dataset, truth, world, events)


def make_catalog(settings: Preset, seed: int) -> tuple[World, pl.DataFrame]:
    """Draw what all users share, and the table of items."""
    world = make_world(settings, _stream(seed, _WORLD))
    return world, item_table(world, describe(world.items, _stream(seed, _TEXT)))


def user_stream(seed: int, chunk: int) -> np.random.Generator:
    """Random numbers of one chunk of users."""
    return _stream(seed, _USERS, chunk)


def _stream(seed: int, *path: int) -> np.random.Generator:
    """Random numbers of one purpose, independent of all others with the same seed."""
    return np.random.default_rng([seed, *path])


def data_name(settings: Preset, seed: int) -> str:
    """Name of the data: the preset's, with whatever differs from the frozen one appended."""
    known = PRESETS.get(settings.name)
    custom = "" if settings == known else "+custom"
    return f"{settings.name}{custom}" + ("" if seed == settings.seed else f"+seed{seed}")
