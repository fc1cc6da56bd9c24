"""Fit one method with every seed and score the parts of a split with it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from llmrec.signatures.comparison.results import Kind
from llmrec.signatures.cross_fit import fold_of_group
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
        learn: ``[seeds, n]``, each record judged by a model that learnt from other groups; None
            where nobody asked for that.
        valid: ``[seeds, n]``.
        calibrate: ``[seeds, n]``.
        test: ``[seeds, n]``.
        seconds: Fitting and scoring, all seeds together, without what ``learn`` takes.
        models: The fitted models, one per seed.
    """

    kind: Kind
    learn: Floats | None
    valid: Floats
    calibrate: Floats
    test: Floats
    seconds: float
    models: tuple[Scorer, ...] = field(repr=False)


def run_method(
    make: Make,
    kind: Kind,
    parts: Parts,
    seeds: Sequence[int],
    shuffle: bool = False,
    folds: int | None = None,
) -> MethodScores:
    """Fit a method once per seed.

    Args:
        make: Gives an unfitted model for a seed.
        kind: What sort of method it is.
        parts: The records.
        seeds: One model each.
        shuffle: Shuffle the labels of learning and validation: a control whose AUC must be .5.
        folds: Judge the learning part too, by so many models per seed, each on the groups that it
            has not seen. Controls are left out.

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
    seconds = time.perf_counter() - started
    learnt = None
    if folds is not None and kind != "control":  # which nothing is made of
        learnt = np.stack([_out_of_fold(make, seed, parts, folds) for seed in seeds])
    return MethodScores(kind, learnt, held, calibrated, tested, seconds, tuple(models))


def _out_of_fold(make: Make, seed: int, parts: Parts, folds: int) -> Floats:
    """``[n]`` log-odds of the learning part, whose groups are dealt out to the folds."""
    learn = parts.learn
    fold_of = np.array(fold_of_group(learn.groups, folds))
    found = np.empty(len(learn))
    for fold in range(folds):
        inside = np.flatnonzero(fold_of == fold)
        others = learn.take(np.flatnonzero(fold_of != fold))
        model = make(seed)
        validation = (parts.valid.records, parts.valid.labels)
        model.fit(others.records, others.labels, others.groups, validation=validation)
        found[inside] = model.predict_logit(learn.take(inside).records)
    return found
