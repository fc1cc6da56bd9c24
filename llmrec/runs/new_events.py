"""Histories of a model's users with events that came later."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from llmrec.data.histories import Histories
from llmrec.data.readers.tables import read_interactions
from llmrec.errors import DataError

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender


def with_new_events(model: "BaseRecommender[Any]", path: str | Path) -> tuple[Histories, int]:
    """Whole histories of the users of a file: what the model knows of them, then the new events.

    Args:
        model: A fitted recommender.
        path: A file of events as ``llmrec data`` reads it.

    Returns:
        Histories of the users in the file, and how many events were left out because the model
        does not know their item.

    Raises:
        DataError: The file is not as it must be, or has no clock where the model's events have.
    """
    vocabulary = model.vocabulary
    frame = read_interactions(path).frame
    frame = frame.with_columns(pl.col("item_id").cast(vocabulary.dtype, strict=False))
    known_item = frame["item_id"].is_in(vocabulary.ids.implode())
    left_out = int((~known_item).sum())
    new = _flat(frame.filter(known_item), vocabulary)
    known = model.known_histories
    if known is not None:
        new = _after(_flat_histories(known), new, path)
    return _histories(new, vocabulary), left_out


def _after(old: pl.DataFrame, new: pl.DataFrame, path: str | Path) -> pl.DataFrame:
    """What the users of the new events did before, then these; events known already count once."""
    if "label" in old.columns and "label" not in new.columns:
        new = new.with_columns(pl.lit(-1, pl.Int8).alias("label"))  # not said
    if missing := [name for name in old.columns if name not in new.columns]:
        raise DataError(
            f"{path} has no column {missing[0]!r}, which the model's own events have; add it."
        )
    users = new["user_id"].cast(old["user_id"].dtype, strict=False)
    if users.null_count():
        raise DataError(f"{path}: user ids are not of the model's type, {old['user_id'].dtype}.")
    new = new.select(old.columns).with_columns(users)
    both = pl.concat([old.filter(pl.col("user_id").is_in(users.unique().implode())), new])
    return both.unique(maintain_order=True) if "timestamp" in both.columns else both


def _flat(frame: pl.DataFrame, vocabulary: Any) -> pl.DataFrame:
    columns = [pl.col("user_id"), pl.Series("item", vocabulary.encode(frame["item_id"]))]
    for name, kind in (("timestamp", pl.Int64), ("rating", pl.Float32), ("label", pl.Int8)):
        if name in frame.columns:
            columns.append(pl.col(name).cast(kind))
    return frame.select(columns)


def _flat_histories(histories: Histories) -> pl.DataFrame:
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    columns = {"user_id": histories.user_ids.gather(rows), "item": pl.Series(histories.items)}
    given = (("timestamp", histories.times), ("rating", histories.ratings),
             ("label", histories.labels))  # fmt: skip
    columns |= {name: pl.Series(values) for name, values in given if values is not None}
    return pl.DataFrame(columns)


def _histories(frame: pl.DataFrame, vocabulary: Any) -> Histories:
    """One row per user, in order of time where there is one, else in the order given."""
    by = ["user_id", "timestamp"] if "timestamp" in frame.columns else ["user_id"]
    frame = frame.sort(by, maintain_order=True)
    users = frame["user_id"]
    starts = (users != users.shift(1)).fill_null(True).to_numpy()
    offsets = np.append(np.flatnonzero(starts), users.len()).astype(np.int64)
    values = {name: frame[name].to_numpy() for name in frame.columns if name != "user_id"}
    return Histories(
        users.filter(pl.Series(starts)), values["item"], offsets, vocabulary,
        values.get("timestamp"), values.get("rating"), values.get("label"),
    )  # fmt: skip
