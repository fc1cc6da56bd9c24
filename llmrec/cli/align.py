"""``llmrec align``: train a generator of sessions, then align it with what users value."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.tables import print_metrics
from llmrec.cli.terminal import JsonOption, print_json, print_table, progress
from llmrec.cli.train import OverrideOption
from llmrec.errors import ConfigError

if TYPE_CHECKING:
    from llmrec.runs.directory import RunDirectory


def align(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE", help="A recipe for onerec or onerec_lm with model.alignment."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where the run goes.  [default: runs/<recipe name>]")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--run", help="Start from this run instead of training one.")
    ] = None,
    override: OverrideOption = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="This seed instead of the recipe's first.")
    ] = None,
    part: Annotated[str, typer.Option(help="Part to judge on: valid, test, or none.")] = "valid",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what OUTPUT.alignment holds.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Only write lists of shard i/n, like 2/8, after --prepare."),
    ] = None,
    only_prepare: Annotated[
        bool,
        typer.Option(
            "--prepare", help="Only make the supervised run and the reward model, for shards."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Align the model of RECIPE: it writes lists, a reward model judges, it learns the better.

    The model before alignment is kept in OUTPUT.sft, lists, pairs and policies in OUTPUT.alignment.
    """
    from llmrec.inference.shards import parse_shard
    from llmrec.runs.aligning import align as run_alignment
    from llmrec.runs.aligning_shards import prepare, write_shard
    from llmrec.runs.recipe import load_recipe

    if only_prepare and shard is not None:
        raise ConfigError("--prepare comes before --shard, once and by itself; leave one out.")
    loaded = load_recipe(recipe, override or [])
    target = output or Path("runs") / loaded.name
    if only_prepare:
        prepare(loaded, target, start=start, seed=seed, resume=resume)
        told = "prepared; next: the same command with --shard i/n, then with --resume"
        print_json({"prepared": str(target)}) if as_json else print(told)
        return
    if shard is not None:
        parts = write_shard(loaded, target, parse_shard(shard), start=start, seed=seed)
        told = f"shard {shard}: {parts} parts written; go on with --resume when all are there"
        print_json({"shard": shard, "parts": parts}) if as_json else print(told)
        return
    progress(f"aligning {loaded.model.name} on {loaded.task}")
    run = run_alignment(loaded, target, start=start, seed=seed, part=part, resume=resume)
    _print_run(run, part != "none", as_json)


def _print_run(run: "RunDirectory", judged: bool, as_json: bool) -> None:
    told = run.alignment
    if as_json:
        metrics = run.metrics if judged else None
        print_json({"run": str(run.path), "metrics": metrics, "iterations": told["iterations"]})
        return
    _print_iterations(told)
    if judged:
        print_metrics(run.metrics)
    print(f"{run.name}: saved in {run.path}\nnext: llmrec report {run.path}")


def _print_iterations(told: dict[str, Any]) -> None:
    shown = [told["metric"], "reward", "true_reward", "kl", "free_legality", "list_diversity"]
    iterations = told["iterations"]
    columns = [name for name in shown if any(name in one["figures"] for one in iterations)]
    print_table(
        ("iteration", "pairs", *columns, "kept"),
        [
            (
                one["number"],
                one["pairs"].get("pairs", 0),
                *(round(one["figures"].get(name, float("nan")), 4) for name in columns),
                "yes" if one["kept"] else "no",
            )
            for one in iterations
        ],
    )
