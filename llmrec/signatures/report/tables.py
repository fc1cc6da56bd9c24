"""The tables and sentences of the report, as text ready to be put in place."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmrec.evaluation.display import count, figure_cells, percent, plain
from llmrec.evaluation.report_tables import ModelName, Row, Table
from llmrec.metric_direction import higher_is_better
from llmrec.signatures.decision.intervals import auc_intervals
from llmrec.signatures.report.judged import METRICS, RiskReport

_COLUMNS = 5
_MOST_SLICES = 12
_LEAST_ITEMS = 8


@dataclass(frozen=True)
class SliceRow:
    """One value of a column.

    Attributes:
        name: The value.
        items: How many items have it.
        wrong: Share of the labelled ones that is wrong, as text.
        risk: Mean risk of the first method.
        auc: AUC of the first method, as text.
        interval: Its interval, as text.
    """

    name: str
    items: str
    wrong: str
    risk: str
    auc: str
    interval: str


@dataclass(frozen=True)
class SliceTable:
    """The values of one column, the most frequent first; ``more`` are left out."""

    column: str
    rows: tuple[SliceRow, ...]
    more: int


@dataclass(frozen=True)
class Risky:
    """An item with a high risk, as text.

    Attributes:
        name: Its id.
        risk: Of the first method.
        label: ``"wrong"``, ``"right"`` or empty.
        text: What was answered, in one line.
    """

    name: str
    risk: str
    label: str
    text: str


def names_of(report: RiskReport) -> tuple[ModelName, ...]:
    """The methods as they are named and coloured everywhere."""
    return tuple(ModelName(i, plain(m.name, 40)) for i, m in enumerate(report.methods))


def metric_tables(report: RiskReport) -> list[Table]:
    """One row per method and one column per metric, cut so that a page holds each table."""
    figures = [report.figures(method) for method in report.methods]
    found = []
    for names in (METRICS[:_COLUMNS], METRICS[_COLUMNS:]):
        columns = [figure_cells([one.get(n) for one in figures], n.split("@")[0]) for n in names]
        rows = tuple(
            Row(model, tuple(column[place] for column in columns))
            for place, model in enumerate(names_of(report))
        )
        heads = tuple((n, "" if higher_is_better(n) else "lower is better") for n in names)
        found.append(Table(heads, rows))
    return found


def summary(report: RiskReport) -> str:
    """What the first method reaches, and whether another one beats it."""
    method = plain(report.methods[0].name, 40)
    if not report.is_judged:
        known = report.labels.size
        why = "no item has a label" if not known else "all labels are of one class"
        items = count(len(report.signatures))
        return f"{method} gives risks to {items} items; how good they are is not known: {why}."
    found = report.intervals[report.methods[0].name]
    said = f"{method} tells wrong from right with AUC {found.auc:.3f}"
    if np.isfinite(found.low):
        said += f" (95 % interval {found.low:.3f}–{found.high:.3f})"
    others = [(m.name, report.intervals[m.name]) for m in report.methods[1:]]
    if not others:
        return f"{said}."
    name, best = max(others, key=lambda pair: pair[1].auc)
    apart = f"{-best.difference:+.3f}".replace("-", "−")
    low, high = (
        f"{-e:+.3f}".replace("-", "−") for e in (best.difference_high, best.difference_low)
    )
    surely = "open" if best.difference_low <= 0 <= best.difference_high else "beyond chance"
    return (
        f"{said}; the best of the others is {plain(name, 40)} with {best.auc:.3f}. The difference "
        f"is {apart} ({low} to {high}), {surely}."
    )


def slice_tables(report: RiskReport) -> list[SliceTable]:
    """Figures of the first method by the values of each column."""
    return [_slice_table(report, column) for column in report.slices]


def _slice_table(report: RiskReport, column: str) -> SliceTable:
    values = report.signatures.examples[column].cast(pl.String).fill_null("–")
    counted = values.value_counts(sort=True)
    names = counted[column].to_list()
    rows = tuple(_slice_row(report, values, name) for name in names[:_MOST_SLICES])
    return SliceTable(plain(column, 30), rows, max(0, len(names) - _MOST_SLICES))


def _slice_row(report: RiskReport, values: pl.Series, name: str) -> SliceRow:
    inside = (values == name).to_numpy()
    method = report.methods[0]
    risks = np.asarray(method.risks, dtype=np.float64)
    chosen = inside[report.labelled]
    labels = report.labels[chosen]
    auc, interval = "–", ""
    if labels.size >= _LEAST_ITEMS and labels.min() < labels.max():
        groups = [g for g, kept in zip(report.groups, chosen, strict=True) if kept]
        own = {method.name: report.risks_of(method)[chosen]}
        found = auc_intervals(labels, own, groups)[method.name]
        auc = f"{found.auc:.3f}"
        interval = f"{found.low:.3f}–{found.high:.3f}" if np.isfinite(found.low) else ""
    return SliceRow(
        plain(name, 40),
        count(int(inside.sum())),
        percent(float(labels.mean())) if labels.size else "–",
        f"{risks[inside].mean():.3f}",
        auc,
        interval,
    )


def riskiest(report: RiskReport, most: int = 10) -> list[Risky]:
    """The items with the highest risks of the first method."""
    risks = np.asarray(report.methods[0].risks, dtype=np.float64)
    known = report.signatures.examples["label"].to_list()
    words = {None: "", 0.0: "right", 1.0: "wrong"}
    return [
        Risky(
            plain(report.signatures.ids[row], 40),
            f"{risks[row]:.3f}",
            words[known[row]],
            plain(report.signatures.records[row].text or "", 160),
        )
        for row in np.argsort(-risks, kind="stable")[:most]
    ]


def provenance(report: RiskReport) -> list[tuple[str, str]]:
    """What the records are, for the last section."""
    records = report.signatures.records
    fingerprints: dict[str, set[str]] = {}
    for record in records:
        for name, value in record.fingerprint.items():
            fingerprints.setdefault(name, set()).add(str(value))
    lines = [
        ("mode", ", ".join(sorted({record.mode for record in records}))),
        ("kind", ", ".join(sorted({record.kind for record in records}))),
        ("values per position", _range([record.k for record in records])),
        ("positions", _range([len(record) for record in records])),
    ]
    lines += [(name, ", ".join(sorted(found))) for name, found in sorted(fingerprints.items())]
    lines += [(f"risks of {m.name}", m.note) for m in report.methods if m.note]
    lines += [("file", source) for source in report.sources]
    return [(plain(name, 60), plain(value, 200)) for name, value in lines]


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return count(low) if low == high else f"{count(low)} to {count(high)}"
