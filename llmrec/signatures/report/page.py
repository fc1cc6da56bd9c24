"""The report as one HTML file: nothing to load, no script, foreign text escaped by the template."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from llmrec import __version__
from llmrec.evaluation.display import count, percent, plain
from llmrec.evaluation.report_shapes import WIDTH
from llmrec.signatures.los_net.heat_map import shown_maps
from llmrec.signatures.report import charts, tables
from llmrec.signatures.report.judged import RiskReport
from llmrec.storage import write_text


def write_risk_report(
    report: RiskReport, path: str | Path, title: str, generated: datetime | None = None
) -> Path:
    """Write a report as one HTML file; an earlier one is replaced only by a complete one.

    Args:
        report: What it shows.
        path: The file.
        title: Its heading.
        generated: The time it carries; now by default.

    Returns:
        The path written.

    Raises:
        DataError: A risk that is meant as a probability is none.
    """
    moment = (generated or datetime.now(UTC)).astimezone(UTC)
    judged = report.is_judged
    text = _environment().get_template("risk_report.html.j2").render(
        title=plain(title, 120),
        generated=moment.strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        version=__version__,
        width=WIDTH,
        summary=tables.summary(report),
        remarks=[plain(remark, 400) for remark in report.remarks],
        facts=_facts(report),
        judged=judged,
        methods=tables.names_of(report),
        metrics=tables.metric_tables(report) if judged else [],
        roc=charts.roc_chart(report) if judged else None,
        precision=charts.precision_chart(report) if judged else None,
        coverage=charts.coverage_chart(report) if judged else None,
        reliability=charts.reliability_chart(report) if judged else None,
        histogram=charts.histogram(report),
        promises=[plain(promise, 400) for promise in report.promises],
        slices=tables.slice_tables(report),
        riskiest=tables.riskiest(report),
        maps=shown_maps(report.maps),
        provenance=tables.provenance(report),
    )  # fmt: skip
    write_text(path, text)
    return Path(path)


def _facts(report: RiskReport) -> list[tuple[str, str]]:
    signatures = report.signatures
    facts = [("Items", count(len(signatures)))]
    if report.labels.size < len(signatures):
        facts.append(("With a label", count(report.labels.size)))
    if report.labels.size:
        facts.append(("Wrong", percent(float(report.labels.mean()))))
    facts.append(("Groups", count(len(set(signatures.groups)))))
    facts.append(("Tokens", count(sum(len(record) for record in signatures.records))))
    return facts


def _environment() -> Environment:
    # Autoescape is on for every template: whatever is put in them may be foreign text.
    return Environment(
        loader=ChoiceLoader(
            [PackageLoader("llmrec.signatures.report"), PackageLoader("llmrec.evaluation")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
