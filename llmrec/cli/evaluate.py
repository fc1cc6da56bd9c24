"""``llmrec evaluate``: judge a run on a part of a task."""

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.tables import print_metrics
from llmrec.cli.terminal import JsonOption, print_json, progress


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    task: Annotated[
        str | None, typer.Option(help="Task name or file.  [default: the run's own task]")
    ] = None,
    part: Annotated[str, typer.Option(help="Part to judge on: valid or test.")] = "valid",
    as_json: JsonOption = False,
) -> None:
    """Judge RUN and keep the figures: in the run, or under RUN/evaluations for another task."""
    from llmrec.runs.directory import RunDirectory
    from llmrec.runs.execute import evaluate_run

    opened = RunDirectory(run)
    progress(f"judging {opened.name} on the {part} part of {task or opened.task}")
    result = evaluate_run(opened, task, part)
    if as_json:
        print_json(result)
        return
    print(f"{opened.name} on the {part} part of {result['task']}")
    print_metrics(result)
