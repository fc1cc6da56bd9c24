"""A detector ready for use: a scorer, its calibration, its threshold, and where it may be used.

Wraps any :class:`~llmrec.contracts.RiskScorer` (LOS-Net or a baseline) and is a
:class:`~llmrec.contracts.RiskModel`. Three parts of the labelled records are needed, and none may
share a group with another: to learn from, to calibrate by, and to judge the result by. Decisions
are made on the scorer's own score, so that calibration, which keeps the order, cannot move them.

Records of another mode or kind are refused, and so are those of another tokenizer, or, where the
source names none, of another model: a probability is calibrated on one source.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from llmrec.contracts import RiskScorer
from llmrec.errors import ConfigError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.decision import selective, thresholds
from llmrec.signatures.decision.calibration import (
    Calibration,
    Method,
    choose_calibration,
    fit_calibration,
    log_odds,
)
from llmrec.signatures.decision.labelled import (
    Codes,
    Values,
    checked_pairs,
    group_codes,
    warn_if_upside_down,
)
from llmrec.signatures.decision.selective import SelectiveAnswering
from llmrec.signatures.decision.thresholds import Threshold
from llmrec.signatures.drift import DriftReference, DriftReport
from llmrec.signatures.los_net.origins import OnMismatch, Origin, check_origins

if TYPE_CHECKING:
    from pathlib import Path

FloatArray = npt.NDArray[np.float32]
Records = Sequence[SignatureRecord]
Decision = Literal["answer", "flag"]

_IDENTITY = ("tokenizer", "model", "served_model")
"""Names of a fingerprint that say what a source is, the first that is there."""


@dataclass(frozen=True)
class Judgement:
    """What a detector says about one record.

    Attributes:
        risk: Probability that the answer is wrong (or the text was trained on).
        decision: ``"answer"`` or ``"flag"``; None where no threshold was chosen.
    """

    risk: float
    decision: Decision | None


@dataclass(frozen=True)
class CalibrationSample:
    """The items a detector was calibrated by, without anything they say.

    Attributes:
        scores: ``[n]`` of the scorer.
        labels: ``[n]`` 1 for risk.
        groups: ``[n]`` numbers of their groups.
    """

    scores: Values
    labels: Values
    groups: Codes


class CalibratedDetector:
    """A scorer with a calibration, a threshold, and a memory of its sources.

    Args:
        scorer: LOS-Net, a baseline, or any other scorer of records.

    Attributes:
        scorer: As given.
        calibration: From scores to probabilities; None before :meth:`calibrate`.
        threshold: What is flagged, in scores; None before one is chosen.
        promise: What :meth:`guarantee` found, if it chose the threshold.
        reference: What the records it knows are like, for :meth:`drift`.
        card: Anything else to be kept with it, as JSON values: figures, what it was trained on.

    Example:
        >>> from llmrec.signatures.baselines import make_baseline
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> train, calibrate, new = (labelled_signatures(150, seed=s) for s in range(3))
        >>> detector = CalibratedDetector(make_baseline("min_logprob"))
        >>> detector = detector.fit(*train).calibrate(*calibrate)
        >>> promise = detector.guarantee(alpha=0.4, delta=0.1)
        >>> {judged.decision for judged in detector.judge(new[0])} <= {"answer", "flag"}
        True
    """

    def __init__(self, scorer: RiskScorer) -> None:
        self.scorer = scorer
        self.calibration: Calibration | None = None
        self.threshold: Threshold | None = None
        self.promise: SelectiveAnswering | None = None
        self.reference: DriftReference | None = None
        self.origins: tuple[Origin, ...] = ()
        self.sample: CalibrationSample | None = None
        self.card: dict[str, Any] = {}

    # ---- making ----

    def fit(
        self,
        records: Records,
        labels: npt.ArrayLike,
        groups: Sequence[Hashable] | None = None,
    ) -> Self:
        """Let the scorer learn; what was calibrated before is forgotten.

        Raises:
            DataError: As the scorer's own ``fit``.
        """
        self.scorer.fit(records, labels, groups)
        self.calibration = self.threshold = self.promise = self.reference = self.sample = None
        self.origins = _origins(records)
        return self

    def calibrate(
        self,
        records: Records,
        labels: npt.ArrayLike,
        groups: Sequence[Hashable] | None = None,
        method: Method | Literal["auto"] = "auto",
    ) -> Self:
        """Learn probabilities, and remember the sample for thresholds and promises.

        Warns where labels look upside down.

        Args:
            records: Used for nothing else, and like those that will come.
            labels: ``[n]`` 1 for risk.
            groups: What belongs together, such as a question asked in several ways.
            method: ``"auto"`` takes the one with the least log-loss in five folds.

        Raises:
            DataError: Labels are of one class or upside down, or records are unlike those of
                training.
        """
        scores = self.score(records)
        given, _ = checked_pairs(labels, scores)
        warn_if_upside_down(given, scores)
        if method == "auto":
            self.calibration = choose_calibration(scores, given, groups)
        else:
            self.calibration = fit_calibration(scores, given, method)
        self.sample = CalibrationSample(scores, given, group_codes(groups, given.size))
        self.origins = tuple(sorted({*self.origins, *_origins(records)}))
        self.reference = DriftReference.of(records)
        self.threshold = self.promise = None
        return self

    def guarantee(self, alpha: float, delta: float = 0.05) -> SelectiveAnswering:
        """Answer as much as can be certified to have an error rate of at most ``alpha``.

        See :mod:`llmrec.signatures.decision.selective`. Where nothing can be certified, everything
        is flagged from now on.

        Args:
            alpha: Largest error rate among what is answered.
            delta: Probability, over calibration samples, that it is exceeded.

        Returns:
            The promise, its threshold as a risk.

        Raises:
            ConfigError: The detector is not calibrated, or a share is out of range.
        """
        sample = self._known_sample()
        groups = sample.groups.tolist()
        found = selective.certify(sample.scores, sample.labels, alpha, delta, groups=groups)
        limit = -np.inf if found.threshold is None else found.threshold
        flagged = thresholds.describe(limit, "promise", alpha, sample.labels, sample.scores)
        risk = None if found.threshold is None else self._risk_at(found.threshold)
        self.threshold, self.promise = flagged, replace(found, threshold=risk)
        return self.promise

    def flag_by_cost(self, missed: float, false_alarm: float) -> Threshold:
        """Flag so that the mean cost of misses and false alarms is least."""
        sample = self._known_sample()
        return self._flag(thresholds.by_cost(sample.scores, sample.labels, missed, false_alarm))

    def flag_by_false_alarms(self, rate: float) -> Threshold:
        """Flag at most a share ``rate`` of right answers."""
        sample = self._known_sample()
        return self._flag(thresholds.by_false_alarms(sample.scores, sample.labels, rate))

    def flag_by_precision(self, precision: float) -> Threshold:
        """Flag as much as possible while a share ``precision`` of it is wrong."""
        sample = self._known_sample()
        return self._flag(thresholds.by_precision(sample.scores, sample.labels, precision))

    def _flag(self, found: Threshold) -> Threshold:
        self.threshold, self.promise = found, None
        return found

    # ---- using ----

    def predict_risk(self, records: Records, *, on_mismatch: OnMismatch = "error") -> FloatArray:
        """Probability of risk: ``[n]`` float32.

        Args:
            records: Signatures.
            on_mismatch: What to do with records unlike those of training.

        Raises:
            ConfigError: The detector is not calibrated.
            DataError: Records are of another source.
        """
        if self.calibration is None:
            raise ConfigError("this detector is not calibrated; call calibrate first.")
        if not records:
            return np.zeros(0, dtype=np.float32)
        return self.calibration(self.score(records, on_mismatch=on_mismatch))

    def judge(self, records: Records, *, on_mismatch: OnMismatch = "error") -> list[Judgement]:
        """Risk and decision for every record; arguments as for :meth:`predict_risk`."""
        if self.calibration is None:
            raise ConfigError("this detector is not calibrated; call calibrate first.")
        if not records:
            return []
        scores = self.score(records, on_mismatch=on_mismatch)
        risks = self.calibration(scores)
        limit = self.threshold
        decisions: list[Decision | None] = [None] * len(records)
        if limit is not None:
            decisions = ["flag" if score > limit.value else "answer" for score in scores]
        return [Judgement(float(r), d) for r, d in zip(risks, decisions, strict=True)]

    def score(self, records: Records, *, on_mismatch: OnMismatch = "error") -> Values:
        """The scorer's own scores, log-odds where it gives probabilities: ``[n]`` float64.

        Raises:
            DataError: Records are of another source.
        """
        check_origins(self.origins, _origins(records), on_mismatch)
        logit = getattr(self.scorer, "predict_logit", None)
        options: dict[str, Any] = {}
        if on_mismatch != "error" and hasattr(self.scorer, "origins"):
            options["on_mismatch"] = on_mismatch
        if logit is not None:
            return np.asarray(logit(records, **options), dtype=np.float64)
        risks = np.asarray(self.scorer.predict_risk(records), dtype=np.float64)
        inside = bool(((risks >= 0) & (risks <= 1)).all())
        return log_odds(risks) if inside else risks

    def drift(self, records: Records, false_alarms: float = 0.01) -> DriftReport:
        """Are records still like those of the calibration?

        Raises:
            ConfigError: The detector is not calibrated.
        """
        if self.reference is None:
            raise ConfigError("this detector is not calibrated; call calibrate first.")
        return self.reference.check(records, false_alarms)

    @property
    def risk_threshold(self) -> float | None:
        """The threshold as a risk: what is above is flagged; None where no threshold was chosen."""
        if self.threshold is None:
            return None
        if not np.isfinite(self.threshold.value):
            return 0.0 if self.threshold.value < 0 else 1.0
        return self._risk_at(self.threshold.value)

    def _risk_at(self, score: float) -> float:
        assert self.calibration is not None
        return float(self.calibration([score])[0])

    def _known_sample(self) -> CalibrationSample:
        if self.sample is None:
            raise ConfigError("this detector is not calibrated; call calibrate first.")
        return self.sample

    # ---- saving ----

    def save_pretrained(self, directory: "str | Path") -> None:
        """Write scorer, calibration and threshold to a directory, whole or not at all.

        Raises:
            ConfigError: It is not calibrated.
            ArtifactError: The directory exists and is something else.
        """
        from llmrec.signatures.calibrated_files import save

        save(self, directory)

    @classmethod
    def from_pretrained(cls, name: "str | Path") -> Self:
        """Read a detector from a directory.

        Raises:
            ArtifactError: It is missing, incomplete, changed, or of another kind.
        """
        from llmrec.signatures.calibrated_files import load

        return load(cls, name)


def _origins(records: Records) -> tuple[Origin, ...]:
    """The sources of records as far as calibration depends on them."""
    found = set()
    for record in records:
        named = [(n, str(record.fingerprint[n])) for n in _IDENTITY if n in record.fingerprint]
        found.add(Origin(record.mode, record.kind, tuple(named[:1])))
    return tuple(sorted(found))
