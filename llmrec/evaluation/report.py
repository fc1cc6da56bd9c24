"""One HTML file that shows how runs were judged and what they recommend.

The file holds everything it needs: style, drawings and text, no script and nothing to load, so it
opens offline in years to come. Titles and ids are foreign text and are escaped by the template.
Runs judged under unlike protocols are refused, or put in sections of their own when asked to.
The same input and time give the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmrec import __version__
from llmrec.evaluation.display import count, plain, protocol_sentence
from llmrec.evaluation.report_alignment import AlignmentSection, alignment_section
from llmrec.evaluation.report_data import ReportRun, group_runs
from llmrec.evaluation.report_figures import (
    Colours,
    metric_chart,
    rank_chart,
    slice_chart,
    training_charts,
)
from llmrec.evaluation.report_gates import GateSection, gate_section, store_section
from llmrec.evaluation.report_lists import (
    Band,
    Example,
    Recommended,
    band_names,
    examples,
    popularity_bands,
    recommended,
)
from llmrec.evaluation.report_neighbors import NeighborSection, neighbor_section
from llmrec.evaluation.report_shapes import WIDTH, BarChart, IntervalChart, LineChart
from llmrec.evaluation.report_tables import (
    Comparison,
    ModelName,
    Table,
    check_comparisons,
    comparison,
    main_metric,
    metric_tables,
    models_of,
    slice_table,
    summary_sentence,
)
from llmrec.storage import write_text

__all__ = ["ReportRun", "write_report"]


@dataclass(frozen=True)
class _Group:
    """Everything the template shows about runs that were judged alike."""

    number: int
    facts: tuple[tuple[str, str], ...]
    protocol: str
    summary: str
    metric: str
    models: tuple[ModelName, ...]
    overview: IntervalChart | None
    accuracy: list[Table]
    descriptive: list[Table]
    comparison: Comparison | None
    training: list[LineChart]
    untrained: str
    activity: LineChart | None
    popularity: LineChart | None
    cold: Table | None
    ranks: BarChart | None
    recommended: list[Recommended]
    without_lists: str
    bands: list[Band]
    examples: list[Example]
    neighbors: NeighborSection | None
    alignment: AlignmentSection | None
    gates: GateSection | None
    provenance: list[tuple[ModelName, tuple[tuple[str, str], ...]]]


def write_report(
    runs: Sequence[ReportRun],
    path: str | Path,
    *,
    title: str,
    metric: str | None = None,
    comparisons: Sequence[Mapping[str, Any]] = (),
    separate: bool = False,
    stores: Sequence[tuple[str, Mapping[str, Any]]] = (),
    generated: datetime | None = None,
) -> Path:
    """Write the report of one or more runs as one HTML file.

    Args:
        runs: Evaluated runs, in the order in which they are to be shown.
        path: The file to write; an earlier one is replaced only by a complete one.
        title: Heading of the report.
        metric: The metric of charts and sentences; ndcg@10, or the first one, by default.
        comparisons: Paired differences, other minus reference, each with the keys ``metric``,
            ``other``, ``reference``, ``difference``, ``ci95`` and ``p_holm`` where known; a run is
            named by its name or directory.
        separate: Show runs judged under unlike protocols in sections of their own.
        stores: Names of adapter stores, and what :func:`llmrec.adapters.diagnostics.diagnose`
            found in each.
        generated: The time the report carries; now by default.

    Returns:
        The path written.

    Raises:
        ProtocolError: The runs were not judged alike and ``separate`` is false.
        DataError: There is no run, or the comparisons do not fit the runs.
        ConfigError: No run has the metric that was asked for.
    """
    groups = group_runs(runs, separate)
    colours = {run.name: number for number, run in enumerate(run for g in groups for run in g)}
    check_comparisons(comparisons, [run for group in groups for run in group])
    main_metric(runs, metric)
    moment = (generated or datetime.now(UTC)).astimezone(UTC)
    page = _environment().get_template("report.html.j2")
    text = page.render(
        title=plain(title, 120),
        generated=moment.strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        version=__version__,
        groups=[
            _group(number, group, colours, metric, comparisons)
            for number, group in enumerate(groups, 1)
        ],
        stores=store_section(stores),
        band_names=band_names(),
        width=WIDTH,
    )
    write_text(path, text)
    return Path(path)


def _group(
    number: int,
    runs: Sequence[ReportRun],
    colours: Colours,
    wanted: str | None,
    comparisons: Sequence[Mapping[str, Any]],
) -> _Group:
    has_wanted = any(wanted in run.evaluation.metrics for run in runs)
    metric = main_metric(runs, wanted if has_wanted else None)
    described = recommended(runs, colours)
    with_lists = {one.model.index for one in described}
    return _Group(
        number=number,
        facts=_facts(runs),
        protocol=protocol_sentence(runs[0].evaluation.protocol),
        summary=summary_sentence(runs, metric),
        metric=metric,
        models=models_of(runs, colours),
        overview=metric_chart(runs, metric, colours),
        accuracy=metric_tables(runs, colours, descriptive=False),
        descriptive=metric_tables(runs, colours, descriptive=True),
        comparison=comparison(comparisons, runs, metric, colours),
        training=training_charts(runs, metric, colours),
        untrained=_names(run for run in runs if not run.log),
        activity=slice_chart(
            runs, "history_length", metric, f"{metric} by user activity",
            "past events of the user", colours,
        ),
        popularity=slice_chart(
            runs, "target_popularity", metric, f"{metric} by popularity of the target",
            "training events of the target item", colours,
        ),
        cold=slice_table(runs, "cold", metric, colours),
        ranks=rank_chart(runs, colours),
        recommended=described,
        without_lists=_names(run for run in runs if colours[run.name] not in with_lists),
        bands=popularity_bands(runs, colours),
        examples=examples(runs, colours),
        neighbors=neighbor_section(runs, colours),
        alignment=alignment_section(runs, colours),
        gates=gate_section(runs, colours),
        provenance=list(zip(models_of(runs, colours), map(_provenance, runs), strict=True)),
    )  # fmt: skip


def _facts(runs: Sequence[ReportRun]) -> tuple[tuple[str, str], ...]:
    protocol = runs[0].evaluation.protocol
    users = [run.evaluation.n_users for run in runs]
    skipped = max(run.evaluation.n_skipped for run in runs)
    versions = _merged_versions(runs)
    facts = [
        ("Data set", plain(protocol.dataset, 60)),
        ("Users judged", " to ".join(count(n) for n in sorted({min(users), max(users)}))),
        ("Part", "test" if protocol.part == "test" else "validation"),
        ("Models", count(len(runs))),
    ]
    facts += [("Users left out", count(skipped))] if skipped else []
    facts += [("Trained with", versions)] if versions else []
    return tuple(facts)


def _merged_versions(runs: Sequence[ReportRun]) -> str:
    """``torch 2.13.0, ...`` over all runs; a version that differs is listed with each value."""
    found: dict[str, list[str]] = {}
    for run in runs:
        versions = run.config.get("versions")
        for name, version in versions.items() if isinstance(versions, dict) else ():
            values = found.setdefault(plain(name, 30), [])
            text = plain(version, 30)
            if text not in [*values, "not installed"]:
                values.append(text)
    return ", ".join(f"{name} {' / '.join(values)}" for name, values in found.items() if values)


def _provenance(run: ReportRun) -> tuple[tuple[str, str], ...]:
    found, protocol = run.evaluation, run.evaluation.protocol
    lines = [
        ("run", Path(run.source).name),
        ("task", found.task),
        ("variant", found.variant or "–"),
        ("data fingerprint", protocol.dataset_fingerprint),
        ("split", protocol.split.hash),
        ("protocol", protocol.hash),
    ]
    sessions = run.config.get("sessions")
    if isinstance(sessions, dict) and "told" in sessions:
        lines.append(("sessions", sessions["told"]))
    lines += [(name, f"{spent:.2f} seconds") for name, spent in found.seconds.items()]
    lines += [("note", note) for note in found.notes]
    return tuple((plain(name, 40), plain(value, 200)) for name, value in lines)


def _names(runs: Iterable[ReportRun]) -> str:
    names = [plain(run.name, 40) for run in runs]
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def _environment() -> Environment:
    # Autoescape is on for every template: whatever is put in them may be foreign text.
    return Environment(
        loader=PackageLoader("llmrec.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
