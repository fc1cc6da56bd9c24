"""Histories of a model's users with events that came later, and new gates from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.histories import Histories
from llmrec.data.readers.tables import read_interactions
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError

if TYPE_CHECKING:
    from llmrec.adapters.refresh import Refreshed
    from llmrec.adapters.store import AdapterStore
    from llmrec.recommenders.base import BaseRecommender

_UNSAID = {"rating": float("nan"), "label": -1}
_OLD, _KEPT, _NEW = 0, 1, 2
"""How new an event is: a gate was computed from it, it is kept and unused, it came now."""


@dataclass(frozen=True)
class NewEvents:
    """Whole histories of the users who have new events.

    Attributes:
        histories: What the model knows of them, what was kept, then what came now.
        counts: ``[n]`` how many events of each history no gate was computed from.
        came: What came now and was not known: ``user_id``, ``item_id`` and what the file says.
        left_out: Events of items that the model does not know.
    """

    histories: Histories
    counts: npt.NDArray[np.int64]
    came: pl.DataFrame
    left_out: int


def refresh_from_run(
    store: "AdapterStore",
    model: Any,
    path: str | Path,
    *,
    name: str = "refresh",
    min_events: int = 1,
    min_drift: float = 0.0,
    whole: bool = False,
) -> tuple["Refreshed", int]:
    """Compute gates from a model, what it knows of users, and all events that came since.

    The events are kept in the store once the gates are written, so that the next refresh needs
    those that came after this one only. Interrupted, it can be run again.

    Args:
        store: Where to.
        model: A fitted recommender that gives gates.
        path: A file of new events.
        name: See :func:`llmrec.adapters.refresh.refresh`, as for what follows.
        min_events: Fewer new events are kept, and wait for more.
        min_drift: How far a weight must move.
        whole: See :func:`with_new_events`.

    Returns:
        What was done, and how many events were left out because the model does not know the item.

    Raises:
        DataError: As :func:`with_new_events`.
        ArtifactError: The model is of something else than the store.
    """
    from llmrec.adapters.refresh import due, refresh

    store.bundle.require(model.bundle)
    found = with_new_events(model, path, store, whole)
    users = found.histories.user_ids.to_list()
    read = due(store, users, found.histories.lengths, found.counts, min_events)
    done = refresh(
        store,
        model,
        found.histories,
        new_events=found.counts,
        name=name,
        min_events=min_events,
        min_drift=min_drift,
    )
    store.events.add(found.came, [user for user, yes in zip(users, read, strict=True) if yes])
    return done, found.left_out


def with_new_events(
    model: "BaseRecommender[Any]", path: str | Path, store: "AdapterStore", whole: bool = False
) -> NewEvents:
    """Whole histories of users: what the model knows, what the store keeps, then a file's events.

    Args:
        model: A fitted recommender.
        path: A file of events as ``llmrec data`` reads it.
        store: Where earlier new events are kept.
        whole: The file and what is kept are all that these users did. It has to be said where the
            model was saved without users and the store has gates of some, which read more.

    Returns:
        Histories of the users in the file and of those whose kept events no gate has read.
        With a clock, an event that is known already counts once.

    Raises:
        DataError: The file is not as it must be, or has no clock where the model's events have;
            or gates that read more than it would be replaced.
    """
    vocabulary = model.vocabulary
    frame = read_interactions(path).frame
    frame = frame.with_columns(pl.col("item_id").cast(vocabulary.dtype, strict=False))
    known_item = frame["item_id"].is_in(vocabulary.ids.implode())
    new = _flat(frame.filter(known_item), vocabulary)
    known = model.known_histories
    old = None if known is None else _flat_histories(known)
    if old is not None:
        new = _like(old, new, path)
    kept = _kept(store, new, vocabulary)
    asked = pl.concat([new["user_id"], kept["user_id"]]).unique()
    if old is None and not whole:
        _require_new_users(store, asked, path)
    parts = [] if old is None else [old.filter(pl.col("user_id").is_in(asked.implode()))]
    parts = [part.with_columns(age=pl.lit(_OLD, pl.Int8)) for part in parts]
    both = pl.concat([*parts, kept, new.with_columns(age=pl.lit(_NEW, pl.Int8))])
    if "timestamp" in new.columns:  # what the training learnt twice stays twice
        learnt = pl.int_range(pl.len()) < sum(part.height for part in parts)
        both = both.filter(learnt | pl.struct(new.columns).is_first_distinct())
    came = both.filter(pl.col("age") == _NEW).select(new.columns)
    came = came.with_columns(item_id=vocabulary.decode(came["item"].to_numpy())).drop("item")
    histories, age = _histories(both, vocabulary)
    counts = np.add.reduceat(age != _OLD, histories.offsets[:-1]) if len(histories) else age
    return NewEvents(histories, counts.astype(np.int64), came, int((~known_item).sum()))


def _require_new_users(store: "AdapterStore", users: pl.Series, path: str | Path) -> None:
    for user in users.sort():
        if store.gate(user) is not None:
            raise DataError(
                f"the model was saved without users, so it does not know what user {user!r} did "
                f"before {path}, and the store has a gate of theirs that read it. Name a run that "
                "was saved with users; or give whole histories, and say so (--whole-histories)."
            )


def _kept(store: "AdapterStore", new: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """Kept events of the users of the new ones and of those who wait, in the same columns."""
    dtype = new["user_id"].dtype
    waiting = [u for u in store.events.waiting() if isinstance(u, int) == dtype.is_integer()]
    users = dict.fromkeys([*new["user_id"].unique(maintain_order=True).to_list(), *waiting])
    rows = store.events.of(users)
    columns = {"user_id": pl.Series([row["user_id"] for row in rows], dtype=dtype)}
    items = pl.Series([row["item_id"] for row in rows], dtype=vocabulary.dtype)
    columns["item"] = pl.Series(vocabulary.encode(items))
    for name in new.columns[2:]:
        values = [_UNSAID.get(name) if row[name] is None else row[name] for row in rows]
        columns[name] = pl.Series(values, dtype=new[name].dtype)
    if "timestamp" in columns and columns["timestamp"].null_count():
        raise DataError(
            f"events that {store.folder} keeps have no time, and these have one; make a new store "
            "and refresh it with all events since the training."
        )
    read = [_OLD if row["read"] else _KEPT for row in rows]
    return pl.DataFrame({**columns, "age": pl.Series(read, dtype=pl.Int8)})


def _like(old: pl.DataFrame, new: pl.DataFrame, path: str | Path) -> pl.DataFrame:
    """New events in the columns and types of the old ones."""
    if "label" in old.columns and "label" not in new.columns:
        new = new.with_columns(pl.lit(_UNSAID["label"], pl.Int8).alias("label"))
    if missing := [name for name in old.columns if name not in new.columns]:
        raise DataError(
            f"{path} has no column {missing[0]!r}, which the model's own events have; add it."
        )
    users = new["user_id"].cast(old["user_id"].dtype, strict=False)
    if users.null_count():
        raise DataError(f"{path}: user ids are not of the model's type, {old['user_id'].dtype}.")
    return new.select(old.columns).with_columns(users)


def _flat(frame: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    columns = [pl.col("user_id"), pl.Series("item", vocabulary.encode(frame["item_id"]))]
    for name, kind in (("timestamp", pl.Int64), ("rating", pl.Float32), ("label", pl.Int8)):
        if name in frame.columns:
            column = pl.col(name).cast(kind)
            columns.append(column.fill_null(_UNSAID[name]) if name in _UNSAID else column)
    return frame.select(columns)


def _flat_histories(histories: Histories) -> pl.DataFrame:
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    columns = {"user_id": histories.user_ids.gather(rows), "item": pl.Series(histories.items)}
    given = (("timestamp", histories.times), ("rating", histories.ratings),
             ("label", histories.labels))  # fmt: skip
    columns |= {name: pl.Series(values) for name, values in given if values is not None}
    return pl.DataFrame(columns)


def _histories(
    frame: pl.DataFrame, vocabulary: Vocabulary
) -> tuple[Histories, npt.NDArray[np.int8]]:
    """One row per user, in order of time where there is one, else in the order given; ages."""
    by = ["user_id", "timestamp"] if "timestamp" in frame.columns else ["user_id"]
    frame = frame.sort(by, maintain_order=True)
    users = frame["user_id"]
    starts = (users != users.shift(1)).fill_null(True).to_numpy()
    offsets = np.append(np.flatnonzero(starts), users.len()).astype(np.int64)
    values = {name: frame[name].to_numpy() for name in frame.columns if name != "user_id"}
    histories = Histories(
        users.filter(pl.Series(starts)), values["item"], offsets, vocabulary,
        values.get("timestamp"), values.get("rating"), values.get("label"),
    )  # fmt: skip
    return histories, values["age"]
