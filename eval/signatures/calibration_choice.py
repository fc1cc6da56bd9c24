"""How to calibrate: errors on subjects held out, again and again, of those that are not tested.

    python eval/signatures/calibration_choice.py eval/signatures/mcq.yaml

One LOS-Net per cell and its folds give every subject outside the test part a score by a network
that has not learnt from it; the test part is left alone. Ten minutes on one core. Printed are mean
calibration errors by cell, and over all. Needs ``LLMREC_DATA_HOME``.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mcq import KEYS, load_mode
from reporting import limit_threads, without_test

from llmrec.errors import LlmrecError
from llmrec.evaluation.metrics.pairs import ece
from llmrec.runs.recipe import load_values
from llmrec.signatures.comparison import Comparison, compare_methods
from llmrec.signatures.decision.calibration import Calibration, fit_calibration, group_weights

FEW, HELD_OUT = 6, 12  # subjects: as many as the calibration part and the test part have

Values = npt.NDArray[np.float64]


def main() -> None:
    """Score the subjects of every cell and compare the ways to calibrate on them."""
    parser = argparse.ArgumentParser(description="Ways to calibrate, without the test part.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--cells", nargs="*", help="only these, as LLM-mode")
    parser.add_argument("--repeats", type=int, default=40, help="draws of subjects held out")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    recipe = load_values(arguments.recipe, arguments.set, KEYS)
    limit_threads(1)
    found = []
    for name in arguments.cells or [f"{a}-{b}" for a in recipe["files"] for b in recipe["modes"]]:
        found.append(errors_of(*outside_scores(recipe, name), arguments.repeats))
        print(_line(name, found[-1]), flush=True)
    print(_line("mean", {way: float(np.mean([one[way] for one in found])) for way in found[0]}))


def outside_scores(recipe: dict[str, Any], name: str) -> tuple[Values, Values, list[str]]:
    """Log-odds, labels and subjects of the records of a cell that are not tested."""
    llm, _, mode = name.rpartition("-")
    cells, split = load_mode(recipe, mode)
    found: Comparison = compare_methods(
        cells[llm], without_test(split), los_net=recipe["los_net"], baselines=[],
        seeds=recipe["seeds"][:1], shuffled=False, folds=recipe["calibration_folds"], draws=1,
    )  # fmt: skip
    scores, parts = found.scores["los_net"], found.parts
    assert scores.learn is not None
    pairs = [
        (scores.learn, parts.learn),
        (scores.valid, parts.valid),
        (scores.test, parts.test),  # the calibration part stands in
    ]
    return (
        np.concatenate([one[0] for one, _ in pairs]),
        np.concatenate([part.labels for _, part in pairs]).astype(np.float64),
        [subject for _, part in pairs for subject in part.groups],
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
    return {way: float(np.mean(errors)) for way, errors in found.items()}


def _ways(
    scores: Values, labels: Values, codes: npt.NDArray[np.int64], rest: npt.NDArray[np.int64]
) -> Iterator[tuple[str, Calibration]]:
    few, every = np.isin(codes, rest[:FEW]), np.isin(codes, rest)
    alike = group_weights(codes[every].tolist())
    yield "Platt on few subjects", fit_calibration(scores[few], labels[few])
    yield "Platt on all", fit_calibration(scores[every], labels[every])
    yield "Platt, subjects alike", fit_calibration(scores[every], labels[every], "platt", alike)
    steps = fit_calibration(scores[every], labels[every], "isotonic", alike)
    yield "isotonic, subjects alike", steps


def _line(name: str, errors: dict[str, float]) -> str:
    return f"{name}: " + ", ".join(f"{way} {error:.4f}" for way, error in errors.items())


if __name__ == "__main__":
    try:
        main()
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
