"""One offline HTML page about semantic IDs, in the style of the runs' report.

The page draws the figures of :mod:`~llmrec.recommenders.onerec.tokenizer.quality` as they are. It
holds no title of an item. The same input and time give the same bytes.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from llmrec import __version__
from llmrec.evaluation.display import count, percent, plain
from llmrec.evaluation.report_charts import bar_chart, line_chart
from llmrec.evaluation.report_shapes import WIDTH, BarChart, LineChart, Named, Value
from llmrec.storage import write_text

_FIT = (
    ("fitted_items", "items of the training period, fitted on", count),
    ("encoded_items", "items encoded afterwards", count),
    ("collisions_before", "fitted items that shared an ID before the rule", count),
    ("collisions_after", "fitted items that share one after it", count),
    ("collisions_after_all_items", "items of the catalogue that share one", count),
    ("moved_items", "items that the rule moved", count),
    ("nearest_agreement_all_levels", "fitted items whose codes are also the nearest", percent),
)


def write_semantic_id_report(
    quality: Mapping[str, Any],
    path: str | Path,
    *,
    title: str,
    facts: Mapping[str, object],
    generated: datetime | None = None,
) -> Path:
    """Write the page.

    Args:
        quality: What :func:`~llmrec.recommenders.onerec.tokenizer.quality.quality_report` returned.
        path: The file to write; an earlier one is replaced only by a complete one.
        title: Heading.
        facts: Settings and provenance to list, name to value.
        generated: The time the page carries; now by default.
    """
    moment = (generated or datetime.now(UTC)).astimezone(UTC)
    text = _environment().get_template("semantic_ids.html.j2").render(
        title=plain(title, 120),
        generated=moment.strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        version=__version__,
        lead=_lead(quality),
        levels=_level_rows(quality["levels"]),
        loads=_load_chart(quality["levels"]),
        reconstruction=_reconstruction_chart(quality["reconstruction"]),
        neighbors=_neighbor_chart(quality["neighbors"]),
        fit=[(note, form(quality["fit"][name])) for name, note, form in _FIT
             if name in quality["fit"]],
        facts=[(plain(name, 40), plain(value, 200)) for name, value in facts.items()],
        width=WIDTH,
    )  # fmt: skip
    write_text(path, text)
    return Path(path)


def _lead(quality: Mapping[str, Any]) -> str:
    sizes = quality["sizes"]
    collisions = quality["collisions"]
    shared = "no two share one" if not collisions else f"{count(collisions)} of them share one"
    return (
        f"{count(quality['items'])} items have semantic IDs of {len(sizes)} codes "
        f"({' x '.join(str(size) for size in sizes)}); {shared}."
    )


def _level_rows(levels: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            f"Level {number}",
            f"{level['used']} of {level['codes']}",
            percent(level["utilisation"]),
            f"{level['perplexity']:.1f}",
            f"{level['entropy_bits']:.2f}",
            f"{level['smallest']} to {level['largest']}",
            f"{level['imbalance']:.2f}",
        )
        for number, level in enumerate(levels, 1)
    ]


def _load_chart(levels: Sequence[Mapping[str, Any]]) -> LineChart:
    series = [
        Named(
            number,
            f"level {number + 1}",
            tuple(Value(float(place), float(load)) for place, load in enumerate(level["loads"], 1)),
        )
        for number, level in enumerate(levels)
    ]
    return line_chart("Items per code", series, "codes, fullest first", "items")


def _reconstruction_chart(left: Sequence[float] | None) -> BarChart | None:
    if left is None:
        return None
    values = tuple(Value(float(place), share) for place, share in enumerate(left))
    labels = [f"level {number}" for number in range(1, len(left) + 1)]
    series = [Named(0, "left over", values)]
    return bar_chart("What the codes leave over", series, labels, "after", "share of the length²")


def _neighbor_chart(neighbors: Sequence[Mapping[str, Any]]) -> BarChart | None:
    if not neighbors:
        return None
    labels = [f"first {one['codes']}" for one in neighbors]
    series = [
        Named(index, name, tuple(Value(float(n), one[key]) for n, one in enumerate(neighbors)))
        for index, (name, key) in enumerate((("nearest items", "share"), ("chance", "by_chance")))
    ]
    return bar_chart("Near items that share codes", series, labels, "codes in common", "share")


def _environment() -> Environment:
    return Environment(
        loader=ChoiceLoader(
            [PackageLoader("llmrec.recommenders.onerec"), PackageLoader("llmrec.evaluation")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
