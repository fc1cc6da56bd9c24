"""``llmrec train``: train the model of a recipe and keep it as a run."""

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.tables import print_metrics
from llmrec.cli.terminal import JsonOption, print_json, progress

OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a value, e.g. training.batch_size=64; may be given again."),
]


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A recipe in YAML, e.g. eval/recipes/....yaml.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where the run goes.  [default: runs/<recipe name>]")
    ] = None,
    override: OverrideOption = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Train this one seed instead of the recipe's.")
    ] = None,
    part: Annotated[str, typer.Option(help="Part to judge on: valid, test, or none.")] = "valid",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the model of RECIPE and judge it; checkpoints lie in OUTPUT.checkpoints."""
    from llmrec.runs.execute import train_seeds
    from llmrec.runs.recipe import load_recipe

    changes = [*(override or []), *([f"seeds=[{seed}]"] if seed is not None else [])]
    loaded = load_recipe(recipe, changes)
    target = output or Path("runs") / loaded.name
    progress(f"training {loaded.model.name} on {loaded.task}")
    runs = train_seeds(loaded, target, part=part, resume=resume)
    judged = part != "none"
    if as_json:
        print_json(
            [{"run": str(run.path), "metrics": run.metrics if judged else None} for run in runs]
        )
        return
    for run in runs:
        print(f"{run.name}: saved in {run.path}")
        if judged:
            print_metrics(run.metrics)
    print(f"next: llmrec recommend {runs[0].path} --user ID")
