"""What the documents of an embedded model are written from: titles, events, and what was liked.

Only events of the training part are here; the validation part has a function of its own, used for
judging. Whether an event was liked is known from a column ``label`` or from ratings, else not.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.ragged import span_indices
from llmrec.data.splits import VALID, Split
from llmrec.errors import ConfigError
from llmrec.profiles.facts import ItemFacts, item_facts

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Events:
    """Events as rows of users, and what is known about their items.

    Attributes:
        histories: The events, one row per user.
        facts: Of the whole catalogue; item code ``c`` is at ``c - 1``.
        liked: ``[events]`` whether each was liked, or None where the data does not say.
    """

    histories: Histories
    facts: ItemFacts
    liked: npt.NDArray[np.bool_] | None

    def titles(self, codes: npt.ArrayLike) -> list[str]:
        """Titles of item codes."""
        return [self.facts.titles[code - 1] for code in np.asarray(codes).tolist()]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Events of the validation part, each with the training events of its user before it.

    Attributes:
        rows: ``[n]`` row of the user in the training histories.
        items: ``[n]`` item codes.
        ratings: ``[n]`` ratings, or None.
        liked: ``[n]`` whether each was liked, or None where the data does not say.
    """

    rows: Int64Array
    items: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.float32] | None
    liked: npt.NDArray[np.bool_] | None


def training_events(split: Split, liked_from: float) -> Events:
    """The training part of a split.

    Args:
        split: The split.
        liked_from: A rating from here on is a like.

    Raises:
        ConfigError: Every training event would be a like by its rating, or none.
    """
    train = split.train_histories()
    data = split.dataset
    users = data.user_vocabulary.encode(train.user_ids).astype(np.int64) - 1
    index = span_indices(data.user_offsets[users], train.lengths)
    liked = _liked(split, index, liked_from)
    if liked is not None and "label" not in data.interactions.frame.columns:
        _require_both(liked, liked_from, train)
    return Events(train, item_facts(data.catalog), liked)


def held_out_events(split: Split, liked_from: float, most: int, seed: int) -> HeldOut:
    """Events of the validation part whose users have training events; at most so many, drawn."""
    data = split.dataset
    train = split.train_histories()
    owner = np.repeat(np.arange(len(data.user_vocabulary)), np.diff(data.user_offsets))
    users = data.user_vocabulary.encode(train.user_ids).astype(np.int64) - 1
    row_of = np.full(len(data.user_vocabulary), -1, dtype=np.int64)
    row_of[users] = np.arange(len(users))
    index = np.flatnonzero((split.parts == VALID) & (row_of[owner] >= 0))
    if index.size > most:
        index = np.sort(np.random.default_rng(seed).choice(index, most, replace=False))
    ratings = data.histories.ratings
    return HeldOut(
        row_of[owner[index]],
        data.item_codes[index],
        None if ratings is None else ratings[index],
        _liked(split, index, liked_from),
    )


def _liked(split: Split, index: Int64Array, liked_from: float) -> npt.NDArray[np.bool_] | None:
    frame = split.dataset.interactions.frame
    if "label" in frame.columns:
        return np.asarray(frame["label"].to_numpy()[index] > 0)
    if "rating" in frame.columns:
        return np.asarray(frame["rating"].to_numpy()[index] >= liked_from)
    return None


def _require_both(liked: npt.NDArray[np.bool_], liked_from: float, train: Histories) -> None:
    if liked.size and (liked.all() or not liked.any()):
        assert train.ratings is not None
        raise ConfigError(
            f"liked_from is {liked_from:g}, but the training ratings run from "
            f"{train.ratings.min():g} to {train.ratings.max():g}, so all or none would be likes; "
            "set corpus.liked_from to a rating in between."
        )
