"""What a profile is written from: one request per text, with the events it may use.

Users get one request per granularity: ``prefix`` one for every (user, t), written from the oldest
``t`` training events; ``every_m`` for t = 1, 1 + m, 1 + 2m, ...; ``user`` one from all training
events, the cheap mode in which the profile of an early prefix has seen that prefix's target.
Items are described by the catalog, and where asked by training prefixes that end in them. Every
request carries the newest event it uses; the guard compares that with a split. Requests are
objects in memory, about one KiB each.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories, Origin
from llmrec.data.ragged import offsets_of, position_of_each, span_indices
from llmrec.errors import ConfigError, DataError, nearest_name
from llmrec.profiles.facts import ItemFacts, ItemFields, item_facts

Kind = Literal["item", "user"]
Granularity = Literal["prefix", "every_m", "user"]
_GRANULARITIES = ("prefix", "every_m", "user")
_MOST_NAMES = 10
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """One text to be written.

    Attributes:
        kind: ``"item"`` or ``"user"``.
        subject: Id of the item or user.
        variables: What a template may use, as JSON values.
        n_events: Users: the text uses their oldest ``n_events`` events. Items: the number of
            training events of the item whose prefixes are shown, 0 for catalog facts alone.
        newest_item: Id of the newest item used, None if no event was.
        newest_time: Unix seconds of the newest event used, None without a clock or an event.
    """

    kind: Kind
    subject: str | int
    variables: Mapping[str, Any]
    n_events: int = 0
    newest_item: str | int | None = None
    newest_time: int | None = None

    @property
    def key(self) -> str:
        """Hash of the whole request, 32 hexadecimal digits: equal requests, equal texts."""
        event = [self.n_events, self.newest_item, self.newest_time]
        content = json.dumps(
            [self.kind, self.subject, *event, self.variables], sort_keys=True, ensure_ascii=False
        )
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def name(self) -> str:
        """How messages call it: ``user 'ann' (3 events)``."""
        events = f" ({self.n_events} events)" if self.kind == "user" else ""
        return f"{self.kind} {self.subject!r}{events}"


@dataclass(frozen=True)
class ProfileRequests(Sequence[ProfileRequest]):
    """Requests of one kind, and where their events come from.

    Attributes:
        kind: ``"item"`` or ``"user"``.
        rows: The requests; no two for the same subject and number of events.
        origin: Of the histories used, or None if there were none or they have none.

    Raises:
        DataError: There is no request, one is of another kind, or one is there twice.
    """

    kind: Kind
    rows: tuple[ProfileRequest, ...]
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError(f"there is no {self.kind} to write a profile of.")
        seen = set()
        for row in self.rows:
            if row.kind != self.kind:
                raise DataError(f"{row.name} is among the requests for {self.kind} profiles.")
            subject = (row.subject, row.n_events if self.kind == "user" else 0)
            if subject in seen:
                raise DataError(f"{row.name} is requested twice; ask for each text once.")
            seen.add(subject)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ProfileRequest]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> ProfileRequest: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ProfileRequest, ...]: ...
    def __getitem__(self, index: int | slice) -> ProfileRequest | tuple[ProfileRequest, ...]:
        """One request, or a tuple of them."""
        return self.rows[index]


def item_requests(
    catalog: Catalog,
    train: Histories | None = None,
    fields: ItemFields | None = None,
    prefixes: int = 5,
    titles: int = 11,
    seed: int = 0,
) -> ProfileRequests:
    """Ask for one profile per item of the catalog, in its order.

    Args:
        catalog: The items.
        train: Training histories; None for catalog facts alone (``histories`` is then empty).
        fields: Which columns of the catalog to tell.
        prefixes: At most this many training prefixes per item, drawn without replacement from the
            events of the item that have an event before them.
        titles: The newest titles of each prefix, the item itself being the last.
        seed: Of the draw.

    Raises:
        ConfigError: A number is below 1, or a column of ``fields.facts`` is not in the catalog.
        UnknownIdError: An item of ``train`` is not in the catalog.
    """
    _require_positive(prefixes=prefixes, titles=titles)
    facts = item_facts(catalog, fields)
    known = train and train.with_vocabulary(catalog.vocabulary)
    uses = [_Use() for _ in range(len(catalog))]
    if known is not None:
        uses = _uses(known, facts, len(catalog), prefixes, titles, seed)
    rows = tuple(
        ProfileRequest(
            "item",
            item,
            {
                "title": facts.titles[row],
                "brand": facts.brands[row],
                "categories": facts.categories[row],
                "description": facts.descriptions[row],
                "facts": facts.facts[row],
                "histories": use.titles,
            },
            len(use.titles),
            item if use.titles else None,
            use.newest_time,
        )
        for row, (item, use) in enumerate(zip(catalog.frame["item_id"], uses, strict=True))
    )
    return ProfileRequests("item", rows, train.origin if train is not None else None)


def user_requests(
    train: Histories,
    catalog: Catalog,
    granularity: Granularity = "prefix",
    every: int = 5,
    titles: int = 11,
    include_last: bool = False,
    fields: ItemFields | None = None,
) -> ProfileRequests:
    """Ask for user profiles, user by user in the order of ``train``, oldest prefix first.

    Args:
        train: Training histories.
        catalog: Titles, brands and categories of the items.
        granularity: ``prefix``, ``every_m`` or ``user``; see the module's contract.
        every: The m of ``every_m``.
        titles: The newest titles told of each prefix.
        include_last: With ``prefix`` and ``every_m``: also prefixes of a user's whole training
            history. No training target follows them, so samples never need them.
        fields: Which columns of the catalog hold brand and category.

    Raises:
        ConfigError: The granularity is unknown or a number is below 1.
        DataError: No user has enough events.
        UnknownIdError: An item of ``train`` is not in the catalog.
    """
    if granularity not in _GRANULARITIES:
        hint = nearest_name(granularity, _GRANULARITIES)
        raise ConfigError(f"unknown granularity {granularity!r}{hint}.")
    _require_positive(every=every, titles=titles)
    known = train.with_vocabulary(catalog.vocabulary)
    if granularity == "user":
        owners = np.flatnonzero(known.lengths > 0)
        lengths = known.lengths[owners]
    else:
        step = 1 if granularity == "prefix" else every
        owners, lengths = _moments(known.lengths - (0 if include_last else 1), step)
    if not owners.size:
        raise DataError("no history has enough events for a profile; see include_last.")
    return _described(known, item_facts(catalog, fields), owners, lengths, titles)


def _moments(longest: Int64Array, step: int) -> tuple[Int64Array, Int64Array]:
    """Rows and prefix lengths 1, 1 + step, ... up to ``longest`` of every row."""
    counts = np.maximum((longest + step - 1) // step, 0)
    return np.repeat(np.arange(longest.size), counts), 1 + step * position_of_each(
        offsets_of(counts)
    )


def _described(
    train: Histories, facts: ItemFacts, owners: Int64Array, lengths: Int64Array, titles: int
) -> ProfileRequests:
    """Requests for the oldest ``lengths[i]`` events of row ``owners[i]``.

    Plain loop over prefixes, about 20 microseconds each: 131,413 of them take 2 to 3 seconds.
    """
    kept = np.minimum(lengths, titles)
    newest = train.offsets[owners] + lengths - 1
    shown = (train.items[span_indices(newest + 1 - kept, kept)] - 1).tolist()
    ends = offsets_of(kept).tolist()
    times = [None] * newest.size if train.times is None else train.times[newest].tolist()
    subjects = train.user_ids.gather(owners).to_list()
    items = train.vocabulary.decode(train.items[newest]).to_list()
    rows = []
    for number, (user, length) in enumerate(zip(subjects, lengths.tolist(), strict=True)):
        events = shown[ends[number] : ends[number + 1]]
        variables = {
            "titles": [facts.titles[item] for item in events],
            "brands": _frequent([facts.brands[item]] for item in events),
            "categories": _frequent(facts.categories[item] for item in events),
        }
        rows.append(ProfileRequest("user", user, variables, length, items[number], times[number]))
    return ProfileRequests("user", tuple(rows), train.origin)


def _frequent(names: Iterable[Sequence[str]]) -> list[str]:
    """The ten most frequent names; among equally frequent ones the newest event's come first."""
    counts = Counter(chain.from_iterable(reversed(list(names))))
    counts.pop("", None)
    return [name for name, _ in counts.most_common(_MOST_NAMES)]


@dataclass(frozen=True, slots=True)
class _Use:
    """Sampled training prefixes that end in one item."""

    titles: list[list[str]] = field(default_factory=list)
    newest_time: int | None = None


def _uses(
    train: Histories, facts: ItemFacts, n_items: int, prefixes: int, titles: int, seed: int
) -> list[_Use]:
    """Up to ``prefixes`` events of every item, in the order drawn."""
    position = position_of_each(train.offsets)
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(position > 0))
    drawn = drawn[np.argsort(train.items[drawn], kind="stable")]
    counts = np.bincount(train.items[drawn] - 1, minlength=n_items)
    drawn = drawn[position_of_each(offsets_of(counts)) < prefixes]
    kept = np.minimum(position[drawn] + 1, titles)
    shown = (train.items[span_indices(drawn + 1 - kept, kept)] - 1).tolist()
    ends = offsets_of(kept).tolist()
    first = offsets_of(np.minimum(counts, prefixes)).tolist()
    uses = []
    for start, stop in pairwise(first):
        names = [
            [facts.titles[item] for item in shown[ends[event] : ends[event + 1]]]
            for event in range(start, stop)
        ]
        newest = None
        if train.times is not None and names:
            newest = int(train.times[drawn[start:stop]].max())
        uses.append(_Use(names, newest))
    return uses


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{name} is {number}; expected a whole number from 1.")
