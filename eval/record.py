"""Judge the trained runs of a recipe on the test part and record the figures.

    python eval/record.py eval/recipes/amazon-beauty-sasrec.yaml --runs runs/beauty \
        --task amazon-beauty --task amazon-beauty-unfiltered

On a machine that holds an exported tree without git, ``--commit`` names the commit it was exported
from and ``--results`` a folder for the figures.

The recipe must be committed unchanged, and every run must have been trained by it: the figures then
name the commit by which anyone can repeat them. Every call looks at the test part once and counts
that in ``test_runs`` of the result it replaces.
"""

import argparse
import subprocess
import time
from pathlib import Path
from typing import Any

from llmrec.data.named import load_dataset
from llmrec.errors import ArtifactError, run_script
from llmrec.evaluation.harness import evaluate
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.results import Result, make_result, write_result
from llmrec.evaluation.tasks import load_task
from llmrec.runs.directory import RunDirectory
from llmrec.runs.recipe import Recipe, load_recipe, parse_recipe
from llmrec.storage import read_json

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    arguments = parse_arguments()
    recipe = load_recipe(arguments.recipe)
    commit = committed_state(arguments.recipe, exported_from=arguments.commit)
    runs = runs_of(recipe, arguments.runs)
    for task in arguments.task or [recipe.task]:
        result = judged(recipe, runs, task, str(arguments.recipe), commit, arguments.variant)
        print(write_result(result, arguments.results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="what llmrec train --output wrote")
    parser.add_argument(
        "--variant", default="", help="what sets it apart from its model's plain form"
    )
    parser.add_argument("--task", action="append", help="tasks; default: the recipe's own")
    parser.add_argument("--commit", help="of an exported tree that has no git")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go")
    return parser.parse_args()


def committed_state(*files: Path, exported_from: str | None = None) -> str:
    """The commit that holds the files as they are now.

    Args:
        files: What must be committed unchanged.
        exported_from: The commit of a tree without git; where there is git it is not believed.
    """
    if exported_from is not None and not (RESULTS.parents[1] / ".git").exists():
        return exported_from
    for file in files:
        if git("status", "--porcelain", "--", str(file)):
            raise ArtifactError(f"{file} is not committed as it is; commit it before its test run.")
    return git("rev-parse", "--short=12", "HEAD")


def runs_of(recipe: Recipe, folder: Path) -> list[RunDirectory]:
    """One run per seed, each trained by this very recipe."""
    several = len(recipe.seeds) > 1
    runs = [RunDirectory(folder / f"seed-{s}" if several else folder) for s in recipe.seeds]
    for run, seed in zip(runs, recipe.seeds, strict=True):
        if not is_trained_by(run.info["recipe"], recipe) or run.info["seed"] != seed:
            raise ArtifactError(f"{run.path} was trained by another recipe or seed; train again.")
    return runs


def is_trained_by(told: dict[str, Any], recipe: Recipe) -> bool:
    """Whether what a run tells of its recipe is this one.

    Seeds may be trained one by one, and settings added since then had their defaults.
    """
    return parse_recipe({**told, "seeds": list(recipe.seeds)}).as_dict() == recipe.as_dict()


def judged(
    recipe: Recipe,
    runs: list[RunDirectory],
    task_name: str,
    source: str,
    commit: str,
    variant: str,
) -> Result:
    """All seeds on one task, as a result to be written."""
    task = load_task(task_name)
    split = task.split(load_dataset(task.dataset))
    started = time.perf_counter()
    figures: dict[str, list[Evaluation]] = {"valid": [], "test": []}
    for run in runs:
        model = run.model()
        for part, found in figures.items():
            about = {"model": recipe.model.name, "variant": variant}
            found.append(evaluate(model, split, task, part, **about))  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    seconds += sum(sum(run.info["seconds"].values()) for run in runs)
    return make_result(
        figures["test"],
        recipe.seeds,
        recipe=source,
        commit=commit,
        test_runs=earlier_test_runs(task_name, recipe, variant) + 1,
        hardware=runs[0].info["hardware"],
        wall_seconds=round(seconds, 1),
        validation=figures["valid"],
    )


def earlier_test_runs(task: str, recipe: Recipe, variant: str) -> int:
    """How often this model was judged on the task's test part before."""
    name = f"{recipe.model.name}--{variant}" if variant else recipe.model.name
    path = RESULTS / task / f"{name}.json"
    earlier: dict[str, Any] = read_json(path) if path.is_file() else {"test_runs": 0}
    return int(earlier["test_runs"])


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    run_script(main)
