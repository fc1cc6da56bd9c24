"""``llmrec compare``: are the differences between runs more than noise?"""

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.tables import print_comparison
from llmrec.cli.terminal import JsonOption, print_json


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Two or more runs, the reference first.")
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metrics to compare.  [default: all per-case ones]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare RUNS case by case: paired bootstrap, sign-flip test, Holm correction."""
    from llmrec.runs.comparing import compare_runs

    rows = compare_runs(runs, metric, seed)
    if as_json:
        print_json(rows)
    else:
        print_comparison(rows)
