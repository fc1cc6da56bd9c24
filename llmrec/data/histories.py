"""Sequences of events: the one form in which what users did travels through the toolkit.

A row is one user's events, oldest first, as item codes of one vocabulary. Rows may repeat a user
(one row per moment to predict at). Nothing here knows about splits; ``origin`` only carries along
where the events come from, so that an evaluation can refuse a model that has seen its answers.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.ragged import offsets_of, span_indices
from llmrec.data.vocabulary import Ids, Vocabulary, as_id_series
from llmrec.errors import DataError

_KNOWN = ("times", "ratings", "labels", "sessions")
PART_ORDER = {"train": 0, "valid": 1, "test": 2}


@dataclass(frozen=True)
class Origin:
    """Where events come from, as stored with everything trained on them.

    Attributes:
        dataset: Name of the data set.
        fingerprint: Its fingerprint.
        split_hash: Hash of the split.
        part: ``"train"``, ``"valid"`` or ``"test"``: everything up to and including this part.
        newest_event: Unix seconds of the newest event, or None without a clock.
    """

    dataset: str
    fingerprint: str
    split_hash: str
    part: str
    newest_event: int | None

    def is_later_than(self, other: "Origin") -> bool:
        """Whether these events of the same data may go on where the others end.

        Under the same split the part decides, else the newest event; without a clock they may.
        """
        if self.dataset != other.dataset and self.fingerprint != other.fingerprint:
            return False
        if self.split_hash == other.split_hash:
            return PART_ORDER.get(self.part, 2) > PART_ORDER.get(other.part, 2)
        if self.newest_event is None or other.newest_event is None:
            return True
        return self.newest_event > other.newest_event


@dataclass(frozen=True, eq=False)
class Histories:
    """Flat event arrays with offsets.

    Attributes:
        user_ids: ``[n]`` the user's own ids; they may repeat.
        items: ``[events]`` int32 item codes, 1-based.
        offsets: ``[n + 1]`` int64; row ``i`` is ``items[offsets[i]:offsets[i + 1]]``.
        vocabulary: The item vocabulary of the codes.
        times: ``[events]`` int64 Unix seconds, or None.
        ratings: ``[events]`` float32, or None.
        labels: ``[events]`` int8, 1 liked, 0 not liked, -1 not said; or None.
        sessions: ``[events]`` int64, the same number for events in a row that are of one session
            (``session_id`` of the data), -1 where it is not said; or None.
        origin: Where the events come from, or None for events given by a caller.
    """

    user_ids: pl.Series
    items: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    vocabulary: Vocabulary
    times: npt.NDArray[np.int64] | None = None
    ratings: npt.NDArray[np.float32] | None = None
    labels: npt.NDArray[np.int8] | None = None
    sessions: npt.NDArray[np.int64] | None = None
    origin: Origin | None = None

    @classmethod
    def from_lists(
        cls,
        histories: Mapping[str, Ids] | Mapping[int, Ids] | Iterable[Ids],
        vocabulary: Vocabulary,
    ) -> "Histories":
        """Make histories from lists of item ids, oldest first.

        Args:
            histories: User id to item ids, or only the lists (users are then numbered from 0).
            vocabulary: The item vocabulary; a fitted model's is ``model.vocabulary``.

        Raises:
            UnknownIdError: An item is not in the vocabulary.

        >>> vocabulary = Vocabulary(["pen", "ink", "paper"])
        >>> Histories.from_lists({"ann": ["ink", "pen"]}, vocabulary).items.tolist()
        [2, 1]
        """
        if isinstance(histories, Mapping):
            users: Ids = list(histories.keys())
            rows = [as_id_series(row, "item") for row in histories.values()]
        else:
            rows = [as_id_series(row, "item") for row in histories]
            users = range(len(rows))
        filled = [row.cast(vocabulary.dtype) if not row.len() else row for row in rows]
        codes = [vocabulary.encode(row) for row in filled]
        flat = np.concatenate([np.empty(0, dtype=np.int32), *codes])
        offsets = offsets_of([len(row) for row in codes])
        return cls(as_id_series(users, "user"), flat, offsets, vocabulary)

    def __post_init__(self) -> None:
        if self.offsets.shape != (self.user_ids.len() + 1,):
            raise DataError(
                f"histories of {self.user_ids.len()} users need {self.user_ids.len() + 1} offsets, "
                f"got {self.offsets.size}."
            )

    def __len__(self) -> int:
        return self.user_ids.len()

    def __getitem__(self, row: int) -> npt.NDArray[np.int32]:
        """Item codes of one row, oldest first."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``[n]`` number of events of every row."""
        return np.diff(self.offsets)

    def known_of(self, events: slice | npt.NDArray[Any]) -> dict[str, Any]:
        """What is known of some events beside their items: the arrays that are there, by name.

        Args:
            events: A slice, places, or a mask of the flat events.
        """
        arrays = {name: getattr(self, name) for name in _KNOWN}
        return {name: array[events] for name, array in arrays.items() if array is not None}

    def take(self, rows: npt.ArrayLike) -> "Histories":
        """Select rows by number, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        return self._spans(self.user_ids.gather(rows), self.offsets[rows], self.lengths[rows])

    def block(self, start: int, stop: int) -> "Histories":
        """Rows ``start`` to ``stop`` without copying events."""
        first, last = self.offsets[start], self.offsets[min(stop, len(self))]
        return dataclasses.replace(
            self,
            user_ids=self.user_ids[start:stop],
            items=self.items[first:last],
            offsets=self.offsets[start : stop + 1] - first,
            **self.known_of(slice(first, last)),
        )

    def last(self, length: int) -> "Histories":
        """Keep the newest ``length`` events of every row."""
        kept = np.minimum(self.lengths, length)
        return self._spans(self.user_ids, self.offsets[1:] - kept, kept)

    def prefixes(self, rows: npt.ArrayLike, lengths: npt.ArrayLike) -> "Histories":
        """The oldest ``lengths[i]`` events of row ``rows[i]``, for every ``i``."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = np.asarray(lengths, dtype=np.int64)
        if (lengths > self.lengths[rows]).any():
            raise DataError("a prefix cannot be longer than its history.")
        return self._spans(self.user_ids.gather(rows), self.offsets[rows], lengths)

    def before(self, moment: int) -> "Histories":
        """The events before a moment; rows without one are left out.

        Args:
            moment: Unix seconds.

        Raises:
            DataError: There is no clock.
        """
        if self.times is None:
            raise DataError("histories without a clock cannot be cut at a moment.")
        early = np.append(0, np.cumsum(self.times < moment))
        lengths = np.diff(early[self.offsets])
        rows = np.flatnonzero(lengths)
        return self.prefixes(rows, lengths[rows])

    def with_vocabulary(self, vocabulary: Vocabulary) -> "Histories":
        """The same events in the codes of another vocabulary.

        Raises:
            UnknownIdError: An item is not in that vocabulary; the error names it.
        """
        if vocabulary is self.vocabulary or vocabulary.fingerprint == self.vocabulary.fingerprint:
            return self
        codes = vocabulary.encode(self.vocabulary.decode(self.items))
        return dataclasses.replace(self, items=codes, vocabulary=vocabulary)

    def to_parquet(self, path: str | Path) -> None:
        """Write one row per history: ``user_id`` and list columns of what is known of events."""
        events: dict[str, pl.Series] = {"item_id": self.vocabulary.decode(self.items)}
        if self.times is not None:
            events["timestamp"] = pl.Series(self.times)
        if self.ratings is not None:
            events["rating"] = pl.Series(self.ratings)
        if self.labels is not None:
            events["label"] = pl.Series(self.labels)
        if self.sessions is not None:
            events["session"] = pl.Series(self.sessions)
        row = pl.Series("row", np.repeat(np.arange(len(self)), self.lengths))
        lists = pl.DataFrame({"row": row, **events}).group_by("row", maintain_order=True).all()
        users = pl.DataFrame({"user_id": self.user_ids, "row": np.arange(len(self))})
        users.join(lists, on="row", how="left", maintain_order="left").drop("row").write_parquet(
            path
        )

    @classmethod
    def from_parquet(cls, path: str | Path, vocabulary: Vocabulary) -> "Histories":
        """Read what :meth:`to_parquet` wrote, in the codes of ``vocabulary``."""
        frame = pl.read_parquet(path)
        lengths = frame["item_id"].list.len().fill_null(0).to_numpy()
        events = frame.filter(pl.Series(lengths > 0)).drop("user_id")
        events = events.explode(events.columns)
        columns = events.columns
        return cls(
            as_id_series(frame["user_id"], "user"),
            vocabulary.encode(events["item_id"]),
            offsets_of(lengths),
            vocabulary,
            events["timestamp"].to_numpy() if "timestamp" in columns else None,
            events["rating"].to_numpy() if "rating" in columns else None,
            events["label"].to_numpy() if "label" in columns else None,
            events["session"].to_numpy() if "session" in columns else None,
        )

    def _spans(
        self, users: pl.Series, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> "Histories":
        index = span_indices(starts, lengths)
        return dataclasses.replace(
            self,
            user_ids=users,
            items=self.items[index],
            offsets=offsets_of(lengths),
            **self.known_of(index),
        )
