"""``llmrec report``: one offline HTML page about one or more runs."""

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.terminal import JsonOption, print_json


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run directories, the reference first.")
    ],
    adapters: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="STORE",
            help="An adapter store to tell of too, or what diagnose(store) gave as JSON; again for "
            "more.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page with metrics, curves, slices and examples of RUNS."""
    from llmrec.runs.reporting import report_runs

    written = report_runs(runs, output, stores=adapters or ())
    if as_json:
        print_json({"report": str(written), "runs": [str(run) for run in runs]})
    else:
        print(f"report: {written}")
