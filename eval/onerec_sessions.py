r"""Train, align and judge generators of sessions where the true worth of a session is known.

    python eval/onerec_sessions.py eval/sessions/simulate-small-onerec.yaml --runs runs/sessions
    python eval/onerec_sessions.py eval/sessions/simulate-small-onerec.yaml --runs runs/sessions \
        --record

The first form trains what is missing (``--shard i/n`` takes every n-th seed or variant). The second
judges the seeds on validation and test users, those variants whose runs are there on validation
users, and writes
``eval/results/sessions/<name>.json``; plan and recipe must be committed unchanged before that.
"""

import argparse
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from record import committed_state, is_trained_by
from session_judging import (
    TRUE,
    Asked,
    Curves,
    Judge,
    JudgedRun,
    PerUser,
    Values,
    control_figures,
    judged_lists,
    model_of,
    truth_of,
)

from llmrec.data.named import load_dataset
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError, run_script
from llmrec.evaluation.harness import evaluate
from llmrec.evaluation.session_results import (
    SESSIONS,
    SessionResult,
    difference,
    figure_of,
    share_of,
    write_session_result,
)
from llmrec.evaluation.tasks import Task, load_task
from llmrec.recommenders.onerec.alignment.judging import Judged, train_reward_model
from llmrec.recommenders.onerec.alignment.reward import RewardModel
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.list_recommender import ListRecommender
from llmrec.recommenders.onerec.sources import vectors_of
from llmrec.runs.aligning import align, alignment_of, work_folder
from llmrec.runs.directory import MARKER, RunDirectory
from llmrec.runs.execute import train
from llmrec.runs.recipe import Recipe, load_recipe
from llmrec.storage import read_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "eval" / "results"
METRIC = "ndcg@10"
SFT, IPA, BEST = "supervised", "aligned", "best sessions (the truth's own search)"
SAME = "the items most valued in training, the same for everybody"
SECOND_SEED = 1000


@dataclass(frozen=True)
class Plan:
    """What a plan file says.

    Attributes:
        recipe: The recipe of the aligned model.
        seeds: Seeds of it.
        best_of: Lists among which the reward model chooses.
        curve: Numbers of lists of the gain-against-N curve.
        variants: Name to overrides; trained with the first seed, judged on validation users.
        earlier: Names of other figures of the same test users, whose looks count, too.
    """

    name: str
    recipe: str
    seeds: tuple[int, ...]
    best_of: int
    curve: tuple[int, ...]
    variants: dict[str, tuple[str, ...]] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read a plan file."""
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        variants = {name: tuple(changes) for name, changes in values.pop("variants", {}).items()}
        values |= {name: tuple(values.get(name, ())) for name in ("seeds", "curve", "earlier")}
        return cls(path.stem, **values, variants=variants)

    def recipe_of(self, variant: str | None = None) -> Recipe:
        """The recipe, with the changes of a variant."""
        return load_recipe(ROOT / self.recipe, self.variants[variant] if variant else ())

    def jobs(self) -> list[tuple[str | None, int]]:
        """Variant and seed of every run; the seeds of the plain recipe first."""
        plain: list[tuple[str | None, int]] = [(None, seed) for seed in self.seeds]
        return [*plain, *((variant, self.seeds[0]) for variant in self.variants)]


@dataclass(frozen=True)
class Place:
    """Where the runs of a plan lie."""

    folder: Path

    def sft(self, seed: int) -> Path:
        """The supervised run of a seed."""
        return self.folder / "sft" / f"seed-{seed}"

    def aligned(self, variant: str | None, seed: int) -> Path:
        """The aligned run of a variant and a seed."""
        return self.folder / (variant or "aligned").replace(" ", "-") / f"seed-{seed}"


def main() -> None:
    arguments = parse_arguments()
    plan, place = Plan.read(arguments.plan), Place(arguments.runs)
    task = load_task(plan.recipe_of().task)
    split = task.split(load_dataset(task.dataset))
    if arguments.record:
        commit = committed_state(arguments.plan, ROOT / plan.recipe, exported_from=arguments.commit)
        result = record(plan, place, task, split, commit, arguments.results)
        print(write_session_result(result, arguments.results))
        return
    if arguments.second_judge:
        second_judge(plan, place, split)
        return
    number, of = (int(part) for part in arguments.shard.split("/"))
    for variant, seed in plan.jobs()[number - 1 :: of]:
        train_missing(plan, place, variant, seed, split)
        print_iterations(variant or "plain recipe", RunDirectory(place.aligned(variant, seed)))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are or will be")
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th run from the i-th")
    parser.add_argument("--second-judge", action="store_true", help="only train the second judge")
    parser.add_argument("--record", action="store_true", help="judge on test and write the result")
    parser.add_argument("--commit", help="of an exported tree that has no git")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go")
    return parser.parse_args()


def train_missing(plan: Plan, place: Place, variant: str | None, seed: int, split: Split) -> None:
    """Train a run unless it is there; an interrupted one goes on."""
    target, start = place.aligned(variant, seed), place.sft(seed)
    recipe = plan.recipe_of(variant)
    if not (start / MARKER).is_file():
        train(recipe, start, seed=seed, resume=True, split=split)
    if not (target / MARKER).is_file():
        if variant is not None:
            take_over_reward_model(place.aligned(None, seed), target)
        align(recipe, target, start=start, seed=seed, resume=True, split=split)


def take_over_reward_model(source: Path, target: Path) -> None:
    """Let a variant be judged by the very reward model of the plain recipe, where it is there."""
    for file in work_folder(source).glob("reward.*"):
        destination = work_folder(target) / file.name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, destination)


def judged_run(
    plan: Plan, place: Place, seed: int, split: Split, task: Task, part: Asked
) -> JudgedRun:
    """The lists of a seed before and after alignment; judged once and kept with the runs."""
    before, after = (model_of(path) for path in (place.sft(seed), place.aligned(None, seed)))
    reward, second = after.reward_model, second_judge(plan, place, split)
    assert reward is not None
    judges = {"model_reward": reward, "second_judge": second}
    networks = (before.writer.network, after.writer.network, reward, second)
    about = {
        "split": split.hash,
        "weights": list(map(weights_version, networks)),
        "lists": [plan.best_of, *plan.curve],
    }
    kept = place.folder / "judged" / f"seed-{seed}-{part}.json"
    found = JudgedRun.load(kept, about)
    if found is not None:
        return found
    started, judge = time.perf_counter(), Judge(truth_of(split, task, part), judges)
    pool = alignment_of(after).compose_from
    users: PerUser = {}
    curves: Curves = {}
    for name, model in ((SFT, before), (IPA, after)):
        figures, curves[name] = judged_lists(judge, model, reward, plan.best_of, plan.curve, pool)
        users |= {f"{name}{suffix}": values for suffix, values in figures.items()}
        users[name][METRIC] = metric_of(model, split, task, part)
    users[BEST] = judge.figures(judge.truth.best(after.longest_session)[0], after)
    found = JudgedRun(users, curves, time.perf_counter() - started)
    found.save(kept, about)
    return found


def judged_variant(
    plan: Plan, place: Place, variant: str, split: Split, task: Task
) -> dict[str, Values]:
    """Figures per validation user of a variant's most probable lists."""
    model = model_of(place.aligned(variant, plan.seeds[0]))
    assert model.reward_model is not None
    judges = {"model_reward": model.reward_model, "second_judge": second_judge(plan, place, split)}
    judge = Judge(truth_of(split, task, "valid"), judges)
    lists = model.session_codes(judge.truth.histories, best_of=1)[0]
    return {**judge.figures(lists, model), METRIC: metric_of(model, split, task, "valid")}


def metric_of(model: ListRecommender[Any], split: Split, task: Task, part: Asked) -> Values:
    """The metric of next items, per user."""
    found = evaluate(model, split, task, part, model=model.name).per_user[METRIC]
    return found.to_numpy().astype(np.float64)


def second_judge(plan: Plan, place: Place, split: Split) -> RewardModel:
    """A reward model of another seed that learnt from every second user; made once."""
    seed = SECOND_SEED
    asked = plan.recipe_of().make_model(seed, Path("unused"), False).config
    config = asked.alignment
    training = config.reward.training.model_copy(update={"seed": seed})
    settings = config.reward.model_copy(update={"training": training})
    about = {"split": split.hash, "settings": settings.model_dump(mode="json"), "users": "odd"}
    folder = place.folder / "second-judge"
    found = Judged.load(folder, about)
    if found is None:
        vectors = vectors_of(asked, split.train_histories(), split.dataset.catalog, None)
        found = train_reward_model(split, settings, users="odd", vectors=vectors)
        found.save(folder, about)
    return found.model


def print_iterations(name: str, run: RunDirectory) -> None:
    """What every iteration came to on validation users."""
    for one in run.alignment["iterations"]:
        told = ", ".join(f"{key} {value:.4f}" for key, value in one["figures"].items())
        kept = "" if one["kept"] else " (not kept)"
        print(f"{name}, {run.path.name}, iteration {one['number']}{kept}: {told}", flush=True)


def record(
    plan: Plan, place: Place, task: Task, split: Split, commit: str, results: Path
) -> SessionResult:
    """Judge all seeds on test users, and variants on validation users."""
    runs = runs_of(plan, place)
    parts: tuple[Asked, ...] = ("valid", "test")
    judged = {
        part: [judged_run(plan, place, seed, split, task, part) for seed in plan.seeds]
        for part in parts
    }
    model = model_of(place.aligned(None, plan.seeds[0]))
    for part in parts:
        control = control_figures(truth_of(split, task, part), split, model)
        for found in judged[part]:
            found.per_user[SAME] = control
    valid, test = ([found.per_user for found in judged[part]] for part in parts)
    ablations = {
        variant: judged_variant(plan, place, variant, split, task)
        for variant in plan.variants
        if (place.aligned(variant, plan.seeds[0]) / MARKER).is_file()
    }
    supervised = [RunDirectory(place.sft(seed)) for seed in plan.seeds]
    seconds = sum(found.seconds for part in parts for found in judged[part])
    seconds += sum(sum(run.info["seconds"].values()) for run in [*runs, *supervised])
    looked = looks(results, plan.name) or sum(looks(results, name) for name in plan.earlier)
    before, after, best = (_users(test, name, TRUE) for name in (SFT, IPA, BEST))
    gained = np.mean(after, axis=0) - np.mean(before, axis=0)
    return SessionResult(
        name=plan.name,
        task=task.name,
        dataset=split.dataset.name,
        dataset_fingerprint=split.dataset.fingerprint,
        split=split.hash,
        items=plan.recipe_of().make_model(1, Path("unused"), False).longest_session,
        seeds=plan.seeds,
        n_users=len(before[0]),
        systems=_systems(test),
        validation=_systems(valid),
        closed=share_of(gained, np.mean(best, axis=0) - np.mean(before, axis=0)),
        gain=share_of(gained, np.mean(before, axis=0)),
        ndcg_difference=difference(_users(test, IPA, METRIC), _users(test, SFT, METRIC)),
        best_of=_mean_curves([found.curves for found in judged["test"]]),
        ablations={
            name: {figure: figure_of([values]) for figure, values in figures.items()}
            for name, figures in ablations.items()
        },
        recipe=plan.recipe,
        commit=commit,
        test_runs=looked + 1,
        hardware=runs[0].info["hardware"],
        wall_seconds=round(seconds, 1),
    )


def looks(results: Path, name: str) -> int:
    """How often the test users of figures were looked at; 0 where there are none."""
    file = results / SESSIONS / f"{name}.json"
    return int(read_json(file)["test_runs"]) if file.is_file() else 0


def runs_of(plan: Plan, place: Place) -> list[RunDirectory]:
    """One aligned run per seed, each made by this very recipe."""
    recipe = plan.recipe_of()
    runs = [RunDirectory(place.aligned(None, seed)) for seed in plan.seeds]
    for run, seed in zip(runs, plan.seeds, strict=True):
        if not is_trained_by(run.info["recipe"], recipe) or run.info["seed"] != seed:
            raise ArtifactError(f"{run.path} was made by another recipe or seed; align it again.")
    return runs


def _users(seeds: list[PerUser], system: str, figure: str) -> list[Values]:
    return [found[system][figure] for found in seeds]


def _systems(seeds: list[PerUser]) -> dict[str, Any]:
    return {
        system: {name: figure_of(_users(seeds, system, name)) for name in figures}
        for system, figures in seeds[0].items()
    }


def _mean_curves(seeds: list[Curves]) -> Curves:
    return {
        system: {
            number: {
                name: round(float(np.mean([one[system][number][name] for one in seeds])), 4)
                for name in figures
            }
            for number, figures in curve.items()
        }
        for system, curve in seeds[0].items()
    }


if __name__ == "__main__":
    run_script(main)
