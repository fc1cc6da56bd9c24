"""Do the promises of selective answering and of risk control hold, and what do they cost?

    python eval/conformal.py                 # about eight minutes on one core
    python eval/conformal.py --draws 50 --splits 10 --resamples 10 --small   # a try

Simulated: items whose error rate is a known function of their risk, so that the true error rate
behind a threshold is known exactly; three shapes, one of them built against the rule. Real: the
answer letters of ``mcq-logprobs``, one cell per LLM and mode. LOS-Net learns from half of the
subjects; the items of the other half are split at random, again and again, into items to calibrate
on and items that the promise is about. The best probability alone (p-max) goes through the same.

The promise of selective answering is about the source of the items, so a split breaks it where the
error rate over the whole half is above alpha; the rate over the items not calibrated on, which has
noise of its own, is recorded beside it. Where walks start was chosen by ``conformal_starts.py``,
without those subjects. Whether LOS-Net answers more than p-max is judged by resampling the
subjects, a split of each resample for both. Written to
``eval/results/signatures/decisions/conformal.json``.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from conformal_items import GRID, MEMBERS, RECIPE, ROOT, SHAPES, Cell, Shape, Values, cells
from pydantic import BaseModel, ConfigDict
from record import committed_state

from llmrec.data.named import data_home
from llmrec.errors import run_script
from llmrec.evaluation.metrics.pairs import auc
from llmrec.runs.environment import hardware
from llmrec.signatures.decision.conformal import bound_errors
from llmrec.signatures.decision.selective import STARTS, certify
from llmrec.storage import write_json

OUTPUT = ROOT / "eval" / "results" / "signatures" / "decisions" / "conformal.json"
ALPHAS = (0.05, 0.1, 0.2)
DELTA = 0.05
RESAMPLED_SPLITS = 5
"""Splits of every resample of subjects, so that their noise adds little to that of subjects."""

Truth = Callable[[float], tuple[float, float]]
"""For a threshold, the shares of all items that are answered, and answered and wrong."""


class Row(BaseModel):
    """One setting of one figure.

    Attributes:
        source: ``simulated`` or ``real``.
        name: Shape, or LLM and mode.
        score: What orders the items.
        rule: ``selective``: error rate among what is answered, by ``certify``; ``bounded``: errors
            over all items, by ``bound_errors``.
        alpha: Target error.
        n: Items calibrated on.
        draws: Samples or splits.
        certified: Share of them in which a threshold was found.
        broken: Share of them whose true error is above alpha; for ``bounded``, whose promise is
            about the mean, this is information only.
        broken_on_rest: The same judged by the items not calibrated on; None where simulated.
        mean_error: Mean over draws of the true error, none certified counting as none.
        coverage: Mean share of items answered.
        auc: Of the score, where real.
        above_p_max: Mean difference of the coverage to that of p-max on the same splits.
        above_p_max_error: Its standard error over splits; they share items, so it is that of the
            simulation and not that of the data.
        above_p_max_ci95: 95 % interval of that difference from resampling subjects.
    """

    model_config = ConfigDict(extra="forbid")

    source: Literal["simulated", "real"]
    name: str
    score: str
    rule: Literal["selective", "bounded"]
    alpha: float
    n: int
    draws: int
    certified: float
    broken: float
    broken_on_rest: float | None = None
    mean_error: float
    coverage: float
    auc: float | None = None
    above_p_max: float | None = None
    above_p_max_error: float | None = None
    above_p_max_ci95: tuple[float, float] | None = None


class ConformalFigures(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    figure: Literal["conformal"]
    delta: float
    starts: tuple[float, ...]
    rows: list[Row]
    recipe: str
    members: int
    test_runs: int
    commit: str
    hardware: str


def main() -> None:
    """Read the arguments, make the figures, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000, help="simulated samples")
    parser.add_argument("--splits", type=int, default=200, help="random splits of real logs")
    parser.add_argument("--n", type=int, default=1000, help="real items to calibrate on")
    parser.add_argument("--resamples", type=int, default=500, help="of subjects, for intervals")
    parser.add_argument("--small", action="store_true", help="one cell, few epochs")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--test-runs", type=int, default=1, help="looks at the held-out subjects")
    parser.add_argument("--commit", help="of an exported tree that has no git")
    parser.add_argument("--risks", type=Path, help="folder to keep the risks of real items in")
    arguments = parser.parse_args()
    home = data_home()
    files = RECIPE, Path(__file__), Path(__file__).with_name("conformal_items.py")
    commit = "a try"
    if not arguments.small:
        commit = committed_state(*files, exported_from=arguments.commit)
    rows = list(simulated(arguments.draws))
    for cell in cells(home, "held out", arguments.risks, arguments.small):
        rows += real(cell, arguments.splits, arguments.n, arguments.resamples)
        print(f"{cell.name}: done", flush=True)
    found = ConformalFigures(
        figure="conformal",
        delta=DELTA,
        starts=STARTS,
        rows=rows,
        recipe=str(RECIPE.relative_to(ROOT)),
        members=1 if arguments.small else MEMBERS,
        test_runs=arguments.test_runs,
        commit=commit,
        hardware=hardware(),
    )
    write_json(arguments.output, found.model_dump(mode="json"))
    print(f"saved in {arguments.output}")


# ---- simulated items ----


def simulated(draws: int, sizes: tuple[int, ...] = (200, 1000)) -> Iterator[Row]:
    """Rows of simulated items, whose true error rate behind a threshold is an integral."""
    for shape in SHAPES:
        truth = truth_of_shape(shape)
        for n in sizes:
            for alpha in ALPHAS:
                rng = np.random.default_rng([n, int(1000 * alpha)])
                outcomes = []
                for _ in range(draws):
                    risks = rng.random(n)
                    labels = rng.random(n) < shape.error(risks)
                    outcomes.append(_outcome(risks, labels, alpha, truth))
                yield from _rows("simulated", shape.name, "drawn", alpha, n, outcomes)


def truth_of_shape(shape: Shape) -> Truth:
    """Shares by integration."""
    wrong = np.cumsum(shape.error(GRID)) / GRID.size
    return lambda t: (t, float(np.interp(t, GRID, wrong)))


# ---- real items ----


def real(cell: Cell, splits: int, n: int, resamples: int) -> Iterator[Row]:
    """Rows of one cell; every score sees the same splits."""
    by_score = {
        score: _of_score(risks, cell.labels, splits, n) for score, risks in cell.scores.items()
    }
    intervals = coverage_intervals(cell, resamples, n)
    for score, by_alpha in by_score.items():
        quality = round(auc(cell.labels, cell.scores[score]), 4)
        for alpha, outcomes in by_alpha.items():
            for row in _rows("real", cell.name, score, alpha, n, outcomes):
                own = [outcome[row.rule][1] for outcome in outcomes]
                other = [outcome[row.rule][1] for outcome in by_score["p-max"][alpha]]
                apart = np.array(own) - np.array(other)
                changes: dict[str, Any] = {"auc": quality}
                if score != "p-max":
                    changes["above_p_max"] = _rounded(apart)
                    changes["above_p_max_error"] = _rounded(apart.std() / np.sqrt(apart.size))
                if score != "p-max" and row.rule == "selective":
                    changes["above_p_max_ci95"] = intervals[alpha]
                yield row.model_copy(update=changes)


def _of_score(
    risks: Values, labels: Values, splits: int, n: int
) -> dict[float, list[dict[str, Any]]]:
    """Outcomes of all splits by target error."""
    truth = truth_of_items(risks, labels)
    found: dict[float, list[dict[str, Any]]] = {}
    for alpha in ALPHAS:
        rng = np.random.default_rng(0)
        found[alpha] = []
        for _ in range(splits):
            drawn = rng.permutation(risks.size)
            use, rest = drawn[:n], drawn[n:]
            outcome = _outcome(risks[use], labels[use], alpha, truth)
            found[alpha].append(outcome | _on_rest(outcome, risks[rest], labels[rest], alpha))
    return found


def truth_of_items(risks: Values, labels: Values) -> Truth:
    """Shares by counting."""
    order = np.argsort(risks, kind="stable")
    levels, wrong = risks[order], np.append(0.0, np.cumsum(labels[order]))

    def truth(t: float) -> tuple[float, float]:
        answered = int(np.searchsorted(levels, t, side="right"))
        return answered / levels.size, float(wrong[answered]) / levels.size

    return truth


def coverage_intervals(
    cell: Cell, resamples: int, n: int, starts: Sequence[float] = STARTS
) -> dict[float, tuple[float, float]]:
    """By target error, the interval of LOS-Net's coverage less that of p-max.

    Subjects are drawn with replacement, and every resample is split as the items themselves are,
    alike for both scores.
    """
    rows = [np.flatnonzero(cell.subjects == one) for one in np.unique(cell.subjects)]
    apart: dict[float, list[float]] = {alpha: [] for alpha in ALPHAS}
    for seed in range(resamples):
        rng = np.random.default_rng([seed, 31])
        drawn = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        splits = [rng.permutation(drawn.size)[:n] for _ in range(RESAMPLED_SPLITS)]
        labels = cell.labels[drawn]
        own, other = (
            _mean_coverages(cell.scores[score][drawn], labels, splits, starts)
            for score in ("LOS-Net", "p-max")
        )
        for alpha in ALPHAS:
            apart[alpha].append(own[alpha] - other[alpha])
    return {alpha: _interval(values) for alpha, values in apart.items()}


def _mean_coverages(
    risks: Values,
    labels: Values,
    splits: Sequence[npt.NDArray[np.int64]],
    starts: Sequence[float],
) -> dict[float, float]:
    truth = truth_of_items(risks, labels)
    found = {}
    for alpha in ALPHAS:
        limits = [
            certify(risks[use], labels[use], alpha, DELTA, starts=starts).threshold
            for use in splits
        ]
        covered = [0.0 if limit is None else truth(limit)[0] for limit in limits]
        found[alpha] = float(np.mean(covered))
    return found


def _interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return round(float(low), 5), round(float(high), 5)


# ---- what both have in common ----


def _outcome(
    risks: Values,
    labels: npt.ArrayLike,
    alpha: float,
    truth: Truth,
) -> dict[str, Any]:
    """Threshold, true coverage and true error of both rules on one sample."""
    selective = certify(risks, labels, alpha, DELTA).threshold
    bounded = bound_errors(risks, labels, alpha).threshold
    found: dict[str, Any] = {}
    for rule, threshold in (("selective", selective), ("bounded", bounded)):
        coverage, wrong = (0.0, 0.0) if threshold is None else truth(threshold)
        error = wrong / max(coverage, 1e-12) if rule == "selective" else wrong
        found[rule] = (threshold, coverage, error)
    return found


def _on_rest(
    outcome: dict[str, Any], risks: Values, labels: Values, alpha: float
) -> dict[str, Any]:
    found = {}
    for rule, (threshold, _, _) in outcome.items():
        answered = risks <= (-np.inf if threshold is None else threshold)
        divisor = max(int(answered.sum()), 1) if rule == "selective" else risks.size
        found[f"{rule} on rest"] = labels[answered].sum() / divisor > alpha
    return found


def _rows(
    source: Literal["simulated", "real"],
    name: str,
    score: str,
    alpha: float,
    n: int,
    outcomes: list[dict[str, Any]],
) -> Iterator[Row]:
    rules: tuple[Literal["selective", "bounded"], ...] = ("selective", "bounded")
    for rule in rules:
        errors = np.array([outcome[rule][2] for outcome in outcomes])
        rest = [outcome[f"{rule} on rest"] for outcome in outcomes if f"{rule} on rest" in outcome]
        yield Row(
            source=source,
            name=name,
            score=score,
            rule=rule,
            alpha=alpha,
            n=n,
            draws=len(outcomes),
            certified=_rounded([outcome[rule][0] is not None for outcome in outcomes]),
            broken=_rounded(errors > alpha + 1e-9),
            broken_on_rest=_rounded(rest) if rest else None,
            mean_error=_rounded(errors),
            coverage=_rounded([outcome[rule][1] for outcome in outcomes]),
        )


def _rounded(values: npt.ArrayLike) -> float:
    return round(float(np.mean(values)), 5)


if __name__ == "__main__":
    run_script(main)
