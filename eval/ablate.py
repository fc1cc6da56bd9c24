"""Train the variants of a recipe and record how each differs from the first.

    python eval/ablate.py eval/ablations/amazon-office-sra-cl.yaml --runs runs/ablation
    python eval/ablate.py eval/ablations/amazon-office-sra-cl.yaml --runs runs/ablation --record

The first form trains what is missing, one seed after another (``--shard 1/2`` takes every second
run, for two processes side by side). The second judges all runs on the test part. The file and its
recipe must be committed unchanged before that; ``--commit`` and ``--results`` are those of
``record.py``. A variant is a list of overrides, or a mapping with
a ``recipe`` of its own.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import yaml
from record import committed_state, is_trained_by

from llmrec.data.named import load_dataset
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError, ConfigError, run_script
from llmrec.evaluation.ablation import ABLATIONS, Ablation, make_variants, write_ablation
from llmrec.evaluation.harness import evaluate
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.tasks import Task, load_task
from llmrec.runs.directory import MARKER, RunDirectory
from llmrec.runs.execute import train
from llmrec.runs.recipe import Recipe, load_recipe
from llmrec.storage import read_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "eval" / "results"
METRIC = "ndcg@10"


@dataclass(frozen=True)
class Plan:
    """What an ablation file says."""

    name: str
    recipe: str
    seeds: tuple[int, ...]
    common: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]
    other_recipes: dict[str, str]

    def recipe_of(self, variant: str) -> Recipe:
        """The recipe with the common and the variant's settings."""
        recipe = self.other_recipes.get(variant, self.recipe)
        return load_recipe(ROOT / recipe, [*self.common, *self.variants[variant]])

    @property
    def recipes(self) -> list[Path]:
        """All recipe files."""
        return [ROOT / name for name in {self.recipe, *self.other_recipes.values()}]

    def folder(self, runs: Path, variant: str, seed: int) -> Path:
        """Where a run lies."""
        return runs / variant.replace(" ", "-").replace("/", "-") / f"seed-{seed}"


def main() -> None:
    arguments = parse_arguments()
    plan = read_plan(arguments.plan)
    if arguments.record:
        commit = committed_state(arguments.plan, *plan.recipes, exported_from=arguments.commit)
        print(write_ablation(judged(plan, arguments.runs, commit), arguments.results))
    else:
        train_missing(plan, arguments.runs, arguments.shard)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are or will be")
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th run from the i-th")
    parser.add_argument("--record", action="store_true", help="judge on test and write the result")
    parser.add_argument("--commit", help="of an exported tree that has no git")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go")
    return parser.parse_args()


def read_plan(path: Path) -> Plan:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    variants, other_recipes = {}, {}
    for name, each in values["variants"].items():
        if isinstance(each, dict):  # a variant with a recipe of its own
            other_recipes[name] = each["recipe"]
            each = each.get("overrides", ())
        variants[name] = tuple(each)
    if len(variants) < 2:
        raise ConfigError(f"{path} needs a reference and at least one other variant.")
    common = tuple(values.get("overrides", ()))
    seeds = tuple(values["seeds"])
    return Plan(path.stem, values["recipe"], seeds, common, variants, other_recipes)


def train_missing(plan: Plan, runs: Path, shard: str) -> None:
    """Train every variant and seed that has no run; an interrupted one resumes."""
    number, of = (int(part) for part in shard.split("/"))
    wanted = [(seed, variant) for seed in plan.seeds for variant in plan.variants]
    split = split_of(load_task(plan.recipe_of(next(iter(plan.variants))).task))
    for seed, variant in wanted[number - 1 :: of]:
        folder = plan.folder(runs, variant, seed)
        if (folder / MARKER).is_file():
            continue
        run = train(plan.recipe_of(variant), folder, seed=seed, resume=True, split=split)
        print(f"{variant}, seed {seed}: {valid_metric(run):.4f}", flush=True)


def valid_metric(run: RunDirectory) -> float:
    return float(run.metrics["metrics"][METRIC]["mean"])


def judged(plan: Plan, runs: Path, commit: str) -> Ablation:
    """Judge all runs and compare them."""
    task = load_task(plan.recipe_of(next(iter(plan.variants))).task)
    split = split_of(task)
    found = {name: runs_of(plan, runs, name) for name in plan.variants}
    figures = {
        part: {
            name: [judge(run, split, task, part) for run in each] for name, each in found.items()
        }
        for part in ("valid", "test")
    }
    seconds = {
        name: sum(run.info["seconds"]["training"] for run in each) / len(each)
        for name, each in found.items()
    }
    variants = make_variants(figures["test"], figures["valid"], plan.variants, seconds, METRIC)
    first = found[next(iter(plan.variants))][0]
    earlier = RESULTS / ABLATIONS / f"{plan.name}.json"
    looked = read_json(earlier)["test_runs"] if earlier.is_file() else 0
    return Ablation(
        name=plan.name,
        task=task.name,
        metric=METRIC,
        recipe=plan.recipe,
        seeds=plan.seeds,
        variants=variants,
        n_users=figures["test"][variants[0].name][0].n_users,
        commit=commit,
        test_runs=looked + 1,
        hardware=first.info["hardware"],
    )


def runs_of(plan: Plan, runs: Path, variant: str) -> list[RunDirectory]:
    """One run per seed, each trained by the recipe with the variant's settings."""
    recipe = plan.recipe_of(variant)
    found = [RunDirectory(plan.folder(runs, variant, seed)) for seed in plan.seeds]
    for run in found:
        if not is_trained_by(run.info["recipe"], recipe):
            raise ArtifactError(f"{run.path} was trained with other settings; train it again.")
    return found


def judge(run: RunDirectory, split: Split, task: Task, part: str) -> Evaluation:
    return evaluate(run.model(), split, task, part, model=run.info["recipe"]["model"]["name"])  # type: ignore[arg-type]


def split_of(task: Task) -> Split:
    return task.split(load_dataset(task.dataset))


if __name__ == "__main__":
    run_script(main)
