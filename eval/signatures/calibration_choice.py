"""How to calibrate: errors on subjects held out, again and again, of those that are not tested.

    python eval/signatures/calibration_choice.py eval/signatures/mcq.yaml

One LOS-Net per cell and its folds give every subject outside the test part a score by a network
that has not learnt from it; labels of the test part are left alone. The other figure is what can be
expected there: the error that calibrated probabilities would show on the tested records, given how
many there are, and given how much the untested subjects differ (``llmrec.signatures.decision.
ece_floor``). Written to ``eval/results/signatures/decisions/calibration.json``. Ten minutes on one
core. Needs ``LLMREC_DATA_HOME``.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from calibration_figures import OUTPUT, CalibrationCell, CalibrationFigures
from mcq import KEYS, load_mode
from reporting import limit_threads, without_test
from scipy.special import expit

from llmrec.errors import run_script
from llmrec.evaluation.metrics.pairs import ece
from llmrec.runs.environment import hardware, source_commit
from llmrec.runs.recipe import load_values
from llmrec.signatures.comparison import Comparison, compare_methods
from llmrec.signatures.decision.calibration import fit_calibration, group_weights
from llmrec.signatures.decision.ece_floor import ece_floor, shift_between_groups
from llmrec.storage import write_json

FEW, HELD_OUT = 6, 12  # subjects: as many as the calibration part and the test part have

Values = npt.NDArray[np.float64]
Curve = Callable[[Values], npt.NDArray[Any]]


@dataclass(frozen=True)
class CellScores:
    """Scores of a cell.

    Attributes:
        scores: ``[n]`` log-odds of the records that are not tested, each by a network that has not
            learnt from its subject.
        labels: ``[n]``.
        subjects: ``[n]``.
        tested: ``[m]`` log-odds of the records that are, whose labels are not here.
        tested_subjects: ``[m]``.
    """

    scores: Values
    labels: Values
    subjects: list[str]
    tested: Values
    tested_subjects: list[str]


def main() -> None:
    """Score the subjects of every cell, compare the ways to calibrate on them, write it all."""
    parser = argparse.ArgumentParser(description="Ways to calibrate, without the test part.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--cells", nargs="*", help="only these, as LLM-mode")
    parser.add_argument("--repeats", type=int, default=40, help="draws of subjects held out")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--commit", help="of the code, where there is no repository to ask")
    arguments = parser.parse_args()
    recipe = load_values(arguments.recipe, arguments.set, KEYS)
    limit_threads(1)
    found = {}
    for name in arguments.cells or [f"{a}-{b}" for a in recipe["files"] for b in recipe["modes"]]:
        found[name] = figures_of(outside_scores(recipe, name), arguments.repeats)
        print(f"{name}: {found[name].errors}", flush=True)
    figures = CalibrationFigures(
        figure="calibration",
        cells=found,
        repeats=arguments.repeats,
        recipe=str(arguments.recipe),
        commit=arguments.commit or source_commit() or "uncommitted",
        hardware=hardware(),
    )
    write_json(arguments.output, figures.model_dump(mode="json"))
    print(f"mean: {figures.mean_errors()}")


def outside_scores(recipe: dict[str, Any], name: str) -> CellScores:
    """Scores of a cell, those of the tested records by the network that judges them elsewhere."""
    llm, _, mode = name.rpartition("-")
    cells, split = load_mode(recipe, mode)
    signatures = cells[llm]
    found: Comparison = compare_methods(
        signatures, without_test(split), los_net=recipe["los_net"], baselines=[],
        seeds=recipe["seeds"][:1], shuffled=False, folds=recipe["calibration_folds"], draws=1,
    )  # fmt: skip
    scores, parts = found.scores["los_net"], found.parts
    assert scores.learn is not None
    pairs = [
        (scores.learn, parts.learn),
        (scores.valid, parts.valid),
        (scores.test, parts.test),  # the calibration part stands in
    ]
    tested = signatures.take(split.rows("test", signatures.groups))
    return CellScores(
        np.concatenate([one[0] for one, _ in pairs]),
        np.concatenate([part.labels for _, part in pairs]).astype(np.float64),
        [subject for _, part in pairs for subject in part.groups],
        scores.models[0].predict_logit(tested.records).astype(np.float64),
        tested.groups,
    )


def figures_of(cell: CellScores, repeats: int) -> CalibrationCell:
    """Errors of all ways on untested subjects, and what to expect on the tested ones."""
    weights = group_weights(cell.subjects)
    fitted = fit_calibration(cell.scores, cell.labels, "isotonic", weights)
    shift = shift_between_groups(cell.labels, fitted(cell.scores), cell.subjects)
    expected = ece_floor(fitted(cell.tested))
    with_shift = ece_floor(fitted(cell.tested), cell.tested_subjects, shift)
    return CalibrationCell(
        errors=errors_of(cell.scores, cell.labels, cell.subjects, repeats),
        shift=round(shift, 4),
        tested=len(cell.tested),
        tested_subjects=len(set(cell.tested_subjects)),
        floor=expected.rounded(),
        floor_with_shift=with_shift.rounded(),
    )


def errors_of(
    scores: Values, labels: Values, subjects: list[str], repeats: int
) -> dict[str, float]:
    """Mean calibration error of every way on subjects held out."""
    codes = np.unique(subjects, return_inverse=True)[1]
    found: dict[str, list[float]] = {}
    for seed in range(repeats):
        drawn = np.random.default_rng([seed, 29]).permutation(int(codes.max()) + 1)
        out, rest = np.isin(codes, drawn[:HELD_OUT]), drawn[HELD_OUT:]
        for way, calibration in _ways(scores, labels, codes, rest):
            error = ece(labels[out], calibration(scores[out]))
            found.setdefault(way, []).append(error)
    return {way: round(float(np.mean(errors)), 5) for way, errors in found.items()}


def _ways(
    scores: Values, labels: Values, codes: npt.NDArray[np.int64], rest: npt.NDArray[np.int64]
) -> Iterator[tuple[str, Curve]]:
    few, every = np.isin(codes, rest[:FEW]), np.isin(codes, rest)
    alike = group_weights(codes[every].tolist())
    yield "Platt on few subjects", fit_calibration(scores[few], labels[few])
    yield "Platt on all", fit_calibration(scores[every], labels[every])
    sigmoid = fit_calibration(scores[every], labels[every], "platt", alike)
    yield "Platt, subjects alike", sigmoid
    steps = fit_calibration(scores[every], labels[every], "isotonic", alike)
    yield "isotonic, subjects alike", steps
    yield "mean of the last two", lambda z: (sigmoid(z) + steps(z)) / 2
    yield "beta, subjects alike", _beta(scores[every], labels[every], alike)


def _beta(scores: Values, labels: Values, weights: Values) -> Curve:
    """Logistic regression on log p and -log (1 - p) (Kull et al. 2017)."""
    from sklearn.linear_model import LogisticRegression

    def logs(z: Values) -> Values:
        p = np.clip(expit(z), 1e-6, 1 - 1e-6)
        return np.stack([np.log(p), -np.log1p(-p)], axis=1)

    fitted = LogisticRegression(C=1e4).fit(logs(scores), labels, sample_weight=weights)
    return lambda z: np.asarray(fitted.predict_proba(logs(z))[:, 1])


if __name__ == "__main__":
    run_script(main)
