"""The section of the report about text neighbours, for runs that keep ``neighbors.json``.

The figures are shown as they were stored. Titles in the samples are foreign text: made plain here,
escaped by the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.evaluation.display import count, percent, plain
from llmrec.evaluation.report_data import ReportRun
from llmrec.evaluation.report_figures import Colours
from llmrec.evaluation.report_tables import ModelName, models_of

_SHOWN = 4  # samples of each kind and model

# name, note, where in the file, how to write it
_SEQUENCES = (
    ("Sequences with neighbours", "", "described", "count"),
    ("Slots in use", "of all slots of these sequences", "filled", "percent"),
    ("Different users per sequence", "mean", "users_per_query", "number"),
    ("Same user", "neighbours that are sequences of the same user", "same_user_slots", "percent"),
    (
        "Next item in a neighbour",
        "sequences with a neighbour that already holds the item they are to predict",
        "holds_target",
        "percent",
    ),
    (
        "Same next item",
        "useful signal: sequences with a neighbour that is followed by the item they are to "
        "predict",
        "same_next",
        "percent",
    ),
    ("Same next item, of neighbours", "", "same_next_slots", "percent"),
    (
        "Same, by chance",
        "if neighbours were drawn at random",
        "same_next_slots_by_chance",
        "percent",
    ),
)
_ITEMS = (
    ("Items with neighbours", "", "described", "count"),
    ("Slots in use", "of all slots of these items", "filled", "percent"),
    ("Same category", "neighbours of the item's category", "same_category_slots", "percent"),
    (
        "Same, by chance",
        "if neighbours were drawn at random",
        "same_category_slots_by_chance",
        "percent",
    ),
)
_BOTH = (
    ("Median cosine", "", "score.quantiles.p50", "number"),
    ("Equal texts", "neighbours with a cosine of 1", "duplicates", "percent"),
    (
        "Taken by the most chosen 1 %",
        "hubs: a few that are everybody's neighbours say little",
        "hubness.to_top_percent",
        "percent",
    ),
    ("Never chosen", "", "hubness.never_chosen", "percent"),
)


@dataclass(frozen=True)
class NeighborFigure:
    """One figure, a value for every model."""

    name: str
    note: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class NeighborTable:
    """The figures about sequences or about items."""

    heading: str
    rows: tuple[NeighborFigure, ...]


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
    tables: tuple[NeighborTable, ...]
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
    heading: str,
    part: str,
    figures: Sequence[tuple[str, str, str, str]],
    files: Sequence[Mapping[str, Any]],
) -> NeighborTable | None:
    if all(_at(values, part) is None for values in files):
        return None
    rows = [
        NeighborFigure(
            name, note, tuple(_written(_at(values, f"{part}.{path}"), form) for values in files)
        )
        for name, note, path, form in figures
    ]
    return NeighborTable(heading, tuple(row for row in rows if set(row.values) != {"–"}))


def _samples(model: ModelName, values: Mapping[str, Any]) -> NeighborSamples:
    sequences = tuple(
        SequenceSample(_told(sample), tuple(map(_told, _rows(sample.get("neighbors")))))
        for sample in _rows(_at(values, "sequences.samples"))[:_SHOWN]
    )
    items = tuple(
        ItemSample(plain(sample.get("title")), _titles(sample.get("neighbors")))
        for sample in _rows(_at(values, "items.samples"))[: 2 * _SHOWN]
    )
    return NeighborSamples(model, sequences, items)


def _told(sample: Mapping[str, Any]) -> ToldSequence:
    following, cosine = sample.get("next"), sample.get("cosine")
    return ToldSequence(
        _titles(sample.get("newest")),
        "" if following is None else plain(following),
        "" if cosine is None else _written(cosine, "number"),
    )


def _titles(values: object) -> tuple[str, ...]:
    return tuple(plain(value) for value in values) if isinstance(values, list) else ()


def _rows(values: object) -> list[Mapping[str, Any]]:
    rows = values if isinstance(values, list) else []
    return [row for row in rows if isinstance(row, dict)]


def _at(values: object, path: str) -> Any:
    """The value at a dotted path, or None."""
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _written(value: object, form: str) -> str:
    if not isinstance(value, int | float):
        return "–"
    if form == "count":
        return count(int(value))
    return percent(value) if form == "percent" else f"{value:.2f}"
