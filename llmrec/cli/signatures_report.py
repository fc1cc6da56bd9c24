"""``llmrec signatures report``: from raw files to one offline HTML page."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.signatures_options import (
    FilesArgument,
    GroupOption,
    KOption,
    LabelsOption,
    ModeOption,
    WhereOption,
    log_options,
    read_data,
    say_bad_lines,
)
from llmrec.cli.terminal import JsonOption, print_json, progress

if TYPE_CHECKING:
    from llmrec.signatures.records import SignatureSet
    from llmrec.signatures.report.judged import RiskReport

DetectorOption = Annotated[
    Path | None, typer.Option(help="A trained detector; none judges the logs by themselves.")
]
LeaveOutOption = Annotated[
    str | None, typer.Option(help="Column whose values are left out one by one, e.g. task.")
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option("--method", help="A baseline to show; may be given again, the main one first."),
]
ByOption = Annotated[
    list[str] | None, typer.Option("--by", help="Column to show figures by; may be given again.")
]
AlphaOption = Annotated[
    list[float] | None, typer.Option(help="Error budget to speak of; may be given again.")
]


def report(
    data: FilesArgument,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("risks.html"),
    detector: DetectorOption = None,
    labels: LabelsOption = None,
    group: GroupOption = None,
    where: WhereOption = None,
    leave_out: LeaveOutOption = None,
    method: MethodOption = None,
    by: ByOption = None,
    alpha: AlphaOption = None,
    delta: Annotated[float, typer.Option(help="Probability of breaking it.")] = 0.05,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Risk of answers",
    k: KOption = 20,
    mode: ModeOption = "unknown",
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page about the risks of the records of DATA.

    With labels, risks come from records that the judge has not seen: those of a detector, or of
    baselines that learn from the other folds. Without labels the page shows risks alone.
    """
    from llmrec.signatures.report import write_risk_report
    from llmrec.signatures.report.building import (
        METHODS,
        Wanted,
        report_of_detector,
        report_of_logs,
    )

    signatures, bad = read_data(data, log_options(k, mode), group, labels, where)
    columns = [name for name in (by or _columns(signatures)) if name != "id"]
    wanted = Wanted(
        methods=tuple(method or METHODS),
        slices=columns,
        alphas=tuple(alpha or (0.05, 0.1, 0.2)),
        delta=delta,
        remarks=[f"Left out: {line}" for line in bad[:10]],
        sources=[str(path) for path in data],
    )
    progress(f"judging {len(signatures):,} records")
    if detector is not None:
        from llmrec.signatures.calibrated import CalibratedDetector

        loaded = CalibratedDetector.from_pretrained(detector)
        made = report_of_detector(loaded, signatures, wanted)
    else:
        made = report_of_logs(signatures, wanted, _parts(signatures, leave_out))
    written = write_risk_report(made, output, title)
    say_bad_lines(bad, len(signatures))
    figures = {}
    if made.is_judged:
        figures = {name: round(found.auc, 4) for name, found in made.intervals.items()}
    if as_json:
        told = {"report": str(written), "records": len(signatures), "auc": figures}
        print_json({**told, "bad": [str(line) for line in bad]})
        return
    _say(made, written, len(signatures), figures)


def _say(made: "RiskReport", written: Path, records: int, figures: Mapping[str, float]) -> None:
    """Where the page is, and what the reader should know first."""
    for remark in made.remarks:
        print(remark, file=sys.stderr)
    aucs = "".join(f", {name} {value:.3f}" for name, value in figures.items())
    print(f"report: {written} ({records:,} records{'; AUC' if aucs else ''}{aucs[1:]})")


def _columns(signatures: "SignatureSet") -> list[str]:
    """Columns with a few values: those that say something about where risks are right."""
    frame = signatures.examples
    taken = {"id", "label", "group", "prompt", "question", "extracted", "gold", "answer"}
    return [
        name
        for name in frame.columns
        if name not in taken and 1 < frame[name].n_unique() <= min(60, frame.height // 5)
    ]


def _parts(signatures: "SignatureSet", column: str | None) -> list[str] | None:
    """The part of every labelled record, or None for folds of groups."""
    from llmrec.errors import ConfigError, nearest_name

    if column is None:
        return None
    known = signatures.labelled().examples
    if column not in known.columns:
        raise ConfigError(f"no column {column!r}{nearest_name(column, known.columns)}")
    found: list[str] = known[column].cast(str).to_list()
    return found
