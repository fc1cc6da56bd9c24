"""``llmrec quickstart``: a few models on real data, judged side by side, in minutes."""

import time
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.tables import print_comparison, print_runs
from llmrec.cli.terminal import JsonOption, print_json, printable, stage, styled

if TYPE_CHECKING:
    from llmrec.runs.directory import RunDirectory
    from llmrec.runs.quickstart import Example

METRICS = ("ndcg@10", "hit_rate@10", "mrr@10", "coverage@10")


def quickstart(
    output: Annotated[Path, typer.Option(help="Where runs and report go.")] = Path(
        "runs/quickstart"
    ),
    small: Annotated[
        bool, typer.Option("--small", help="Seconds instead of minutes, on a tiny simulation.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of training.")] = 1,
    data: Annotated[
        str | None, typer.Option(help="Data to use instead; 'llmrec data list' names some.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train four recommenders, judge them on the test part, and write a report.

    They are popularity, item-kNN, SASRec, and SRA-CL where the items have titles.
    """
    start = time.perf_counter()
    with stage("loading the libraries", as_json):
        from llmrec.runs import quickstart as steps
        from llmrec.runs.comparing import compare_runs
        from llmrec.runs.execute import checkpoints_of, train
        from llmrec.runs.reporting import report_runs
    with stage("looking for data", as_json):
        choice = steps.choose_data(data, small)
    if choice.download and not as_json:
        print(f"downloading {choice.name}; its licence: {choice.licence}")
    with stage("loading and splitting", as_json):
        choice, task, split = steps.prepare(choice, output)
    if not as_json:
        print(f"\ndata: {choice.name}, {choice.reason}\n{split.dataset}\n")
    runs: dict[str, RunDirectory] = {}
    for name, recipe in steps.recipes(task, seed, small, split).items():
        with stage(f"training and judging {name}", as_json):
            rmtree(checkpoints_of(output / name), ignore_errors=True)  # of one that was broken off
            runs[name] = train(recipe, output / name, part="test", split=split)
    paths = [run.path for run in runs.values()]
    with stage("comparing and writing the report", as_json):
        every = compare_runs(paths, METRICS[:1], all_pairs=True)
        report = report_runs(
            paths,
            output / "report.html",
            title=f"Quickstart on {choice.name}",
            comparisons=every,
            split=split,
        )
    shown = [row for row in every if row["other"] in ("sasrec", "sra_cl")]
    examples = steps.examples(runs["sasrec"], split)
    seconds = time.perf_counter() - start
    if as_json:
        results = {name: {"run": run.path, "metrics": run.metrics} for name, run in runs.items()}
        about: dict[str, Any] = {"data": choice.name, "reason": choice.reason, "runs": results}
        lists = [asdict(example) for example in examples]
        about |= {"comparisons": every, "examples": lists, "report": report, "seconds": seconds}
        print_json(about)
        return
    _print_findings(list(runs.values()), shown)
    _print_examples(examples)
    _print_farewell(output, report, examples, seconds)


def _print_findings(runs: "list[RunDirectory]", shown: list[dict[str, Any]]) -> None:
    print()
    print_runs(runs, METRICS)
    print(
        "\nAre they better? Differences over the same users, with p-values of a sign-flip test:\n"
    )
    print_comparison(shown)


def _print_examples(examples: "list[Example]") -> None:
    print("\nWhat SASRec recommends to three users (* is what they really took next):")
    for example in examples:
        print(styled(f"\nuser {printable(example.user)}", "bold"))
        print(f"  lately: {'; '.join(map(printable, example.history))}")
        for rank, (title, hit) in enumerate(example.recommended, 1):
            print(f"  {rank}. {printable(title)}{styled(' *', 'green') if hit else ''}")


def _print_farewell(output: Path, report: Path, examples: "list[Example]", seconds: float) -> None:
    user = examples[0].user if examples else "ID"
    print(f"\nreport: {report} (open it in a browser; it needs no network)")
    print(f"done in {seconds:.0f} s. What to run next:")
    print(f"  llmrec recommend {output / 'sasrec'} --user {printable(user)} --k 10")
    print("  llmrec train eval/recipes/quickstart-sasrec.yaml --set model.dim=32")
    print("  llmrec data list")
