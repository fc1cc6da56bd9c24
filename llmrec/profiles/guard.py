"""The leak guard: no profile may know an event that a model is to be judged on.

Profiles are held against a split in three ways: where they say their events come from, which
events they say they used, and, for users, what the text says: the title of a held-out item that
stands in it word for word although nothing the user did in training explains it. A language model
that paraphrases a title is not caught by the last one; that it is never shown the title is what
the first two are for. Texts about items built from the catalog alone pass.
"""

import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.ragged import row_of_each
from llmrec.data.splits import TEST, TRAIN, VALID, Split
from llmrec.errors import ConfigError, ProtocolError, nearest_name
from llmrec.profiles.facts import ItemFacts, item_facts, tidy
from llmrec.profiles.profile import Profiles

KnownPart = Literal["train", "valid"]
_CODES = {"train": TRAIN, "valid": VALID, "test": TEST}
_PART_NAMES = ("training", "validation", "test", "unused")
_PAIRS_AT_ONCE = 1_000_000
Int64Array = npt.NDArray[np.int64]


def require_no_leak(
    profiles: Profiles, split: Split, part: KnownPart = "train", shortest_title: int = 1
) -> None:
    """Refuse profiles that know an event later than ``part``.

    Args:
        profiles: Of users or items.
        split: Whose held-out events must not be known.
        part: The last part that may be known: ``"train"``, or ``"valid"`` for a final fit.
        shortest_title: Titles of fewer characters are not looked for in texts: a title that is an
            everyday word may stand in a text by chance.

    Raises:
        ProtocolError: A profile knows, or cannot exclude that it knows, a held-out event; the
            message names the user or item, and the event and its item.
        UnknownIdError: A profile is about a user or an item that the data does not have.
        ConfigError: ``part`` is neither of the two.
    """
    if part not in ("train", "valid"):
        raise ConfigError(f"unknown part {part!r}{nearest_name(part, ('train', 'valid'))}.")
    _require_origin(profiles, split, part)
    view = _View(split, part)
    if profiles.kind == "item":
        _require_item_events(profiles, view)
        return
    owners = split.dataset.user_vocabulary.encode(profiles.ids).astype(np.int64) - 1
    _require_count(profiles, owners, view)
    _require_newest_time(profiles, owners, view)
    _require_newest_item(profiles, owners, view)
    _require_clean_texts(profiles, owners, view, shortest_title)


class _View:
    """A split, seen from the last part that may be known."""

    def __init__(self, split: Split, part: KnownPart) -> None:
        self.data = split.dataset
        self.name = f"the {part} part of split {split.name} of {split.dataset.name}"
        self.parts = split.parts
        self.known = split.parts <= _CODES[part]
        total = np.concatenate([[0], np.cumsum(self.known)])
        self.n_known: Int64Array = np.diff(total[split.dataset.user_offsets])

    @property
    def starts(self) -> Int64Array:
        """``[users]`` where each user's events begin."""
        return self.data.user_offsets[:-1]

    def event(self, index: int) -> str:
        """An event in words, by its row in the data."""
        item = self.data.item_vocabulary.decode([self.data.item_codes[index]])[0]
        user = int(np.searchsorted(self.data.user_offsets, index, side="right")) - 1
        times = self.data.histories.times
        clock = "" if times is None else f" at time {times[index]}"
        return (
            f"event {index - self.data.user_offsets[user] + 1} of user "
            f"{self.data.user_vocabulary.ids[user]!r}, item {item!r}{clock} "
            f"({_PART_NAMES[self.parts[index]]})"
        )

    def first_held_out(self, owner: int) -> str:
        """The first event of a user that may not be known, in words."""
        index = int(self.starts[owner] + self.n_known[owner])
        if index == self.data.user_offsets[owner + 1]:
            return "and there are no more events of that user"
        return f"and {self.event(index)} is held out"


def _require_origin(profiles: Profiles, split: Split, part: KnownPart) -> None:
    origin = profiles.origin
    if origin is None:
        return
    if origin.split_hash != split.hash:
        raise ProtocolError(
            f"the {profiles.kind} profiles were written from split {origin.split_hash} of "
            f"{origin.dataset}, not from split {split.hash} ({split.name}) of "
            f"{split.dataset.name}; write them again from split.train_histories()."
        )
    if _CODES.get(origin.part, TEST) > _CODES[part]:
        raise ProtocolError(
            f"the {profiles.kind} profiles were written from events up to the {origin.part} part, "
            f"but only those up to the {part} part may be known here; write them again from "
            "split.train_histories()."
        )


def _require_count(profiles: Profiles, owners: Int64Array, view: _View) -> None:
    n_events = profiles.frame["n_events"].to_numpy()
    for row in _first(n_events > view.n_known[owners]):
        raise ProtocolError(
            f"the profile of user {profiles.ids[row]!r} uses {n_events[row]} events, but only "
            f"{view.n_known[owners[row]]} are in {view.name}, "
            f"{view.first_held_out(owners[row])}; write it from split.train_histories()."
        )


def _require_newest_time(profiles: Profiles, owners: Int64Array, view: _View) -> None:
    times, stated = view.data.histories.times, profiles.frame["newest_time"]
    if times is None:
        return
    newest = view.starts[owners] + profiles.frame["n_events"].to_numpy() - 1
    for row in _first((stated > pl.Series(times[newest])).fill_null(False).to_numpy()):
        raise ProtocolError(
            f"the profile of user {profiles.ids[row]!r} says that its newest event is at time "
            f"{stated[row]}, later than the newest of the {profiles.frame['n_events'][row]} "
            f"events it uses (time {times[newest[row]]}), {view.first_held_out(owners[row])}."
        )


def _require_newest_item(profiles: Profiles, owners: Int64Array, view: _View) -> None:
    stated = profiles.frame["newest_item"]
    newest = view.starts[owners] + profiles.frame["n_events"].to_numpy() - 1
    codes = np.zeros(len(profiles), dtype=np.int32)
    told = stated.is_not_null().to_numpy()
    codes[told] = view.data.item_vocabulary.encode(stated.drop_nulls())
    for row in _first(told & (codes != view.data.item_codes[newest])):
        span = slice(*view.data.user_offsets[owners[row] : owners[row] + 2])
        uses = np.flatnonzero((view.data.item_codes[span] == codes[row]) & ~view.known[span])
        seen = f"; it is {view.event(span.start + int(uses[0]))}" if uses.size else ""
        raise ProtocolError(
            f"the profile of user {profiles.ids[row]!r} says that its newest item is "
            f"{stated[row]!r}, but that is not {view.event(int(newest[row]))}{seen}."
        )


def _require_item_events(profiles: Profiles, view: _View) -> None:
    codes = view.data.item_vocabulary.encode(profiles.ids)
    n_events, stated = profiles.frame["n_events"].to_numpy(), profiles.frame["newest_time"]
    item_codes, times = view.data.item_codes, view.data.histories.times
    n_known = np.bincount(item_codes[view.known], minlength=len(view.data.catalog) + 1)[codes]
    late = n_events > n_known
    if times is not None:
        newest = np.full(len(view.data.catalog) + 1, np.iinfo(np.int64).min)
        np.maximum.at(newest, item_codes[view.known], times[view.known])
        late |= (stated > pl.Series(newest[codes])).fill_null(False).to_numpy()
    for row in _first(late):
        held = np.flatnonzero((item_codes == codes[row]) & ~view.known)
        after = f"; {view.event(int(held[0]))} is held out" if held.size else ""
        clock = "" if stated[row] is None else f", the newest at time {stated[row]}"
        raise ProtocolError(
            f"the profile of item {profiles.ids[row]!r} uses {n_events[row]} events{clock}, later "
            f"or more than its {n_known[row]} in {view.name}{after}."
        )


def _require_clean_texts(
    profiles: Profiles, owners: Int64Array, view: _View, shortest: int
) -> None:
    """Refuse a text in which the title of a held-out item of its user stands.

    The search is a join of texts with the few held-out titles of their user, in blocks; only the
    hits are looked at one by one.
    """
    facts = item_facts(view.data.catalog)
    titles = pl.Series(facts.own_titles).str.to_lowercase()
    texts = pl.Series([tidy(text) for text in profiles.texts]).str.to_lowercase()
    told: dict[int, list[str]] = {}
    for row, code in _hits(texts, owners, view, _held_out_titles(view, titles, shortest)):
        owner, title = int(owners[row]), titles[code - 1]
        if owner not in told:
            told[owner] = _told_in_training(owner, view, facts)
        if not _stands_in(title, texts[row]) or any(_stands_in(title, t) for t in told[owner]):
            continue
        span = slice(*view.data.user_offsets[owner : owner + 2])
        uses = np.flatnonzero((view.data.item_codes[span] == code) & ~view.known[span])
        raise ProtocolError(
            f"the profile of user {profiles.ids[row]!r} ({profiles.frame['n_events'][row]} events) "
            f"contains the title {facts.own_titles[code - 1]!r} of "
            f"{view.event(span.start + int(uses[0]))}, which no event in {view.name} explains: "
            "the text has seen what it must not. Write it again, or pass shortest_title if the "
            "title is an everyday word."
        )


def _hits(
    texts: pl.Series, owners: Int64Array, view: _View, held: pl.DataFrame
) -> Iterator[tuple[int, int]]:
    """Profile rows and codes of held-out items whose title is a part of the row's text."""
    per_owner = np.bincount(held["owner"].to_numpy(), minlength=view.starts.size)
    pairs = per_owner[owners]
    frame = pl.DataFrame(
        {
            "row": np.arange(owners.size),
            "owner": owners,
            "block": np.cumsum(pairs) // _PAIRS_AT_ONCE,
            "text": texts,
        }
    ).filter(pl.Series(pairs > 0))
    for block in frame.partition_by("block", maintain_order=True):
        joined = block.join(held, on="owner", maintain_order="left_right")
        found = joined.filter(pl.col("text").str.contains(pl.col("title"), literal=True))
        yield from found.select("row", "code").iter_rows()


def _held_out_titles(view: _View, titles: pl.Series, shortest: int) -> pl.DataFrame:
    """``owner, code, title`` of held-out events whose title is not among the owner's known ones."""
    events = pl.DataFrame(
        {
            "owner": row_of_each(view.data.user_offsets),
            "code": view.data.item_codes,
            "title": titles.gather(view.data.item_codes - 1),
            "known": view.known,
        }
    )
    long_enough = pl.col("title").str.len_chars() >= max(shortest, 1)
    held = events.filter(~pl.col("known") & long_enough).unique(["owner", "code"])
    known = events.filter("known").select("owner", "title").unique()
    return held.drop("known").join(known, on=["owner", "title"], how="anti").sort("owner", "code")


def _told_in_training(owner: int, view: _View, facts: ItemFacts) -> list[str]:
    """All that a user's known events can have put into a text: titles, brands, categories."""
    start = view.starts[owner]
    items = view.data.item_codes[start : start + view.n_known[owner]] - 1
    told = set()
    for item in items.tolist():
        told |= {facts.titles[item], facts.brands[item], *facts.categories[item]}
    return [text.lower() for text in sorted(told)]


def _stands_in(title: str, text: str) -> bool:
    """Whether a title is there as words of its own; ``it`` is not in ``items``."""
    return re.search(rf"(?<![a-z0-9]){re.escape(title)}(?![a-z0-9])", text) is not None


def _first(wrong: npt.NDArray[np.bool_]) -> list[int]:
    """The first row that is wrong, in a list that is empty if none is."""
    return [int(row) for row in np.flatnonzero(wrong)[:1]]
