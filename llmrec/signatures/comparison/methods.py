"""Fit one method with every seed and score the parts of a split with it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from llmrec.signatures.comparison.results import Kind
from llmrec.signatures.records import SignatureSet

Floats = npt.NDArray[np.float64]


class Scorer(Protocol):
    """What a comparison needs of a method."""

    def fit(self, records: Any, labels: Any, groups: Any = None, validation: Any = None) -> Any:
        """Learn on one part and choose on another."""

    def predict_logit(self, records: Any) -> npt.NDArray[np.floating]:
        """Log-odds of risk."""


Make = Callable[[int], Scorer]


@dataclass(frozen=True)
class Parts:
    """The parts of a split, each with labels.

    Attributes:
        learn: What methods learn from.
        valid: What settings, weights and the best baseline are chosen by.
        calibrate: What probabilities are calibrated on; may be empty.
        test: What figures are of.
    """

    learn: SignatureSet
    valid: SignatureSet
    calibrate: SignatureSet
    test: SignatureSet


@dataclass(frozen=True)
class MethodScores:
    """Log-odds of one method, one row per seed.

    Attributes:
        kind: What sort of method it is.
        valid: ``[seeds, n]``.
        calibrate: ``[seeds, n]``.
        test: ``[seeds, n]``.
        seconds: Fitting and scoring, all seeds together.
        models: The fitted models, one per seed.
    """

    kind: Kind
    valid: Floats
    calibrate: Floats
    test: Floats
    seconds: float
    models: tuple[Scorer, ...] = field(repr=False)


def run_method(
    make: Make, kind: Kind, parts: Parts, seeds: Sequence[int], shuffle: bool = False
) -> MethodScores:
    """Fit a method once per seed.

    Args:
        make: Gives an unfitted model for a seed.
        kind: What sort of method it is.
        parts: The records.
        seeds: One model each.
        shuffle: Shuffle the labels of learning and validation: a control whose AUC must be .5.

    Raises:
        DataError: The records lack what the method needs.
    """
    started = time.perf_counter()
    models, scores = [], []
    for seed in seeds:
        learn, valid = parts.learn.labels, parts.valid.labels
        if shuffle:
            rng = np.random.default_rng([seed, 17])
            learn, valid = rng.permutation(learn), rng.permutation(valid)
        model = make(seed)
        validation = (parts.valid.records, valid)
        model.fit(parts.learn.records, learn, parts.learn.groups, validation=validation)
        models.append(model)
        scores.append(
            [
                model.predict_logit(part.records).astype(np.float64) if len(part) else np.empty(0)
                for part in (parts.valid, parts.calibrate, parts.test)
            ]
        )
    held, calibrated, tested = (np.stack(rows) for rows in zip(*scores, strict=True))
    return MethodScores(
        kind, held, calibrated, tested, time.perf_counter() - started, tuple(models)
    )
