"""The section of the report about text neighbours, for runs that keep ``neighbors.json``.

The figures are shown as they were stored. Titles in the samples are foreign text: made plain here,
escaped by the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.evaluation.display import plain
from llmrec.evaluation.report_data import ReportRun
from llmrec.evaluation.report_figures import Colours
from llmrec.evaluation.report_tables import ModelName, models_of
from llmrec.evaluation.report_told import (
    Figure,
    ToldTable,
    objects,
    texts,
    told_table,
    value_at,
    written,
)

_SHOWN = 4  # samples of each kind and model

_SEQUENCES = (
    Figure("Sequences with neighbours", "", "described", "count"),
    Figure("Slots in use", "of all slots of these sequences", "filled", "percent"),
    Figure("Different users per sequence", "mean", "users_per_query", "number"),
    Figure(
        "Same user", "neighbours that are sequences of the same user", "same_user_slots", "percent"
    ),
    Figure(
        "Next item in a neighbour",
        "sequences with a neighbour that already holds the item they are to predict",
        "holds_target",
        "percent",
    ),
    Figure(
        "Same next item",
        "useful signal: sequences with a neighbour that is followed by the item they are to "
        "predict",
        "same_next",
        "percent",
    ),
    Figure("Same next item, of neighbours", "", "same_next_slots", "percent"),
    Figure(
        "Same, by chance",
        "if neighbours were drawn at random",
        "same_next_slots_by_chance",
        "percent",
    ),
)
_ITEMS = (
    Figure("Items with neighbours", "", "described", "count"),
    Figure("Slots in use", "of all slots of these items", "filled", "percent"),
    Figure("Same category", "neighbours of the item's category", "same_category_slots", "percent"),
    Figure(
        "Same, by chance",
        "if neighbours were drawn at random",
        "same_category_slots_by_chance",
        "percent",
    ),
)
_BOTH = (
    Figure("Median cosine", "", "score.quantiles.p50", "number"),
    Figure("Equal texts", "neighbours with a cosine of 1", "duplicates", "percent"),
    Figure(
        "Taken by the most chosen 1 %",
        "hubs: a few that are everybody's neighbours say little",
        "hubness.to_top_percent",
        "percent",
    ),
    Figure("Never chosen", "", "hubness.never_chosen", "percent"),
)


@dataclass(frozen=True)
class ToldSequence:
    """The newest titles of a sequence, oldest first, what follows them, and how near it is."""

    titles: tuple[str, ...]
    next: str
    cosine: str = ""


@dataclass(frozen=True)
class SequenceSample:
    """A sequence and its nearest neighbours."""

    query: ToldSequence
    neighbors: tuple[ToldSequence, ...]


@dataclass(frozen=True)
class ItemSample:
    """An item and its nearest neighbours."""

    title: str
    neighbors: tuple[str, ...]


@dataclass(frozen=True)
class NeighborSamples:
    """What is told of one model's neighbours."""

    model: ModelName
    sequences: tuple[SequenceSample, ...]
    items: tuple[ItemSample, ...]


@dataclass(frozen=True)
class NeighborSection:
    """The section; ``models`` are those whose runs keep neighbours."""

    models: tuple[ModelName, ...]
    tables: tuple[ToldTable, ...]
    samples: tuple[NeighborSamples, ...]


def neighbor_section(runs: Sequence[ReportRun], colours: Colours) -> NeighborSection | None:
    """The section, or None where no run keeps neighbours.

    Several seeds of one training tell the same samples, which are shown once.
    """
    named = zip(runs, models_of(runs, colours), strict=True)
    found = [(model, run.neighbors) for run, model in named if run.neighbors is not None]
    if not found:
        return None
    files = [values for _, values in found]
    tables = (
        _table("Neighbours of sequences", "sequences", _SEQUENCES + _BOTH, files),
        _table("Neighbours of items", "items", _ITEMS + _BOTH, files),
    )
    samples: list[NeighborSamples] = []
    for model, values in found:
        told = _samples(model, values)
        same = [(one.sequences, one.items) for one in samples]
        if (told.sequences or told.items) and (told.sequences, told.items) not in same:
            samples.append(told)
    return NeighborSection(
        tuple(model for model, _ in found),
        tuple(table for table in tables if table is not None),
        tuple(samples),
    )


def _table(
    heading: str, part: str, figures: Sequence[Figure], files: Sequence[Mapping[str, Any]]
) -> ToldTable | None:
    parts = [value_at(values, part) for values in files]
    if all(values is None for values in parts):
        return None
    return told_table(heading, figures, [values or {} for values in parts])


def _samples(model: ModelName, values: Mapping[str, Any]) -> NeighborSamples:
    sequences = tuple(
        SequenceSample(_told(sample), tuple(map(_told, objects(sample.get("neighbors")))))
        for sample in objects(value_at(values, "sequences.samples"))[:_SHOWN]
    )
    items = tuple(
        ItemSample(plain(sample.get("title")), texts(sample.get("neighbors")))
        for sample in objects(value_at(values, "items.samples"))[: 2 * _SHOWN]
    )
    return NeighborSamples(model, sequences, items)


def _told(sample: Mapping[str, Any]) -> ToldSequence:
    following, cosine = sample.get("next"), sample.get("cosine")
    return ToldSequence(
        texts(sample.get("newest")),
        "" if following is None else plain(following),
        "" if cosine is None else written(cosine, "number"),
    )
