"""The tables and sentences of the report, as text ready to be put in place.

Nothing here computes a statistic: means, intervals and differences are shown as they were stored.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError, DataError, nearest_name
from llmrec.evaluation.display import (
    Cell,
    best_figure,
    count,
    decimals_for,
    figure_cells,
    interval,
    is_descriptive,
    mark_of,
    metric_cells,
    metric_names,
    plain,
)
from llmrec.evaluation.report_charts import interval_chart
from llmrec.evaluation.report_data import ReportRun
from llmrec.evaluation.report_figures import Colours, slice_groups
from llmrec.evaluation.report_shapes import IntervalChart, Named, Value

_COLUMNS_PER_TABLE = 6
_COMPARISON_KEYS = ("metric", "other", "reference", "difference", "ci95")


@dataclass(frozen=True)
class ModelName:
    """A model as it is named and coloured everywhere in the report."""

    index: int
    name: str


@dataclass(frozen=True)
class Row:
    """A row of cells that belongs to one model."""

    model: ModelName
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Column headings, each with a lighter note, and one row per model."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Difference:
    """One paired difference, as text."""

    metric: str
    other: ModelName
    reference: ModelName
    difference: str
    interval: str
    p_value: str
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """The paired differences, and a chart of those in the main metric."""

    rows: tuple[Difference, ...]
    chart: IntervalChart | None


def models_of(runs: Sequence[ReportRun], colours: Colours) -> tuple[ModelName, ...]:
    """The models of the report in the order given."""
    return tuple(ModelName(colours[run.name], plain(run.name, 40)) for run in runs)


def main_metric(runs: Sequence[ReportRun], wanted: str | None = None) -> str:
    """The metric that charts and sentences are about.

    Raises:
        ConfigError: No run has the metric that was asked for.
    """
    names = metric_names(runs)
    if wanted is not None and wanted not in names:
        raise ConfigError(f"no run has the metric {wanted!r}{nearest_name(wanted, names)}")
    common = [name for name in names if all(name in run.evaluation.metrics for run in runs)]
    judging = [name for name in common or names if not is_descriptive(name)] or names
    return wanted or ("ndcg@10" if "ndcg@10" in judging else judging[0])


def metric_tables(runs: Sequence[ReportRun], colours: Colours, descriptive: bool) -> list[Table]:
    """The metric table, cut into tables of at most six columns so that a page holds each."""
    names = [name for name in metric_names(runs) if is_descriptive(name) is descriptive]
    pages = [
        names[start : start + _COLUMNS_PER_TABLE]
        for start in range(0, len(names), _COLUMNS_PER_TABLE)
    ]
    return [
        _table([(name, "") for name in page], [metric_cells(runs, n) for n in page], runs, colours)
        for page in pages
    ]


def slice_table(
    runs: Sequence[ReportRun], kind: str, metric: str, colours: Colours
) -> Table | None:
    """One metric by the groups of one kind of slice, or None where no run has it."""
    groups = slice_groups(runs, kind)
    if not groups:
        return None
    columns = []
    for name in groups:
        parts = [run.evaluation.slices.get(kind, {}).get(name) for run in runs]
        columns.append(figure_cells([p.metrics.get(metric) if p else None for p in parts], metric))
    heads = [(plain(name, 24), f"n = {count(n)}") for name, n in groups.items()]
    return _table(heads, columns, runs, colours)


def summary_sentence(runs: Sequence[ReportRun], metric: str) -> str:
    """Say which model is best in one metric and what the intervals leave open."""
    named = [(run.name, run.evaluation.metrics.get(metric)) for run in runs]
    figures = [figure for _, figure in named]
    means = [figure.mean for figure in figures if figure is not None and figure.mean is not None]
    if not means:
        return f"No run has a value of {metric}."
    best = best_figure(figures, metric) or next(f for f in figures if f and f.mean is not None)
    name = plain(next(name for name, figure in named if figure is best), 40)
    decimals = decimals_for(means)
    found = f"{name} reaches {metric} {best.mean:.{decimals}f}"
    if best.ci95:
        found += f" (95 % interval {interval(best.ci95, decimals)})"
    if len(means) < 2 or is_descriptive(metric):
        return f"{found}."
    tied = [plain(n, 40) for n, f in named if f and f is not best and mark_of(f, best)]
    if tied:
        return (
            f"{found}, the best mean here; its interval overlaps that of {' and '.join(tied)}, "
            "so these intervals alone do not settle their order."
        )
    return f"{found}, the best here; no other interval overlaps its own."


def comparison(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[ReportRun], metric: str, colours: Colours
) -> Comparison | None:
    """Paired differences between the models of one group, or None if there are none."""
    aliases = run_aliases(runs)
    models = dict(zip((run.name for run in runs), models_of(runs, colours), strict=True))
    mine = [
        row
        for row in rows
        if row["other"] in aliases and row["reference"] in aliases and _is_number(row["difference"])
    ]
    if not mine:
        return None
    shown, drawn = [], []
    for row in mine:
        same = [abs(r["difference"]) for r in mine if r["metric"] == row["metric"]]
        pair = [models[aliases[row[side]]] for side in ("other", "reference")]
        text = _difference(row, pair[0], pair[1], decimals_for(same))
        shown.append(text)
        if text.metric == metric:
            name = f"{plain(pair[0].name, 18)} − {plain(pair[1].name, 18)}"
            drawn.append((Named(pair[0].index, name, (_value(row),)), text.difference))
    title = f"Paired difference in {metric}"
    chart = interval_chart(title, drawn, title.lower(), zero_line=True) if drawn else None
    return Comparison(tuple(shown), chart)


def check_comparisons(rows: Sequence[Mapping[str, Any]], runs: Sequence[ReportRun]) -> None:
    """Refuse comparisons without the values that are shown, or of runs that are not here.

    Raises:
        DataError: A value is missing, or a name is that of no run.
    """
    aliases = run_aliases(runs)
    for number, row in enumerate(rows, 1):
        for key in _COMPARISON_KEYS:
            if key not in row:
                raise DataError(f"comparison {number} has no {key!r}{nearest_name(key, row)}")
        for side in ("other", "reference"):
            if row[side] not in aliases:
                raise DataError(
                    f"comparison {number} names {row[side]!r}, which is no run of this report"
                    f"{nearest_name(str(row[side]), aliases)}"
                )


def run_aliases(runs: Sequence[ReportRun]) -> dict[str, str]:
    """What a run may be called in a comparison (its directory or its name), to its name."""
    aliases: dict[str, str] = {}
    for run in runs:
        aliases.setdefault(Path(run.source).name, run.name)
    return {**aliases, **{run.source: run.name for run in runs}, **{r.name: r.name for r in runs}}


def _table(
    heads: Sequence[tuple[str, str]],
    columns: Sequence[Sequence[Cell]],
    runs: Sequence[ReportRun],
    colours: Colours,
) -> Table:
    rows = [
        Row(model, tuple(column[number] for column in columns))
        for number, model in enumerate(models_of(runs, colours))
    ]
    return Table(tuple(heads), tuple(rows))


def _difference(
    row: Mapping[str, Any], other: ModelName, reference: ModelName, decimals: int
) -> Difference:
    value = _value(row)
    low, high = value.low, value.high
    settled = low is not None and high is not None and (low > 0 or high < 0)
    return Difference(
        plain(row["metric"], 30),
        other,
        reference,
        f"{value.mean:+.{decimals}f}".replace("-", "−"),
        "" if low is None or high is None else interval((low, high), decimals, signed=True),
        _p_text(row.get("p_holm")),
        ("higher" if value.mean > 0 else "lower") if settled else "open",
    )


def _value(row: Mapping[str, Any]) -> Value:
    low, high = row["ci95"] or (None, None)
    known = _is_number(low) and _is_number(high)
    return Value(0.0, float(row["difference"]), low if known else None, high if known else None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _p_text(p_value: float | None) -> str:
    if p_value is None or not math.isfinite(p_value):
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
