"""How far a method's probabilities are off after calibration, and what they are calibrated on.

Groups (subjects, documents) differ in how often a score is right, so a calibration on few of them
is that of those few. With out-of-fold scores of the learning part, the validation part and the
calibration part together, all groups but the tested ones count, each as much as any other. The
final model has seen the labels of the validation part only to choose its weights by, and none of
its out-of-fold models has seen the group it judges.

Isotonic regression is used where there are enough items: chosen on ``mcq-logprobs`` by the error on
subjects held out of those that are not tested (``eval/signatures/calibration_choice.py``).
"""

import numpy as np

from llmrec.errors import DataError
from llmrec.evaluation.metrics.pairs import ece
from llmrec.signatures.comparison.methods import Floats, MethodScores, Parts
from llmrec.signatures.decision.calibration import (
    LEAST_FOR_STEPS,
    Calibration,
    Method,
    fit_calibration,
    group_weights,
)


def calibrated_ece(parts: Parts, scores: MethodScores) -> float | None:
    """Mean over seeds of the expected calibration error on the test part.

    Calibrated as the module says where there are out-of-fold scores, and else by Platt's sigmoid on
    the calibration part alone. None for controls, where there is nothing to calibrate on, and where
    the order is turned round.
    """
    if scores.kind == "control" or (scores.learn is None and not len(parts.calibrate)):
        return None
    try:
        if scores.learn is None:
            fitted = _on_calibration_part(parts, scores)
        else:
            fitted = _on_all_groups(parts, scores, scores.learn)
    except DataError:
        return None
    pairs = zip(fitted, scores.test, strict=True)
    return float(np.mean([ece(parts.test.labels, one(tested)) for one, tested in pairs]))


def _on_calibration_part(parts: Parts, scores: MethodScores) -> list[Calibration]:
    return [fit_calibration(held, parts.calibrate.labels, "platt") for held in scores.calibrate]


def _on_all_groups(parts: Parts, scores: MethodScores, learn: Floats) -> list[Calibration]:
    used = (parts.learn, parts.valid, parts.calibrate)
    labels = np.concatenate([part.labels for part in used])
    groups = [group for part in used for group in part.groups]
    weights = group_weights(groups)
    held = np.concatenate([learn, scores.valid, scores.calibrate], axis=1)
    method: Method = "isotonic" if labels.size >= LEAST_FOR_STEPS else "platt"
    return [fit_calibration(one, labels, method, weights) for one in held]
