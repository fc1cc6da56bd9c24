"""From risks and labels to the charts of the report; placement is that of ``report_charts``."""

from collections.abc import Callable, Sequence

import numpy as np

from llmrec.evaluation.display import plain
from llmrec.evaluation.report_charts import bar_chart, line_chart
from llmrec.evaluation.report_shapes import BarChart, LineChart, Named, Value
from llmrec.signatures.decision.curves import (
    Curve,
    precision_recall_curve,
    risk_coverage_curve,
    roc_curve,
)
from llmrec.signatures.decision.labelled import Values
from llmrec.signatures.decision.reliability import reliability
from llmrec.signatures.report.judged import Method, RiskReport

_POINTS = 150
_BARS = 20
_REFERENCE = 13  # grey and dashed, see the style of the reports
_LEAST_COVERAGE = 0.02  # shares of a handful of items jump about


def roc_chart(report: RiskReport) -> LineChart:
    """Wrong items flagged over right items flagged, by method."""
    chance = Named(_REFERENCE, "chance", (Value(0, 0), Value(1, 1)))
    series = [*_curves(report, roc_curve), chance]
    return line_chart("ROC", series, "right answers flagged", "wrong answers flagged")


def precision_chart(report: RiskReport) -> LineChart:
    """Share of the flagged that is wrong over share of the wrong that is flagged, by method."""
    share = float(report.labels.mean())
    chance = Named(_REFERENCE, "chance", (Value(0, share), Value(1, share)))
    series = [*_curves(report, precision_recall_curve), chance]
    return line_chart(
        "Precision and recall", series, "wrong answers flagged (recall)",
        "share of the flagged that is wrong (precision)",
    )  # fmt: skip


def coverage_chart(report: RiskReport) -> LineChart:
    """Error rate among what is answered over the share that is answered, by method."""

    def curve(labels: Values, risks: Values) -> Curve:
        whole = risk_coverage_curve(labels, risks)
        kept = whole.x >= min(_LEAST_COVERAGE, 10 / labels.size)
        return Curve(whole.x[kept], whole.y[kept])

    ideal = curve(report.labels, report.labels)
    series = [*_curves(report, curve), _thin(_REFERENCE, "ideal", ideal)]
    return line_chart(
        "Risk and coverage", series, "share of items answered, least risky first",
        "error rate among the answered",
    )  # fmt: skip


def reliability_chart(report: RiskReport) -> LineChart | None:
    """What happened over what was announced; None where no method gives probabilities."""
    shown = [(i, m) for i, m in enumerate(report.methods) if m.probabilities]
    if not shown:
        return None
    bins = 10 if report.labels.size >= 300 else 5
    series = [Named(_REFERENCE, "ideal", (Value(0, 0), Value(1, 1)))]
    for index, method in shown:
        rows = reliability(report.labels, report.risks_of(method), bins, equal_sizes=True)
        values = tuple(Value(r.mean_risk, r.share_wrong, r.low, r.high) for r in rows)
        series.append(Named(index, _short(method), values))
    return line_chart(
        "Reliability", series, "mean risk announced", "share that is wrong", markers=True
    )


def histogram(report: RiskReport) -> BarChart:
    """Distribution of the first method's risks, right and wrong items apart where known."""
    method = report.methods[0]
    risks = np.asarray(method.risks, dtype=np.float64)
    low, high = (0.0, 1.0) if method.probabilities else (float(risks.min()), float(risks.max()))
    edges = np.linspace(low, high if high > low else low + 1, _BARS + 1)
    labels = [f"{edge:.2g}" if i % 4 == 0 else "" for i, edge in enumerate(edges[:-1])]
    parts: list[tuple[int, str, Values]] = [(0, "all items", risks)]
    if report.is_judged:
        known = report.risks_of(method)
        wrong = report.labels == 1
        parts = [(2, "right", known[~wrong]), (1, "wrong", known[wrong])]
    series = []
    for index, name, values in parts:
        counts, _ = np.histogram(values, edges)
        shares = counts / max(values.size, 1)
        series.append(Named(index, name, tuple(Value(i, s) for i, s in enumerate(shares))))
    title = f"Distribution of risks, {_short(method)}"
    return bar_chart(title, series, labels, "risk", "share of items")


def _curves(report: RiskReport, curve: Callable[[Values, Values], Curve]) -> Sequence[Named]:
    return [
        _thin(index, _short(method), curve(report.labels, report.risks_of(method)))
        for index, method in enumerate(report.methods)
    ]


def _thin(index: int, name: str, curve: Curve) -> Named:
    """At most so many points, evenly along the curve, the ends among them."""
    place = np.unique(np.linspace(0, curve.x.size - 1, _POINTS).round().astype(np.int64))
    values = tuple(Value(float(curve.x[i]), float(curve.y[i])) for i in place)
    return Named(index, name, values)


def _short(method: Method) -> str:
    return plain(method.name, 18)
