"""From the scores of a plan's runs to committed tables and results; see ``judged_controls.py``."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from judged_plan import ROOT, Choice, Plan, folder_of, settled
from record import committed_state, is_trained_by

from llmrec.data.histories import Histories, Origin
from llmrec.data.named import load_dataset
from llmrec.data.splits import LabelledCases, Split
from llmrec.errors import ArtifactError
from llmrec.evaluation.ablation import ABLATIONS, Ablation, Difference, Variant, write_ablation
from llmrec.evaluation.harness import evaluate
from llmrec.evaluation.judged_pairs import metric_draws
from llmrec.evaluation.results import SeedFigure, make_result, write_result
from llmrec.evaluation.significance import holm
from llmrec.evaluation.tasks import Task
from llmrec.storage import read_json

RESULTS = ROOT / "eval" / "results"
ABOUT = "about.json"
Scores = npt.NDArray[np.float64]


class StoredScores:
    """A recommender that answers with scores kept from a training, in the order of the pairs."""

    def __init__(self, split: Split, seen: list[Origin], scores: Scores) -> None:
        self.vocabulary, self.seen = split.dataset.item_vocabulary, seen
        self._scores, self._next = np.clip(scores, 0, 1), 0

    def score_pairs(self, histories: Histories, items: Any) -> Scores:
        """The next scores."""
        first, self._next = self._next, self._next + len(histories)
        return self._scores[first : self._next]


def record(plan: Plan, path: Path, runs: Path) -> list[Path]:
    """Judge all scores and write the tables and results."""
    commit = committed_state(path, *plan.recipes)
    task = plan.task
    split = task.split(load_dataset(task.dataset))
    scores = {
        part: {c.name: scores_of(plan, runs, c, part, split, task) for c in plan.choices.values()}
        for part in ("valid", "test")
    }
    abouts = {
        name: [read_json(folder_of(runs, choice.of or name, s) / ABOUT) for s in plan.seeds]
        for name, choice in plan.choices.items()
        if not choice.oracle
    }
    for name, found in abouts.items():
        require_same_recipe(plan, plan.choices[plan.choices[name].of or name], found, runs)
    written = [
        write_table(plan, table, split, scores, abouts, commit, task) for table in plan.tables
    ]
    own = [choice for choice in plan.choices.values() if choice.result is not None]
    return written + [write_own(plan, c, split, task, scores, abouts, commit) for c in own]


def scores_of(
    plan: Plan, runs: Path, choice: Choice, part: str, split: Split, task: Task
) -> Scores:
    """``[seeds, pairs]`` probabilities."""
    if choice.oracle:
        from llmrec.data.simulator import simulate

        cases = split.labelled_cases(part)  # type: ignore[arg-type]
        found = simulate(task.dataset).oracle.score_pairs(cases.histories, cases.items)
        return np.repeat(found[None].astype(np.float64), len(plan.seeds), axis=0)
    folders = [folder_of(runs, choice.of or choice.name, seed) for seed in plan.seeds]
    return np.stack(
        [np.load(f / f"{part}.{choice.output}.npy").astype(np.float64) for f in folders]
    )


def require_same_recipe(
    plan: Plan, choice: Choice, abouts: list[dict[str, Any]], runs: Path
) -> None:
    wanted = plan.recipe_of(choice, settled(plan, choice, runs))
    for about in abouts:
        if not is_trained_by(about["recipe"], wanted):
            raise ArtifactError(f"{choice.name} was trained with other settings; train it again.")


def write_table(
    plan: Plan,
    table: dict[str, Any],
    split: Split,
    scores: dict[str, dict[str, Scores]],
    abouts: dict[str, list[dict[str, Any]]],
    commit: str,
    task: Task,
) -> Path:
    """One metric over one group of pairs."""
    metric = table["metric"]
    figures: dict[str, dict[str, SeedFigure]] = {}
    draws: dict[str, Scores] = {}
    for part in ("valid", "test"):
        cases, rows = group_of(split, part, table)
        for name, found in scores[part].items():
            judged = [metric_draws(metric, cases, seed[rows]) for seed in found]
            figures.setdefault(name, {})[part] = seed_figure(judged)
            draws[name] = np.mean([drawn for _, drawn in judged], axis=0)
    reference = next(iter(plan.choices))
    others = [name for name in plan.choices if name != reference]
    differences = {name: draws[name] - draws[reference] for name in others}
    corrected = dict(zip(others, holm([two_sided(d) for d in differences.values()]), strict=True))
    variants = [
        Variant(
            name=name,
            overrides=overrides_of(choice, abouts),
            figure=figures[name]["test"],
            validation=figures[name]["valid"],
            difference=None
            if name == reference
            else difference(figures, name, reference, differences[name], float(corrected[name])),
            seconds=0.0 if name not in abouts else mean_seconds(abouts[name]),
        )
        for name, choice in plan.choices.items()
    ]
    suffix = table.get("suffix", "")
    name = f"{plan.name}{'-' if suffix else ''}{suffix}"
    earlier = RESULTS / ABLATIONS / f"{name}.json"
    ablation = Ablation(
        name=name,
        task=task.name,
        metric=f"{metric} ({table['group']})" if "group" in table else metric,
        recipe=plan.choices[reference].recipe,
        seeds=plan.seeds,
        variants=tuple(variants),
        n_users=group_of(split, "test", table)[0].histories.user_ids.n_unique(),
        commit=commit,
        test_runs=1 + (read_json(earlier)["test_runs"] if earlier.is_file() else 0),
        hardware=next(iter(abouts.values()))[0]["hardware"],
    )
    return write_ablation(ablation, RESULTS)


def group_of(split: Split, part: str, table: dict[str, Any]) -> tuple[LabelledCases, Any]:
    """The pairs of a table's group, and which of the part's pairs they are."""
    cases = split.labelled_cases(part)  # type: ignore[arg-type]
    rows = np.arange(len(cases))
    if "events" in table:
        least, most = table["events"]
        lengths = cases.histories.lengths
        rows = rows[(lengths >= least) & (lengths <= most)]
    frame = split.dataset.interactions.frame
    in_part = np.flatnonzero(split.parts == {"valid": 1, "test": 2}[part])
    for column, value in table.get("where", {}).items():
        rows = rows[frame[column].to_numpy()[in_part[rows]] == value]
    chosen = cases.histories.take(rows)
    return LabelledCases(chosen, cases.items[rows], cases.labels[rows], cases.part), rows


def seed_figure(judged: list[tuple[float, Scores]]) -> SeedFigure:
    values = [value for value, _ in judged]
    ends = np.nanquantile(np.mean([drawn for _, drawn in judged], axis=0), [0.025, 0.975])
    interval = (float(ends[0]), float(ends[1]))
    return SeedFigure(mean=float(np.mean(values)), ci95=interval, per_seed=tuple(values))


def difference(
    figures: dict[str, dict[str, SeedFigure]],
    name: str,
    reference: str,
    drawn: Scores,
    p: float,
) -> Difference:
    ends = np.nanquantile(drawn, [0.025, 0.975])
    mean = figures[name]["test"].mean - figures[reference]["test"].mean
    return Difference(mean=mean, ci95=(float(ends[0]), float(ends[1])), p=p)


def two_sided(drawn: Scores) -> float:
    """Share of resamples on the other side of 0, doubled; one resample counts as there."""
    known = drawn[np.isfinite(drawn)]
    tail = min((known <= 0).mean(), (known >= 0).mean())
    return float(min(1.0, 2 * max(tail, 1 / max(known.size, 1))))


def overrides_of(choice: Choice, abouts: dict[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    """What sets a variant apart, and what its grid has settled."""
    if choice.trains:
        return tuple(abouts[choice.name][0]["overrides"])
    return choice.overrides


def mean_seconds(abouts: list[dict[str, Any]]) -> float:
    return round(float(np.mean([about["seconds"] for about in abouts])), 1)


def write_own(
    plan: Plan,
    choice: Choice,
    split: Split,
    task: Task,
    scores: dict[str, dict[str, Scores]],
    abouts: dict[str, list[dict[str, Any]]],
    commit: str,
) -> Path:
    """A variant's figures as a result of its own."""
    recipe = plan.recipe_of(choice)
    name, found = recipe.model.name, abouts[choice.name]
    judged = {
        part: [
            evaluate(
                StoredScores(split, [Origin(**o) for o in about["seen"]], values),  # type: ignore[arg-type]
                split,
                task,
                part,  # type: ignore[arg-type]
                model=name,
                variant=choice.result or "",
            )
            for about, values in zip(found, scores[part][choice.name], strict=True)
        ]
        for part in ("valid", "test")
    }
    own = f"{name}--{choice.result}" if choice.result else name
    earlier = RESULTS / task.name / f"{own}.json"
    result = make_result(
        judged["test"],
        plan.seeds,
        recipe=choice.recipe,
        commit=commit,
        test_runs=1 + (read_json(earlier)["test_runs"] if earlier.is_file() else 0),
        hardware=found[0]["hardware"],
        wall_seconds=round(sum(a["seconds"] + a["scoring_seconds"] for a in found), 1),
        validation=judged["valid"],
    )
    return write_result(result, RESULTS)
