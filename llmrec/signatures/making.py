"""From labelled records to a calibrated detector: split, learn, calibrate, judge once.

Groups are never torn. The parts to learn from, to calibrate by and to judge by are drawn by the
names of the groups, so that the same data gives the same parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmrec.contracts import RiskScorer
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.metrics.pairs import ece
from llmrec.signatures.baselines import BASELINES, make_baseline
from llmrec.signatures.calibrated import CalibratedDetector
from llmrec.signatures.decision.intervals import auc_intervals
from llmrec.signatures.decision.reliability import brier
from llmrec.signatures.decision.thresholds import require_share
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.config import Task
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import split_groups

LOS_NET = "los_net"
METHODS = (LOS_NET, *BASELINES)


@dataclass(frozen=True)
class Rule:
    """How the threshold is chosen; one of budget, rate, precision and costs is given.

    Attributes:
        alpha: Error budget among what is answered, certified.
        delta: Probability of breaking it.
        false_alarms: Share of right answers that may be flagged.
        precision: Share of the flagged that has to be wrong.
        costs: Cost of a miss, and of a false alarm.

    Raises:
        ConfigError: More than one rule is given, or none; or a share does not lie between 0 and 1.
    """

    alpha: float | None = None
    delta: float = 0.05
    false_alarms: float | None = None
    precision: float | None = None
    costs: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        given = [self.alpha, self.false_alarms, self.precision, self.costs]
        if sum(value is not None for value in given) != 1:
            raise ConfigError(
                "give one rule for the threshold: an error budget, a false-alarm rate, a precision "
                "or two costs."
            )
        for name in ("alpha", "delta", "false_alarms", "precision"):
            value = getattr(self, name)
            if value is not None:
                require_share(name, value)

    def apply(self, detector: CalibratedDetector) -> str:
        """Choose the threshold of a detector; returns a sentence about it."""
        if self.alpha is not None:
            return detector.guarantee(self.alpha, self.delta).sentence
        if self.false_alarms is not None:
            found = detector.flag_by_false_alarms(self.false_alarms)
        elif self.precision is not None:
            found = detector.flag_by_precision(self.precision)
        else:
            assert self.costs is not None
            found = detector.flag_by_cost(*self.costs)
        return (
            f"Flags risks above {detector.risk_threshold:.4g}: {found.flagged:.1%} of the "
            f"calibration items, {found.caught:.1%} of the wrong ones, {found.false_alarms:.1%} of "
            "the right ones."
        )


def make_scorer(
    method: str, task: Task, seed: int, settings: Mapping[str, Any], k: int
) -> RiskScorer:
    """A scorer that is ready to be fitted.

    Args:
        method: ``los_net`` or the name of a baseline.
        task: What risk means.
        seed: Of everything that is drawn.
        settings: Of LOS-Net; baselines have none.
        k: Values per position of the records, where the settings do not say.

    Raises:
        ConfigError: There is no such method, or a setting is unknown.
    """
    if method != LOS_NET:
        if settings:
            raise ConfigError(f"the method {method} has no settings; leave out {list(settings)}.")
        return make_baseline(method, task, seed)
    training = {"seed": seed, **settings.get("training", {})}
    return LOSNet(**{"k": k, "task": task, **settings, "training": training})


def make_detector(
    scorer: RiskScorer,
    signatures: SignatureSet,
    rule: Rule,
    calibrate_share: float = 0.2,
    test_share: float = 0.2,
    seed: int = 0,
) -> tuple[CalibratedDetector, dict[str, Any]]:
    """Split records by groups, learn, calibrate, choose the threshold, and judge once.

    Args:
        scorer: As :func:`make_scorer` made it.
        signatures: Labelled records; others are left out.
        rule: How the threshold is chosen.
        calibrate_share: Share of the records to calibrate by.
        test_share: Share of the records to judge by.
        seed: Of the split.

    Returns:
        The detector, and its card: what it was trained on, and its figures on the last part.

    Raises:
        ConfigError: The shares leave nothing to learn from.
        DataError: There is no label, there are too few groups, or a part has labels of one class.
    """
    learn_share = 1 - calibrate_share - test_share
    if min(calibrate_share, test_share, learn_share) <= 0:
        raise ConfigError(
            f"shares {calibrate_share} to calibrate and {test_share} to test leave "
            f"{learn_share:.2g} to learn from; each must be above 0."
        )
    known = signatures.require_labelled()
    shares = {"learn": learn_share, "calibrate": calibrate_share, "test": test_share}
    split = split_groups(known.groups, shares, seed)
    parts = {name: known.take(split.rows(name, known.groups)) for name in shares}
    for name, part in parts.items():
        _require_both(name, part)
    learn, calibrate, test = parts["learn"], parts["calibrate"], parts["test"]
    detector = CalibratedDetector(scorer).fit(learn.records, learn.labels, learn.groups)
    detector.calibrate(calibrate.records, calibrate.labels, calibrate.groups)
    said = rule.apply(detector)
    detector.card = {
        "records": {name: len(part) for name, part in parts.items()},
        "split": split.hash,
        "threshold": said,
        "test": judge(detector, test),
    }
    return detector, detector.card


def judge(detector: CalibratedDetector, test: SignatureSet) -> dict[str, Any]:
    """Figures of a detector on labelled records that it has not seen."""
    judged = detector.judge(test.records)
    labels = test.labels.astype(np.float64)
    risks = np.array([each.risk for each in judged])
    found = auc_intervals(labels, {"detector": risks}, test.groups)["detector"]
    answered = np.array([each.decision == "answer" for each in judged])
    wrong = float(labels[answered].mean()) if answered.any() else None
    figures = {
        "auc": found.auc,
        "auc_ci95": [found.low, found.high] if np.isfinite(found.low) else None,
        "ece": ece(labels, risks),
        "brier": brier(labels, risks),
        "wrong": float(labels.mean()),
        "answered": float(answered.mean()),
        "wrong_among_answered": wrong,
    }
    return {name: _rounded(value) for name, value in figures.items()} | {"n": len(test)}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 5) if isinstance(value, float) else value


def _require_both(name: str, part: SignatureSet) -> None:
    labels = set(part.labels.tolist())
    if len(labels) < 2:
        only = f"all {len(part)} labels are {int(labels.pop())}" if labels else "there is no record"
        raise DataError(
            f"in the part to {name}, {only}: both labels are needed. Give more labelled records, "
            "or finer groups."
        )
