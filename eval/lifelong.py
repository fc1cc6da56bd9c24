"""Judge ways of keeping a RecLoRA up to date on a stream of time slices.

    python eval/lifelong.py eval/streams/simulate-small-reclora.yaml

The model is trained on the events before the stream. Every slice is judged before anything is
learnt from it. At its beginning, each way has done what it does with the events so far:

no update            gates of users are what they were when the stream began
refresh              gates are computed anew
pulled update        experts also learn the slice before, pulled to what they were, with replay
plain update         the same without the pull and without replay
full retraining      CTR model, experts and gates are trained anew on everything

Prompts tell the newest events in all of them. What updates forget is judged on the stretch before
the stream, which all have learnt, with gates from the events before that stretch. Written to
``eval/results/streams/NAME.json`` with intervals from resampling users.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field
from record import committed_state

from llmrec.data.dataset import Dataset
from llmrec.data.histories import Histories
from llmrec.data.named import load_dataset
from llmrec.data.splits import LabelledCases
from llmrec.errors import run_script
from llmrec.evaluation.judged_pairs import metric_draws
from llmrec.evaluation.tasks import load_task
from llmrec.recommenders.reclora import RecLoRA
from llmrec.recommenders.reclora.lifelong import ExpertUpdate, update_experts
from llmrec.recommenders.reclora.rows import JudgedRows, answered_events, at_most, rows_of_events
from llmrec.runs.environment import hardware
from llmrec.runs.recipe import Recipe, load_recipe
from llmrec.storage import write_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "eval" / "results" / "streams"
FROZEN, REFRESHED, PULLED, PLAIN, RETRAINED = (
    "no update",
    "refresh",
    "pulled update",
    "plain update",
    "full retraining",
)
WAYS = (FROZEN, REFRESHED, PULLED, PLAIN, RETRAINED)
METRICS = ("auc", "logloss")

Float = npt.NDArray[np.float64]


class StreamPlan(BaseModel):
    """What a plan file says; see the comments of the committed ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    first: float = Field(gt=0, lt=1)
    slices: int = Field(gt=0)
    pairs: int = Field(gt=0)
    seeds: tuple[int, ...]
    update: ExpertUpdate


class Stream:
    """A data set cut at moments, and what is judged in every slice."""

    def __init__(self, dataset: Dataset, plan: StreamPlan, liked_above: float) -> None:
        self.histories, self._liked_above = dataset.histories, liked_above
        times = self.histories.times
        assert times is not None
        shares = np.linspace(plan.first, 1, plan.slices + 1)
        self.moments = [int(np.quantile(times, s, method="higher")) for s in shares[:-1]]
        ends = [*self.moments[1:], int(times.max()) + 1]
        self.judged = [
            self._rows(begin, end, plan.pairs)
            for begin, end in zip(self.moments, ends, strict=True)
        ]
        width = (1 - plan.first) / plan.slices
        self.since = int(np.quantile(times, max(0.0, plan.first - width)))
        self.old = self._rows(self.since, self.moments[0], plan.pairs)

    def _rows(self, begin: int, end: int, most: int) -> JudgedRows:
        events = answered_events(self.histories, begin, end, self._liked_above)
        rng = np.random.default_rng(begin)
        return rows_of_events(self.histories, at_most(events, most, rng), 1, self._liked_above, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    plan = StreamPlan(**yaml.safe_load(arguments.plan.read_text(encoding="utf-8")))
    recipe = load_recipe(ROOT / plan.recipe)
    commit = committed_state(arguments.plan, ROOT / plan.recipe)
    started = time.perf_counter()
    dataset = load_dataset(load_task(recipe.task).dataset)
    stream = Stream(dataset, plan, recipe.model.settings["ctr"].get("liked_above", 3.0))
    runs = [Seed(recipe, dataset, stream, seed) for seed in plan.seeds]
    for run in runs:
        run.run(plan.update)
    found = {
        "stream": arguments.plan.stem,
        "task": recipe.task,
        "dataset_fingerprint": dataset.fingerprint,
        "recipe": plan.recipe,
        "update": plan.update.model_dump(mode="json"),
        "moments": stream.moments,
        "pairs": [len(rows) for rows in stream.judged],
        "seeds": list(plan.seeds),
        **figures(stream, runs),
        "commit": commit,
        "hardware": hardware(),
        "wall_seconds": round(time.perf_counter() - started, 1),
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"{arguments.plan.stem}.json"
    write_json(path, found)
    print(path)


class Seed:
    """All ways with one seed, carried through the stream.

    Attributes:
        scores: Probabilities of every way for every slice.
        old: Probabilities for the stretch before the stream, after the last slice.
        seconds: What keeping up took.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, stream: Stream, seed: int) -> None:
        self._recipe, self._dataset, self._stream, self._seed = recipe, dataset, stream, seed
        self._first = self._trained(stream.moments[0])
        self.scores: dict[str, list[Float]] = {}
        self.old: dict[str, Float] = {}
        self.seconds: dict[str, float] = dict.fromkeys(WAYS, 0.0)

    def run(self, update: ExpertUpdate) -> None:
        """Judge slice after slice, each way having done what it does before it."""
        stream, first = self._stream, self._first
        updates = {PULLED: update, PLAIN: update.model_copy(update={"mu": 0.0, "replay": 0.0})}
        updated = {name: copy_of(first) for name in updates}
        begun = stream.histories.before(stream.moments[0])
        newest = first
        for number, moment in enumerate(stream.moments):
            now = stream.histories.before(moment)
            if number:
                for name, model in updated.items():
                    with self._timed(name):
                        update_experts(model, now, stream.moments[number - 1], updates[name])
                with self._timed(RETRAINED):
                    newest = self._trained(moment)
            models = {FROZEN: first, REFRESHED: first, **updated, RETRAINED: newest}
            for name, model in models.items():
                gates_of = begun if name == FROZEN else now
                found = judge(model, stream.judged[number], gates_of)
                self.scores.setdefault(name, []).append(found)
            print(f"seed {self._seed}, slice {number + 1} of {len(stream.moments)}", flush=True)
        earlier = stream.histories.before(stream.since)
        for name, model in {FROZEN: first, **updated}.items():
            self.old[name] = judge(model, stream.old, earlier)

    def _trained(self, moment: int) -> RecLoRA:
        with tempfile.TemporaryDirectory() as folder:
            model: Any = self._recipe.make_model(self._seed, Path(folder), False)
            model.use_catalog(self._dataset.catalog).fit(self._stream.histories.before(moment))
        assert isinstance(model, RecLoRA)
        return model

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started


def copy_of(model: RecLoRA) -> RecLoRA:
    """The same model on a base model of its own."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "model")
        return RecLoRA.from_pretrained(Path(folder) / "model")


def judge(model: RecLoRA, rows: JudgedRows, gates_of: Histories) -> Float:
    """Probabilities for rows, with gates that users have from other histories.

    Args:
        model: Judges.
        rows: Prompts tell their histories.
        gates_of: What gates read; those who are not in it get the mean gate.
    """
    ranker = model.ranker
    asked = rows.histories.with_vocabulary(model.vocabulary)
    place = {user: row for row, user in enumerate(gates_of.user_ids.to_list())}
    found = np.array([place.get(user, -1) for user in rows.histories.user_ids.to_list()])
    known = model.gate_inputs(gates_of)
    inputs = np.where(found[:, None] >= 0, known[np.maximum(found, 0)], 0).astype(np.float32)
    lengths = np.where(found >= 0, gates_of.lengths[np.maximum(found, 0)], 0)
    weights = ranker.weights(inputs, lengths)
    beginnings = ranker.questions.beginnings(asked, rows.items)
    odds = ranker.judge.pairs(beginnings, rows.items, weights)
    return 1 / (1 + np.exp(-odds.astype(np.float64)))


def figures(stream: Stream, runs: list[Seed]) -> dict[str, Any]:
    """Each way's metrics by slice, and their mean beside that of no update at all."""
    cases = [cases_of(rows) for rows in stream.judged]
    ways: dict[str, Any] = {name: {} for name in WAYS}
    for metric in METRICS:
        judged = {name: _judged(metric, cases, [r.scores[name] for r in runs]) for name in WAYS}
        _, unchanged = judged[FROZEN]
        for name, (by_slice, draws) in judged.items():
            over = float(by_slice.mean() - judged[FROZEN][0].mean())
            ways[name][metric] = {
                "by_slice": by_slice.tolist(),
                "mean": float(by_slice.mean()),
                "ci95": interval(draws),
                "over_no_update": {"mean": over, "ci95": interval(draws - unchanged)},
            }
    for name in WAYS:
        ways[name]["seconds"] = round(float(np.mean([run.seconds[name] for run in runs])), 1)
    old = cases_of(stream.old)
    before = {
        name: {m: float(_judged(m, [old], [[r.old[name]] for r in runs])[0][0]) for m in METRICS}
        for name in runs[0].old
    }
    return {"ways": ways, "before_the_stream": before}


def _judged(
    metric: str, cases: list[LabelledCases], scores: list[list[Float]]
) -> tuple[Float, Float]:
    """``[slices]`` values and ``[draws]`` of their mean, averaged over seeds."""
    found = [
        [metric_draws(metric, c, s) for c, s in zip(cases, run, strict=True)] for run in scores
    ]
    values = np.mean([[value for value, _ in run] for run in found], axis=0)
    return values, np.mean([[drawn for _, drawn in run] for run in found], axis=(0, 1))


def cases_of(rows: JudgedRows) -> LabelledCases:
    """Rows as judged pairs."""
    return LabelledCases(rows.histories, rows.items, rows.labels.astype(np.int8), "test")


def interval(draws: Float) -> list[float]:
    """The middle 95 %."""
    return [float(end) for end in np.nanquantile(draws, [0.025, 0.975])]


if __name__ == "__main__":
    run_script(main)
