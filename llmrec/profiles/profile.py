"""Texts about users or items, each with the newest event it was written from.

Columns: ``user_id`` or ``item_id``, ``n_events``, ``newest_item``, ``newest_time`` (Unix seconds)
and ``text``. A user may have several profiles, one per number of events. Whether the events were
allowed to be used is not decided here: ``require_no_leak`` holds profiles against a split.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import llmrec
from llmrec.data.hashing import hash_frame, hash_json
from llmrec.data.histories import Origin
from llmrec.data.vocabulary import Ids, Vocabulary, as_id_series
from llmrec.errors import ArtifactError, DataError, nearest_name
from llmrec.profiles.requests import Kind
from llmrec.storage import atomic_directory, file_sha256, read_json

MANIFEST, TABLE = "profiles.json", "profiles.parquet"
_FORMAT = 1
_REQUIRED = {"kind", "template", "writer", "origin", "sha256"}


@dataclass(frozen=True, eq=False)
class Profiles:
    """Texts with what they know; make them with ``write_profiles`` or :meth:`from_frame`.

    Attributes:
        frame: The table of the module's contract.
        kind: ``"item"`` or ``"user"``.
        template_fingerprint: Of the template used, or None.
        writer_fingerprint: Of who wrote them, or None.
        origin: Where the events come from, or None if unknown.
    """

    frame: pl.DataFrame
    kind: Kind
    template_fingerprint: str | None = None
    writer_fingerprint: str | None = None
    origin: Origin | None = None

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        kind: Kind,
        template_fingerprint: str | None = None,
        writer_fingerprint: str | None = None,
        origin: Origin | None = None,
        source: str = "profiles",
    ) -> "Profiles":
        """Take profiles that were written elsewhere.

        Args:
            frame: ``user_id`` or ``item_id`` and ``text``; for users also ``n_events``: the text
                knows their oldest ``n_events`` events. ``newest_item`` and ``newest_time`` may be
                left out; items without ``n_events`` are taken to know the catalog alone.
            kind: ``"item"`` or ``"user"``.
            template_fingerprint: Of the template used.
            writer_fingerprint: Of who wrote them.
            origin: Where the events come from.
            source: What the table is called in messages.

        Raises:
            DataError: A column is missing, unknown or of a wrong type, there is no row, a value
                is missing or out of range, a text is empty, or a subject is there twice.
        """
        id_column = _id_column(kind)
        _require_columns(frame, kind, source)
        ids = as_id_series(frame[id_column], kind).alias(id_column)
        if ids.null_count():
            row = int(ids.is_null().arg_max() or 0) + 1
            raise DataError(f"{source} row {row}, column {id_column}: the value is missing.")
        whole = pl.DataFrame(
            [
                ids,
                _n_events(frame, ids, kind, source),
                _newest_item(frame),
                _newest_time(frame, source),
                _texts(frame, ids, kind, source),
            ]
        )
        _require_distinct(whole, kind, source)
        return cls(whole, kind, template_fingerprint, writer_fingerprint, origin)

    def __len__(self) -> int:
        return self.frame.height

    @property
    def id_column(self) -> str:
        """``"user_id"`` or ``"item_id"``."""
        return _id_column(self.kind)

    @property
    def ids(self) -> pl.Series:
        """``[n]`` whom or what each text is about."""
        return self.frame[self.id_column]

    @property
    def texts(self) -> pl.Series:
        """``[n]`` the texts."""
        return self.frame["text"]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the table, 16 hexadecimal digits; vectors made from the texts carry it."""
        return hash_json([self.kind, hash_frame(self.frame)])[:16]

    def rows_at(
        self, user_ids: Ids, n_events: npt.ArrayLike, allow_newer: bool = False
    ) -> npt.NDArray[np.int64]:
        """Row of the newest profile of each user that knows no more than ``n_events`` events.

        Args:
            user_ids: ``[n]`` users; they may repeat.
            n_events: ``[n]`` how many of the user's oldest events may be known.
            allow_newer: Where there is no such profile, take the oldest one that knows more. That
                is the cheap mode: such a text has seen what comes next.

        Returns:
            ``[n]`` int64 row numbers of ``frame``, -1 where there is none.

        Raises:
            DataError: These are profiles of items, or the two arrays differ in length.
        """
        if self.kind != "user":
            raise DataError("profiles of items do not depend on a number of events.")
        users, own = self._vocabulary.encode(user_ids, "zero"), self._vocabulary.encode(self.ids)
        wanted, known = np.asarray(n_events, np.int64), self.frame["n_events"].to_numpy()
        if wanted.shape != users.shape:
            raise DataError(
                f"{users.size} users need as many numbers of events, not {wanted.size}."
            )
        width = int(max(known.max(), wanted.max(initial=0))) + 1
        order = np.argsort(own * width + known, kind="stable")
        keys = (own.astype(np.int64) * width + known)[order]
        place = np.searchsorted(keys, users.astype(np.int64) * width + wanted, side="right")
        found = _same_user(place - 1, order, own, users)
        if not allow_newer:
            return found
        return np.where(found >= 0, found, _same_user(place, order, own, users))

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.ids.unique(maintain_order=True), self.kind)

    def save(self, directory: str | Path) -> None:
        """Write a directory atomically: a parquet file, and a manifest with its hash.

        Raises:
            ArtifactError: The directory exists and holds something else.
            StorageError: The disk is full or writing there is not allowed.
        """
        with atomic_directory(directory, MANIFEST) as folder:
            self.frame.write_parquet(folder / TABLE)
            manifest = {
                "format": _FORMAT,
                "llmrec": llmrec.__version__,
                "kind": self.kind,
                "rows": len(self),
                "template": self.template_fingerprint,
                "writer": self.writer_fingerprint,
                "origin": None if self.origin is None else vars(self.origin),
                "sha256": {TABLE: file_sha256(folder / TABLE)},
            }
            text = json.dumps(manifest, indent=2, allow_nan=False)
            (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> "Profiles":
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: The directory is missing, incomplete, of another format, or was changed.
        """
        folder = Path(directory)
        manifest = _checked_manifest(folder)
        origin = manifest["origin"]
        return cls.from_frame(
            pl.read_parquet(folder / TABLE),
            manifest["kind"],
            manifest["template"],
            manifest["writer"],
            None if origin is None else Origin(**origin),
            str(folder / TABLE),
        )


def _id_column(kind: str) -> str:
    if kind not in ("item", "user"):
        raise DataError(f"unknown kind of profile {kind!r}{nearest_name(kind, ('item', 'user'))}.")
    return f"{kind}_id"


def _same_user(
    place: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    own: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
) -> npt.NDArray[np.int64]:
    """Row at a place of the order if it is one of the same user, else -1."""
    row = order[np.clip(place, 0, order.size - 1)]
    fits = (place >= 0) & (place < order.size) & (own[row] == users)
    return np.where(fits, row, -1)


def _require_columns(frame: pl.DataFrame, kind: Kind, source: str) -> None:
    needed = [_id_column(kind), "text", *(["n_events"] if kind == "user" else [])]
    known = {*needed, "n_events", "newest_item", "newest_time"}
    # a misspelt newest_time would blind the guard, so nothing unknown passes
    for column in frame.columns:
        if column not in known:
            hint = nearest_name(column, known)
            raise DataError(f"{source} has an unknown column {column!r}{hint}.")
    for column in needed:
        if column not in frame.columns:
            why = "; without it nobody can tell what the texts know" if column == "n_events" else ""
            raise DataError(f"{source} has no column {column!r}{why}.")
    if not frame.height:
        raise DataError(f"{source} has no rows.")


def _n_events(frame: pl.DataFrame, ids: pl.Series, kind: Kind, source: str) -> pl.Series:
    if "n_events" not in frame.columns:
        return pl.Series("n_events", np.zeros(frame.height, dtype=np.int64))
    counts, least = frame["n_events"], 1 if kind == "user" else 0
    if not counts.dtype.is_integer():
        raise DataError(f"{source}, column n_events: expected whole numbers, found {counts.dtype}.")
    wrong = (counts.is_null() | (counts < least)).fill_null(True)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{source} row {row + 1}, column n_events: found {counts[row]!r} for {kind} "
            f"{ids[row]!r}; expected a whole number from {least}."
        )
    return counts.cast(pl.Int64)


def _newest_item(frame: pl.DataFrame) -> pl.Series:
    if "newest_item" not in frame.columns or frame["newest_item"].dtype == pl.Null:
        return pl.Series("newest_item", [None] * frame.height, dtype=pl.String)
    return as_id_series(frame["newest_item"], "item").alias("newest_item")


def _newest_time(frame: pl.DataFrame, source: str) -> pl.Series:
    if "newest_time" not in frame.columns or frame["newest_time"].dtype == pl.Null:
        return pl.Series("newest_time", [None] * frame.height, dtype=pl.Int64)
    times = frame["newest_time"]
    if not times.dtype.is_integer():
        raise DataError(
            f"{source}, column newest_time: expected Unix seconds, found {times.dtype}; "
            "convert the column first."
        )
    return times.cast(pl.Int64)


def _texts(frame: pl.DataFrame, ids: pl.Series, kind: Kind, source: str) -> pl.Series:
    texts = frame["text"]
    if texts.dtype != pl.String:
        raise DataError(f"{source}, column text: expected texts, found {texts.dtype}.")
    blank = texts.is_null() | (texts.str.strip_chars() == "").fill_null(True)
    if blank.any():
        row = int(blank.arg_max() or 0)
        raise DataError(f"{source} row {row + 1}: the text about {kind} {ids[row]!r} is empty.")
    return texts


def _require_distinct(frame: pl.DataFrame, kind: Kind, source: str) -> None:
    keys = [_id_column(kind), *(["n_events"] if kind == "user" else [])]
    doubled = frame.select(pl.struct(keys).is_duplicated()).to_series()
    if doubled.any():
        first = frame.filter(doubled).row(0, named=True)
        events = f" with {first['n_events']} events" if kind == "user" else ""
        raise DataError(
            f"{source} has more than one profile of {kind} {first[keys[0]]!r}{events}; keep one."
        )


def _checked_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{folder} holds no profiles: it has no {MANIFEST}.")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ArtifactError(f"{folder / MANIFEST} is not of profile format {_FORMAT}.")
    missing = _REQUIRED - manifest.keys()
    if missing:
        raise ArtifactError(f"{folder / MANIFEST} is incomplete: {', '.join(sorted(missing))}.")
    if not (folder / TABLE).is_file():
        raise ArtifactError(f"{folder / TABLE} is missing.")
    if file_sha256(folder / TABLE) != manifest["sha256"].get(TABLE):
        raise ArtifactError(
            f"{folder / TABLE} does not match the hash in {MANIFEST}; it was changed."
        )
    return manifest
