"""From the figures of runs to the charts of the report.

Every function returns None where the runs hold nothing to draw, and the report then says so.
Placement is the business of ``report_charts``.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from llmrec.evaluation.display import count, figure_cells, plain
from llmrec.evaluation.outcome import Figure, Group
from llmrec.evaluation.report_charts import (
    bar_chart,
    category_chart,
    interval_chart,
    line_chart,
)
from llmrec.evaluation.report_data import ReportRun
from llmrec.evaluation.report_shapes import BarChart, IntervalChart, LineChart, Named, Value

Colours = Mapping[str, int]

_RANK_EDGES = (1, 5, 10, 20, 50, 100, 500)


def metric_chart(runs: Sequence[ReportRun], metric: str, colours: Colours) -> IntervalChart | None:
    """Mean and interval of one metric, one row per model in the order given."""
    shown = [run for run in runs if _mean(run.evaluation.metrics.get(metric)) is not None]
    if not shown:
        return None
    figures = [run.evaluation.metrics[metric] for run in shown]
    rows = [
        (Named(colours[run.name], _short(run), (_value(0, figure),)), cell.mean)
        for run, figure, cell in zip(shown, figures, figure_cells(figures, metric), strict=True)
    ]
    return interval_chart(f"{metric} with 95 % intervals", rows, metric)


def training_charts(runs: Sequence[ReportRun], metric: str, colours: Colours) -> list[LineChart]:
    """Loss over steps, one metric on the validation part, how busy experts were at the extremes."""
    losses, most, least = (
        [_series(run, colours, _logged(run, name)) for run in runs]
        for name in ("loss", "expert_load_max", "expert_load_min")
    )
    chosen = _validation_metric(runs, metric)
    valid = [_series(run, colours, _validations(run, chosen)) for run in runs]
    drawn = (
        ("Training loss", losses, "loss"),
        (f"Validation {chosen}", valid, f"{chosen}, validation"),
        ("Load of the busiest expert", most, "times an even share"),
        ("Load of the idlest expert", least, "times an even share"),
    )
    return [
        line_chart(title, [one for one in series if one.values], "optimiser steps", y_title)
        for title, series, y_title in drawn
        if any(one.values for one in series)
    ]


def slice_chart(
    runs: Sequence[ReportRun], kind: str, metric: str, title: str, x_title: str, colours: Colours
) -> LineChart | None:
    """One metric by the groups of one kind of slice; groups without a case are left out."""
    groups = slice_groups(runs, kind)
    if not groups:
        return None
    series = []
    for run in runs:
        own = run.evaluation.slices.get(kind, {})
        figures = [own[name].metrics.get(metric) if name in own else None for name in groups]
        values = [_value(x, f) for x, f in enumerate(figures) if f and f.mean is not None]
        series.append(Named(colours[run.name], _short(run), tuple(values)))
    if not any(one.values for one in series):
        return None
    labels = [(*_name_lines(name), count(n)) for name, n in groups.items()]
    return category_chart(title, series, labels, x_title, metric)


def slice_groups(runs: Sequence[ReportRun], kind: str) -> dict[str, int]:
    """Names and sizes of the groups of a kind of slice, in the order of the first run with it."""
    groups: dict[str, Group] = {}
    for run in runs:
        for name, part in run.evaluation.slices.get(kind, {}).items():
            groups.setdefault(name, part)
    return {name: part.n for name, part in groups.items() if part.n}


def rank_chart(runs: Sequence[ReportRun], colours: Colours) -> BarChart | None:
    """Share of cases by the rank of the (best-ranked) target; ties count half."""
    runs = [run for run in runs if run.per_user.height and "target_rank" in run.per_user.columns]
    if not runs:
        return None
    edges = np.array(_RANK_EDGES)
    labels = ["1", *(f"{a + 1}–{b}" for a, b in itertools.pairwise(edges))]
    labels.append(f">{edges[-1]}")
    series = []
    for run in runs:
        ranks = run.per_user["target_rank"].cast(float).fill_null(math.inf).fill_nan(math.inf)
        # A rank of 10.5 misses the first 10, so it belongs to the bin that ends at 20.
        bins = np.searchsorted(edges, ranks.to_numpy(), side="left")
        shares = np.bincount(bins, minlength=len(labels)) / bins.size
        values = tuple(Value(x, float(share)) for x, share in enumerate(shares))
        series.append(Named(colours[run.name], _short(run), values))
    return bar_chart("Rank of the target", series, labels, "rank of the target", "share of users")


def _name_lines(name: str) -> list[str]:
    """Put what stands in brackets on a line of its own: ``head (20+ events)``."""
    first, _, rest = plain(name, 40).partition(" (")
    return [first, rest.removesuffix(")")] if rest else [first]


def _short(run: ReportRun) -> str:
    return plain(run.name, 18)


def _mean(figure: Figure | None) -> float | None:
    return None if figure is None else figure.mean


def _value(x: float, figure: Figure) -> Value:
    low, high = figure.ci95 or (None, None)
    return Value(x, figure.mean or 0.0, low, high)


def _series(run: ReportRun, colours: Colours, values: list[Value]) -> Named:
    finite = tuple(value for value in values if math.isfinite(value.mean))
    return Named(colours[run.name], _short(run), finite)


def _logged(run: ReportRun, name: str) -> list[Value]:
    return [
        Value(row["step"], float(row[name]))
        for row in run.log
        if isinstance(row.get(name), int | float)
    ]


def _validations(run: ReportRun, metric: str) -> list[Value]:
    found = [(row["step"], row["valid"]) for row in run.log if isinstance(row.get("valid"), dict)]
    return [
        Value(step, float(valid[metric]))
        for step, valid in found
        if isinstance(valid.get(metric), int | float)
    ]


def _validation_metric(runs: Sequence[ReportRun], wanted: str) -> str:
    """The wanted metric where it was logged, else the first one that was."""
    rows = [row["valid"] for run in runs for row in run.log if isinstance(row.get("valid"), dict)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return wanted if wanted in names or not names else str(names[0])
