"""Simulations too large for memory, written to parquet chunk by chunk.

The model and the columns are those of :func:`~llmrec.data.simulator.simulation.simulate`. Exposures
and truth are left out: they would be many times the size of the events.
"""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from llmrec.data.simulator.events import World, run_users
from llmrec.data.simulator.presets import Preset, checked
from llmrec.data.simulator.simulation import data_name, make_catalog, user_stream
from llmrec.data.simulator.tables import interaction_table
from llmrec.storage import atomic_directory, write_json

MARKER = "simulation.json"


def write_large(
    folder: str | Path, source: str | Preset = "simulate:large@1", seed: int | None = None
) -> Path:
    """Write ``interactions.parquet``, ``items.parquet`` and ``simulation.json`` to a folder.

    Users are simulated ``preset.chunk_users`` at a time; memory does not grow with their number.
    A preset with one chunk of users gives the same events as
    :func:`~llmrec.data.simulator.simulation.simulate`.

    Args:
        folder: Where to write; appears only when complete. A folder that an earlier call wrote is
            replaced.
        source: Name of a preset, or settings of one's own.
        seed: Seed of all random numbers; None takes the preset's own.

    Returns:
        The folder.

    Raises:
        ConfigError: The name is unknown or the seed is negative.
        ArtifactError: The folder exists and holds something else.
    """
    settings, seed = checked(source, seed)
    with atomic_directory(folder, MARKER) as target:
        world, catalog = make_catalog(settings, seed)
        catalog.write_parquet(target / "items.parquet")
        events = _write_events(target / "interactions.parquet", world, seed)
        write_json(target / MARKER, _description(settings, seed, events))
    return Path(folder)


def _description(settings: Preset, seed: int, events: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": data_name(settings, seed),
        "seed": seed,
        "users": settings.users,
        "items": settings.items.items,
        "events": events,
        "preset": settings.model_dump(),
    }


def _write_events(path: Path, world: World, seed: int) -> int:
    settings = world.preset
    writer, total = None, 0
    try:
        for chunk, first in enumerate(range(0, settings.users, settings.chunk_users)):
            users = min(settings.chunk_users, settings.users - first)
            events, plan = run_users(world, users, user_stream(seed, chunk), keep_state=False)
            table = _as_arrow(interaction_table(world, events, plan, first))
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            total += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return total


def _as_arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
