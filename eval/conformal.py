"""Do the promises of selective answering and of risk control hold, and what do they cost?

    python eval/conformal.py                 # about six minutes on one core
    python eval/conformal.py --draws 50 --splits 10 --small   # a try

Simulated: items whose error rate is a known function of their risk, so that the true error rate
behind a threshold is known exactly; three shapes, one of them built against the rule. Real: the
answer letters of ``mcq-logprobs``, one cell per LLM and mode. LOS-Net learns from half of the
subjects; the items of the other half are split at random, again and again, into items to calibrate
on and items that the promise is about. The best probability alone (p-max) goes through the same.

The promise of selective answering is about the source of the items, so a split breaks it where the
error rate over the whole half is above alpha; the rate over the items not calibrated on, which has
noise of its own, is recorded beside it. Written to
``eval/results/signatures/decisions/conformal.json``.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict
from record import committed_state

from llmrec.errors import ConfigError, LlmrecError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.runs.environment import hardware
from llmrec.signatures.decision.conformal import bound_errors
from llmrec.signatures.decision.selective import certify
from llmrec.storage import write_json

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "eval" / "results" / "signatures" / "decisions" / "conformal.json"
RECIPE = ROOT / "eval" / "signatures" / "mcq-mistral-7b.yaml"
ALPHAS = (0.05, 0.1, 0.2)
DELTA = 0.05
MEMBERS = 5
"""Networks whose logits are averaged: the order of the surest items is that of no single draw."""
MODELS = ("Mistral-7B-instruct-v0.3", "Yi-1.5-9B-Chat", "gpt4o-mini", "llama3.1-8B")
MODES = ("Direct", "afterThinking")

Values = npt.NDArray[np.float64]


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


class ConformalFigures(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    figure: Literal["conformal"]
    delta: float
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
    parser.add_argument("--small", action="store_true", help="one cell, few epochs")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--test-runs", type=int, default=1, help="looks at the held-out subjects")
    parser.add_argument("--commit", help="of an exported tree that has no git")
    parser.add_argument("--risks", type=Path, help="folder to keep the risks of real items in")
    arguments = parser.parse_args()
    home = os.environ.get("LLMREC_DATA_HOME")
    if not home:
        raise ConfigError("set LLMREC_DATA_HOME to the folder with mcq-logprobs/.")
    files = RECIPE, Path(__file__)
    commit = "a try"
    if not arguments.small:
        commit = committed_state(*files, exported_from=arguments.commit)
    rows = list(simulated(arguments.draws))
    for cell in cells(Path(home), arguments.risks, arguments.small):
        rows += real(cell, arguments.splits, arguments.n)
        print(f"{cell.name}: done", flush=True)
    found = ConformalFigures(
        figure="conformal",
        delta=DELTA,
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

GRID = (np.arange(20_000) + 0.5) / 20_000


@dataclass(frozen=True)
class Shape:
    """Items with risks that are uniform between 0 and 1.

    Attributes:
        name: What it is called.
        error: Probability that an item is wrong, given its risk.
    """

    name: str
    error: Callable[[Values], Values]


SHAPES = (
    Shape("calibrated", lambda r: 0.6 * r**2),
    Shape("at the budget", lambda r: np.where(r < 0.5, 0.05, 0.05 + 0.5 * (r - 0.5))),
    # errors lie where the walk begins, and further on there are none
    Shape("adverse", lambda r: np.where((r > 0.08) & (r < 0.2), 0.3, 0.03)),
)


def simulated(draws: int, sizes: tuple[int, ...] = (200, 1000)) -> Iterator[Row]:
    """Rows of simulated items, whose true error rate behind a threshold is an integral."""
    for shape in SHAPES:
        wrong = np.cumsum(shape.error(GRID)) / GRID.size

        def truth(t: float, wrong: Values = wrong) -> tuple[float, float]:
            return t, float(np.interp(t, GRID, wrong))

        for n in sizes:
            for alpha in ALPHAS:
                rng = np.random.default_rng([n, int(1000 * alpha)])
                outcomes = []
                for _ in range(draws):
                    risks = rng.random(n)
                    labels = rng.random(n) < shape.error(risks)
                    outcomes.append(_outcome(risks, labels, alpha, truth))
                yield from _rows("simulated", shape.name, "drawn", alpha, n, outcomes)


# ---- real items ----


@dataclass(frozen=True)
class Cell:
    """Items of one LLM and mode: labels and the scores that order them."""

    name: str
    labels: Values
    scores: dict[str, Values]


def cells(home: Path, kept: Path | None, small: bool) -> Iterator[Cell]:
    """The cells of ``mcq-logprobs``; LOS-Net is trained for each."""
    for model in MODELS[:1] if small else MODELS:
        for mode in MODES[:1] if small else MODES:
            path = None if kept is None else kept / f"{model}-{mode}.npz"
            if path is not None and path.is_file():
                saved = dict(np.load(path))
            else:
                saved = _scored(home / "mcq-logprobs" / f"{model}.csv.gz", mode, small)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    np.savez(path, **saved)
            labels = saved.pop("labels")
            yield Cell(f"{model}, {mode}", labels, saved)


def _scored(path: Path, mode: str, small: bool) -> dict[str, Any]:
    from llmrec.signatures.los_net import LOSNet
    from llmrec.signatures.los_net.holdout import hold_out
    from llmrec.signatures.readers import read_token_table

    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    read = read_token_table(path, k=recipe["k"], vocab_size=recipe["vocab_size"], group="subject")
    found = read.set.where(pl.col("mode") == mode)
    if read.bad:
        print(f"{len(read.bad)} lines left out, the first: {read.bad[0]}", file=sys.stderr)
    learn, rest = hold_out(found.labels, found.groups, 0.5, recipe["seed"])
    train, held = found.take(learn), found.take(rest)
    detector = {**recipe["detector"], "members": MEMBERS}
    if small:
        training = {**detector["training"], "epochs": 2}
        detector = {**detector, "members": 1, "training": training}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, about nested tensors
        model = LOSNet(**detector).fit(train.records, train.labels, train.groups)
    best = np.array([record.topk_logprobs[0, 0] for record in held.records], dtype=np.float64)
    learned = model.predict_logit(held.records).astype(np.float64)
    return {"labels": held.labels.astype(np.float64), "LOS-Net": learned, "p-max": -best}


def real(cell: Cell, splits: int, n: int) -> Iterator[Row]:
    """Rows of one cell; every score sees the same splits."""
    by_score = {
        score: _of_score(risks, cell.labels, splits, n) for score, risks in cell.scores.items()
    }
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
                yield row.model_copy(update=changes)


def _of_score(
    risks: Values, labels: Values, splits: int, n: int
) -> dict[float, list[dict[str, Any]]]:
    """Outcomes of all splits by target error."""
    order = np.argsort(risks, kind="stable")
    levels, wrong = risks[order], np.append(0.0, np.cumsum(labels[order]))

    def truth(t: float) -> tuple[float, float]:
        answered = int(np.searchsorted(levels, t, side="right"))
        return answered / levels.size, float(wrong[answered]) / levels.size

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


# ---- what both have in common ----


def _outcome(
    risks: Values,
    labels: npt.ArrayLike,
    alpha: float,
    truth: Callable[[float], tuple[float, float]],
) -> dict[str, Any]:
    """Threshold, true coverage and true error of both rules on one sample.

    ``truth`` gives, for a threshold, the shares of all items answered, and answered and wrong.
    """
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
    try:
        main()
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
