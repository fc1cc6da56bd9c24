"""How a number was obtained, and who may be judged.

A :class:`Protocol` is stored with every result. Two figures are comparable when their protocols
agree on everything but which metrics and slices were asked for. A model is judged only on events
that nothing in it has seen.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, PositiveInt, model_validator

from llmrec.data.hashing import hash_json
from llmrec.data.histories import PART_ORDER, Origin
from llmrec.data.splits import TEST, Split
from llmrec.errors import ConfigError, ProtocolError, nearest_name
from llmrec.evaluation.metrics import parse_metric
from llmrec.evaluation.slices import SLICES
from llmrec.validation import Strict

JudgedPart = Literal["valid", "test"]
Candidates = Literal["catalog", "pairs"]

_FREE = frozenset({"metrics", "slices"})  # which numbers were asked for, not how they came about


def _known_metric(name: str) -> str:
    return parse_metric(name).name


def _known_slice(name: str) -> str:
    if name not in SLICES:
        raise ConfigError(f"unknown slice {name!r}{nearest_name(name, SLICES)}.")
    return name


MetricName = Annotated[str, AfterValidator(_known_metric)]
SliceName = Annotated[str, AfterValidator(_known_slice)]


class Judging(Strict):
    """The part of a protocol that a task fixes.

    Attributes:
        filter_seen: Whether items of the input history are taken out of the candidates.
        candidates: ``"catalog"`` ranks all items, ``"pairs"`` scores the judged pairs of the data.
        history_length: The newest events a model is given; None gives all.
        metrics: Names of the metrics.
        slices: Groups of cases for which the metrics are given as well.
    """

    filter_seen: bool = True
    candidates: Candidates = "catalog"
    history_length: PositiveInt | None = None
    metrics: tuple[MetricName, ...] = Field(min_length=1)
    slices: tuple[SliceName, ...] = ()

    @model_validator(mode="after")
    def _fitting_metrics(self) -> Self:
        pairs = self.candidates == "pairs"
        for name in self.metrics:
            if (parse_metric(name).family == "pair") != pairs:
                need = "the judged pairs" if not pairs else "the full catalogue"
                raise ConfigError(
                    f"metric {name!r} needs {need} but candidates is {self.candidates!r}."
                )
        if pairs and self.slices:
            raise ConfigError("slices are made for full ranking; leave them out for pairs.")
        return self


class SplitName(Strict):
    """Which split was used.

    Attributes:
        name: Name of the split.
        params: Its arguments.
        hash: Hash of the data set, the split and every row's part.
    """

    name: str
    params: dict[str, Any]
    hash: str


class Protocol(Judging):
    """How a number was obtained.

    Attributes:
        dataset: Name of the data set.
        dataset_fingerprint: Hash of its tables.
        split: The split.
        part: The part that was judged; the input is everything before it.
        limit: Only so many cases, drawn with a fixed seed; None judges all.
    """

    dataset: str
    dataset_fingerprint: str
    split: SplitName
    part: JudgedPart
    limit: PositiveInt | None = None

    @classmethod
    def of(
        cls, split: Split, judging: Judging, part: JudgedPart = "test", limit: int | None = None
    ) -> "Protocol":
        """Join what a task fixes with the data it is applied to.

        Raises:
            ConfigError: ``part`` is not ``"valid"`` or ``"test"``, or ``limit`` is not positive.
        """
        if part not in ("valid", "test"):
            raise ConfigError(f"models are judged on 'valid' or 'test', not {part!r}.")
        if limit is not None and limit < 1:
            raise ConfigError(f"limit={limit} must be at least 1.")
        fixed = {name: value for name, value in judging if name in Judging.model_fields}
        return cls(
            **fixed,
            dataset=split.dataset.name,
            dataset_fingerprint=split.dataset.fingerprint,
            split=SplitName(name=split.name, params=dict(split.params), hash=split.hash),
            part=part,
            limit=limit,
        )

    @property
    def hash(self) -> str:
        """Hash of everything but metrics and slices, 16 hexadecimal digits."""
        return hash_json(self.model_dump(mode="json", exclude=set(_FREE)))[:16]

    def describe(self) -> str:
        """One line for tables and logs."""
        ranked = self.candidates == "catalog"
        seen = "seen items filtered" if self.filter_seen else "seen items kept"
        parts = [
            f"{self.dataset} [{self.dataset_fingerprint[:8]}]",
            f"{self.split.name} {self.part}",
            f"full catalogue, {seen}" if ranked else "judged pairs",
        ]
        if self.history_length is not None:
            parts.append(f"newest {self.history_length} events")
        if self.limit is not None:
            parts.append(f"{self.limit} sampled cases")
        return ", ".join(parts)


def require_same(first: Protocol, second: Protocol) -> None:
    """Refuse to put two figures side by side that were obtained differently.

    Raises:
        ProtocolError: The protocols differ in more than metrics and slices; every field that
            differs is named with both values.
    """
    differences = [
        f"{name} ({_shown(getattr(first, name))} and {_shown(getattr(second, name))})"
        for name in Protocol.model_fields
        if name not in _FREE and getattr(first, name) != getattr(second, name)
    ]
    if differences:
        raise ProtocolError(
            f"the figures are not comparable: they differ in {', '.join(differences)}; "
            "evaluate both models under one task."
        )


def require_unseen(seen: Sequence[Origin], split: Split, part: JudgedPart) -> None:
    """Refuse a model that was trained on events which ``part`` of ``split`` holds out.

    Training on the same split is fine up to the part before the judged one. Training on the same
    data under another split, or on another edition of it, is fine only if every event of that
    training is older than the first held-out event. Other data sets are not looked at.

    Args:
        seen: Where the model's training events came from.
        split: The split to judge under.
        part: The part to judge.

    Raises:
        ProtocolError: The model may have seen its answers.
    """
    data = split.dataset
    for origin in seen:
        if origin.dataset != data.name and origin.fingerprint != data.fingerprint:
            continue
        if origin.split_hash == split.hash:
            _require_earlier_part(origin, part)
        else:
            _require_older_events(origin, split, part)


def _require_earlier_part(origin: Origin, part: JudgedPart) -> None:
    if PART_ORDER.get(origin.part, TEST) >= PART_ORDER[part]:
        raise ProtocolError(
            f"the model was trained on {origin.dataset} up to and including its {origin.part} "
            f"part, so it has seen the {part} events it would be judged on; train it on an earlier "
            "part, or judge it on a later one."
        )


def _require_older_events(origin: Origin, split: Split, part: JudgedPart) -> None:
    first = _first_held_out(split, part)
    if first is not None and origin.newest_event is not None and origin.newest_event < first:
        return
    if first is None:
        reason = "the data has no clock by which to tell that its training events are older"
    elif origin.newest_event is None:
        reason = "its training events carry no time"
    else:
        reason = (
            f"its newest training event (time {origin.newest_event}) is not before the first "
            f"held-out event (time {first})"
        )
    raise ProtocolError(
        f"the model was trained on {origin.dataset} under another split ({origin.split_hash}, here "
        f"{split.hash}) and {reason}: it may have seen the {part} events it would be judged on. "
        "Train it on this split."
    )


def _first_held_out(split: Split, part: JudgedPart) -> int | None:
    times = split.dataset.histories.times
    if times is None:
        return None
    held_out = (split.parts >= PART_ORDER[part]) & (split.parts <= TEST)
    return int(np.min(times[held_out])) if held_out.any() else None


def _shown(value: object) -> str:
    return f"{value.name} {value.hash}" if isinstance(value, SplitName) else repr(value)
