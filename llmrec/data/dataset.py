"""A named data set: events, items, and what else is known about users.

The fingerprint is a hash of the canonical tables; two editions of a public set are two names. A
data set without timestamps is order-only and says so when something needs a clock.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.hashing import hash_frame, hash_json
from llmrec.data.histories import Histories
from llmrec.data.interactions import Interactions
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError, shorten


class Dataset:
    """Events and the catalog they are about.

    Args:
        name: The name under which results are stored.
        interactions: The events.
        catalog: The items; None makes one from the events. It must hold every item of the events.
        users: A table with ``user_id`` and attributes, or None.

    Raises:
        DataError: Item ids differ in type between events and catalog, or events name items that
            the catalog does not have.
    """

    def __init__(
        self,
        name: str,
        interactions: Interactions,
        catalog: Catalog | None = None,
        users: pl.DataFrame | None = None,
    ) -> None:
        items = interactions.frame["item_id"]
        self.name = name
        self.interactions = interactions
        self.catalog = catalog if catalog is not None else Catalog.from_ids(items)
        self.users = users
        if items.dtype != self.catalog.vocabulary.dtype:
            raise DataError(
                f"{name}: item_id is {items.dtype} in the interactions but "
                f"{self.catalog.vocabulary.dtype} in the catalog; read both as the same "
                'type (id_type="string"), or correct the odd ids.'
            )
        known = self.catalog.frame["item_id"]
        missing = items.unique().filter(~items.unique().is_in(known.implode()))
        if missing.len():
            raise DataError(
                f"{name}: {missing.len()} items of the interactions are not in the catalog: "
                f"{shorten(missing.sort())}; add them or drop their events."
            )

    @property
    def has_timestamps(self) -> bool:
        """Whether the data has a clock; order-only data refuses whatever needs one."""
        return self.interactions.has_timestamps

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the canonical tables, 16 hexadecimal digits."""
        users = None if self.users is None else hash_frame(self.users)
        tables = [hash_frame(self.interactions.frame), hash_frame(self.catalog.frame), users]
        return hash_json(tables)[:16]

    @property
    def item_vocabulary(self) -> Vocabulary:
        """Item ids in the order of the catalog."""
        return self.catalog.vocabulary

    @cached_property
    def user_vocabulary(self) -> Vocabulary:
        """User ids in the order of the canonical interactions."""
        return Vocabulary(self.interactions.frame["user_id"].unique(maintain_order=True), "user")

    @cached_property
    def item_codes(self) -> npt.NDArray[np.int32]:
        """``[events]`` item code of every canonical row."""
        return self.item_vocabulary.encode(self.interactions.frame["item_id"])

    @cached_property
    def user_offsets(self) -> npt.NDArray[np.int64]:
        """``[users + 1]`` where each user's rows begin; canonical rows are grouped by user."""
        users = self.interactions.frame["user_id"]
        changes = (users != users.shift(1)).fill_null(True).to_numpy()
        return np.append(np.flatnonzero(changes), users.len()).astype(np.int64)

    @cached_property
    def histories(self) -> Histories:
        """All events, one row per user."""
        frame = self.interactions.frame
        rated, judged = "rating" in frame.columns, "label" in frame.columns
        return Histories(
            self.user_vocabulary.ids,
            self.item_codes,
            self.user_offsets,
            self.item_vocabulary,
            frame["timestamp"].to_numpy() if self.has_timestamps else None,
            frame["rating"].to_numpy().astype(np.float32) if rated else None,
            frame["label"].fill_null(-1).to_numpy().astype(np.int8) if judged else None,
            _session_numbers(frame["session_id"]) if "session_id" in frame.columns else None,
        )

    def __repr__(self) -> str:
        clock = "with clock" if self.has_timestamps else "order only"
        return (
            f"Dataset({self.name}: {len(self.interactions):,} interactions, "
            f"{len(self.user_vocabulary):,} users, {len(self.catalog):,} items, {clock})"
        )


def _session_numbers(ids: pl.Series) -> npt.NDArray[np.int64]:
    """``[events]``: one number for events in a row with one id, -1 where there is none."""
    numbers = ids.to_frame("id").select(
        pl.when(pl.col("id").is_null()).then(-1).otherwise(pl.col("id").rle_id().cast(pl.Int64))
    )
    return numbers.to_series().to_numpy()
