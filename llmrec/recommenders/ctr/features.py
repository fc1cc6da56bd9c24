"""From histories and catalogs to the arrays that CTR networks read.

Everything fitted here (levels of feedback, codes of categories, means of numbers) is fitted on
training data and saved with the model. A pair's history is a span of a flat event table, so that
a training row costs nothing before its batch is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, position_of_each, row_of_each, span_indices
from llmrec.errors import ConfigError, DataError, nearest_name
from llmrec.recommenders.ctr.config import InputField

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

_MOST_LEVELS = 16
_PRIOR_EVENTS = 5.0  # a mean over few events is drawn to the mean over all


@dataclass(frozen=True)
class PairBatch:
    """User-item pairs; several pairs may share a history.

    Attributes:
        users: ``[b]`` int64 user codes, 0 unknown.
        history: ``[b, L]`` int64 item codes, oldest first, 0 after the last.
        levels: ``[b, L]`` int64 feedback levels, 0 not said.
        statistics: ``[b, s]`` float32.
        rows: ``[p]`` int64 the history of each pair.
        items: ``[p]`` int64 item codes.
        labels: ``[p]`` float32, 1 liked.
    """

    users: Tensor
    history: Tensor
    levels: Tensor
    statistics: Tensor
    rows: Tensor
    items: Tensor
    labels: Tensor

    @property
    def n_targets(self) -> int:
        """Number of pairs."""
        return len(self.items)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)}
        return type(self)(**moved)


@dataclass(frozen=True)
class Feedback:
    """What users said about items, as levels and as a standardised number.

    Attributes:
        levels: ``[m]`` float32 ascending values that a level stands for; empty without feedback.
        mean: Mean over the training events.
        deviation: Their standard deviation.
    """

    levels: Float32
    mean: float
    deviation: float

    @classmethod
    def fit(cls, histories: Histories, wanted: bool) -> Feedback:
        """Learn levels from training events; at most 16, by quantiles where there are more."""
        values = feedback_of(histories)
        values = values[~np.isnan(values)]
        if not wanted or not values.size:
            return cls(np.empty(0, dtype=np.float32), 0.0, 1.0)
        levels = np.unique(values)
        if levels.size > _MOST_LEVELS:
            levels = np.unique(np.quantile(values, np.linspace(0, 1, _MOST_LEVELS)))
        deviation = float(values.std())
        return cls(levels.astype(np.float32), float(values.mean()), deviation or 1.0)

    def encode(self, values: Float32) -> tuple[Int64, Float32]:
        """Levels ``[events]`` from 1 (0 for NaN), and standardised values, NaN kept."""
        if not self.levels.size:
            return np.zeros(values.size, dtype=np.int64), np.full_like(values, np.nan)
        between = (self.levels[1:] + self.levels[:-1]) / 2
        codes = 1 + np.searchsorted(between, values)
        codes[np.isnan(values)] = 0
        return codes.astype(np.int64), ((values - self.mean) / self.deviation).astype(np.float32)


def feedback_of(histories: Histories) -> Float32:
    """``[events]`` rating, else label, else NaN."""
    if histories.ratings is not None:
        return histories.ratings
    if histories.labels is not None:
        return np.where(histories.labels < 0, np.nan, histories.labels).astype(np.float32)
    return np.full(histories.items.size, np.nan, dtype=np.float32)


class EventTable:
    """Flat events of histories, from which the inputs of any of their spans are read.

    Args:
        histories: The events.
        feedback: Fitted on the training data.
        users: ``[n]`` int64 user code of every row.
        statistics: Kinds of statistics, in the order of their columns.
        length: Newest events that are read.
    """

    def __init__(
        self,
        histories: Histories,
        feedback: Feedback,
        users: Int64,
        statistics: Sequence[str],
        length: int,
    ) -> None:
        self._items = histories.items.astype(np.int64)
        self._levels, values = feedback.encode(feedback_of(histories))
        said = ~np.isnan(values)
        self._said = np.append(0, np.cumsum(said))
        self._sums = np.append(0.0, np.cumsum(np.where(said, values, 0.0), dtype=np.float64))
        self._users, self._statistics, self._length = users, tuple(statistics), length
        self.offsets = histories.offsets

    def batch(
        self, owners: Int64, ends: Int64, rows: Int64, items: Int64, labels: Float32 | None = None
    ) -> PairBatch:
        """Inputs of pairs.

        Args:
            owners: ``[b]`` history rows.
            ends: ``[b]`` flat positions where the histories end (exclusive).
            rows: ``[p]`` number of each pair's history among the ``b``.
            items: ``[p]`` item codes.
            labels: ``[p]``, or None where nobody asks.
        """
        starts = self.offsets[owners]
        kept = np.minimum(ends - starts, self._length)
        width = max(1, int(kept.max(initial=0)))
        history = np.zeros((len(owners), width), dtype=np.int64)
        levels = np.zeros_like(history)
        span, offsets = span_indices(ends - kept, kept), offsets_of(kept)
        place = row_of_each(offsets), position_of_each(offsets)
        history[place], levels[place] = self._items[span], self._levels[span]
        found = labels if labels is not None else np.zeros(len(items), dtype=np.float32)
        return PairBatch(
            torch.from_numpy(self._users[owners]),
            torch.from_numpy(history),
            torch.from_numpy(levels),
            torch.from_numpy(self._statistics_of(starts, ends)),
            torch.from_numpy(rows),
            torch.from_numpy(items),
            torch.from_numpy(found),
        )

    def _statistics_of(self, starts: Int64, ends: Int64) -> Float32:
        said = self._said[ends] - self._said[starts]
        sums = self._sums[ends] - self._sums[starts]
        columns = {
            "history_length": np.log1p(ends - starts) / 4,
            "mean_rating": sums / (said + _PRIOR_EVENTS),
        }
        chosen = [columns[kind] for kind in self._statistics]
        return np.stack(chosen, 1).astype(np.float32) if chosen else np.empty((len(ends), 0), "f4")


def category_table(catalog: Catalog, field: InputField) -> Int64:
    """Codes of an item's values in a catalog column: ``[items + 1, most]``, 0 for none.

    A column of lists gives the values as they stand in it.

    Raises:
        ConfigError: The catalog has no such column.
    """
    column = _column(catalog, field)
    if isinstance(column.dtype, pl.List):
        lists = column.cast(pl.List(pl.String))
    elif field.kind == "categories":
        lists = column.cast(pl.String).fill_null("").str.split(field.separator)
    else:
        texts = column.cast(pl.String).fill_null("")
        lists = texts.to_frame().select(pl.concat_list(pl.all())).to_series()
    frame = pl.DataFrame({"item": np.arange(1, len(catalog) + 1), "value": lists})
    values = frame.explode("value").with_columns(pl.col("value").str.strip_chars())
    values = values.filter(pl.col("value").is_not_null() & (pl.col("value") != "")).unique(
        maintain_order=True
    )
    codes = values["value"].rank("dense").cast(pl.Int64).to_numpy()
    items = values["item"].to_numpy()
    counts = np.bincount(items, minlength=len(catalog) + 1)
    table = np.zeros((len(catalog) + 1, max(1, int(counts.max(initial=0)))), dtype=np.int64)
    table[items, position_of_each(offsets_of(counts))] = codes
    return table


def number_table(catalog: Catalog, field: InputField) -> Float32:
    """A standardised numeric column and whether it is known: ``[items + 1, 2]``.

    Raises:
        ConfigError: The catalog has no such column.
        DataError: The column is not numeric.
    """
    column = _column(catalog, field)
    values = column.cast(pl.Float64, strict=False)
    if values.null_count() > column.null_count():
        bad = column.filter(values.is_null() & column.is_not_null())[0]
        raise DataError(
            f"catalog column {field.source!r} holds {bad!r}, which is not a number; make field "
            f"{field.name!r} a category."
        )
    numbers = values.fill_nan(None).to_numpy()
    known = np.isfinite(numbers)
    spread = numbers[known].std() if known.any() else 0.0
    scaled = (numbers - (numbers[known].mean() if known.any() else 0.0)) / (spread or 1.0)
    table = np.zeros((len(catalog) + 1, 2), dtype=np.float32)
    table[1:, 0], table[1:, 1] = np.where(known, scaled, 0.0), known
    return table


def _column(catalog: Catalog, field: InputField) -> pl.Series:
    if field.source not in catalog.frame.columns:
        raise ConfigError(
            f"field {field.name!r} needs the catalog column {field.source!r}, which this catalog "
            f"does not have{nearest_name(field.source, catalog.frame.columns)}."
        )
    return catalog.frame[field.source]
