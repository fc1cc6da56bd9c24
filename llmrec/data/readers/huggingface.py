"""Hugging Face ``datasets`` in and out.

In: one table of events, or a dictionary of tables with ``interactions`` and perhaps ``items`` and
``users``. Out: such a dictionary; reading it back gives an equal fingerprint. Nothing is fetched
here: load with ``datasets.load_dataset`` first. ``datasets`` is imported only when called.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.dataset import Dataset
from llmrec.data.interactions import Duplicates, Interactions
from llmrec.errors import DataError, nearest_name

if TYPE_CHECKING:
    import datasets


def from_datasets(
    ds: "datasets.Dataset | datasets.DatasetDict",
    name: str = "huggingface",
    *,
    columns: Mapping[str, str] | None = None,
    duplicates: Duplicates = "error",
) -> Dataset:
    """Make a data set from a Hugging Face table of events or a dictionary of tables.

    Args:
        ds: Events, or ``{"interactions": ..., "items": ..., "users": ...}``; the last two may be
            absent.
        name: Name of the data set.
        columns: Our name to the table's name, applied to every table that has it.
        duplicates: What to do with equal events; see :class:`Interactions`.

    Raises:
        DataError: There is no table of events, or a column is missing or of the wrong type.
    """
    tables: dict[str, Any] = dict(ds) if isinstance(ds, dict) else {"interactions": ds}
    if "interactions" not in tables:
        raise DataError(
            f"{name} has the tables {sorted(tables)} but no 'interactions'; pass one of them, "
            'for instance ds["train"].'
        )
    frames = {
        key: _frame(tables[key], columns or {}, f"{name} {key}", key == "interactions")
        for key in ("interactions", "items", "users")
        if key in tables
    }
    return Dataset(
        name,
        Interactions(frames["interactions"], duplicates, f"{name} interactions"),
        Catalog(frames["items"], f"{name} items") if "items" in frames else None,
        frames.get("users"),
    )


def to_datasets(dataset: Dataset) -> "datasets.DatasetDict":
    """Give a data set as ``interactions``, ``items`` and, where known, ``users``."""
    import datasets

    frames = {"interactions": dataset.interactions.frame, "items": dataset.catalog.frame}
    if dataset.users is not None:
        frames["users"] = dataset.users
    return datasets.DatasetDict(
        {key: datasets.Dataset.from_polars(frame) for key, frame in frames.items()}
    )


def _frame(table: Any, columns: Mapping[str, str], source: str, strict: bool) -> pl.DataFrame:
    frame = table.to_polars()
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"{source} is streamed; load it without streaming=True.")
    for ours, theirs in columns.items():
        if strict and theirs not in frame.columns:
            raise DataError(
                f"{source} has no column {theirs!r} (for {ours})"
                f"{nearest_name(theirs, frame.columns)}."
            )
    return frame.rename({t: ours for ours, t in columns.items() if t in frame.columns})
