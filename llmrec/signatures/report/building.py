"""Reports from records as they come: of a detector, of labelled logs, of logs without labels."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from llmrec.contracts import RiskScorer
from llmrec.errors import LlmrecError
from llmrec.signatures.attribution import token_effects
from llmrec.signatures.baselines import (
    SINGLE_SCORES,
    make_baseline,
    require_baseline,
    score_records,
)
from llmrec.signatures.calibrated import CalibratedDetector
from llmrec.signatures.cross_fit import cross_fit, fold_of_group
from llmrec.signatures.decision.labelled import upside_down
from llmrec.signatures.decision.selective import certify
from llmrec.signatures.los_net.heat_map import HeatMap, heat_map
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.report.judged import Method, RiskReport

METHODS = ("logistic", "mean_logprob", "min_probability", "mean_entropy")
"""What is shown of logs without a detector."""

_MOST_POSITIONS = 600  # of a text with a heat map
_MAPS = 4


@dataclass(frozen=True)
class Wanted:
    """What to put into a report.

    Attributes:
        methods: Names of baselines.
        slices: Columns to show figures by.
        alphas: Error budgets to say something about.
        delta: Probability of breaking a promise.
        maps: How many of the riskiest texts to show token by token.
        remarks: Sentences to read first.
        sources: Names of the files.

    Raises:
        ConfigError: A method is no baseline.
    """

    methods: Sequence[str] = METHODS
    slices: Sequence[str] = ()
    alphas: Sequence[float] = (0.05, 0.1, 0.2)
    delta: float = 0.05
    maps: int = _MAPS
    remarks: Sequence[str] = ()
    sources: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        for name in self.methods:
            require_baseline(name)


def report_of_detector(
    detector: CalibratedDetector, signatures: SignatureSet, wanted: Wanted
) -> RiskReport:
    """Records that a detector has not learnt from, its risks beside single scores.

    Raises:
        DataError: The records are of another source than those of training.
    """
    name = str(getattr(detector.scorer, "name", type(detector.scorer).__name__))
    risks = detector.predict_risk(signatures.records)
    methods = [Method(name, risks, note="a calibrated detector")]
    methods += [_surprise(one, signatures) for one in wanted.methods if one in SINGLE_SCORES]
    saved = detector.promise
    promises = [] if saved is None else [f"Saved with the detector: {saved.sentence}"]
    remarks = list(wanted.remarks)
    drift = detector.drift(signatures.records)
    if drift.alarm:
        remarks.append(drift.sentence)
    return _report(signatures, methods, wanted, promises, remarks, lambda row: detector.scorer)


def report_of_logs(
    signatures: SignatureSet, wanted: Wanted, parts: Sequence[Hashable] | None = None
) -> RiskReport:
    """Logs alone: every labelled record is judged by scorers that learnt from the other parts.

    Records without a label are left out where others have one.

    Args:
        signatures: Records.
        wanted: What to show.
        parts: A part for each labelled record, such as its task; None draws five folds of groups.

    Raises:
        ProtocolError: A group lies in two parts.
        DataError: Labels are of one class in some part's complement.
    """
    known = signatures.labelled()
    labels = set(known.examples["label"].to_list())
    if len(labels) < 2:
        scores = [name for name in wanted.methods if name in SINGLE_SCORES]
        methods = [_surprise(name, signatures) for name in scores or ["mean_logprob"]]
        return _report(signatures, methods, wanted, [], list(wanted.remarks), None)
    remarks = list(wanted.remarks)
    if len(known) < len(signatures):
        remarks.append(f"{len(signatures) - len(known)} records without a label are left out.")
    folds = fold_of_group(known.groups) if parts is None else parts
    said = "five folds" if parts is None else f"leave one out of {len(set(folds))}"
    fitted = {
        name: cross_fit(lambda name=name: make_baseline(name), known, folds)  # type: ignore[misc]
        for name in wanted.methods
    }
    methods = [
        Method(name, found.risks, note=f"learnt on other records, {said}")
        for name, found in fitted.items()
    ]
    first = fitted[methods[0].name]
    return _report(known, methods, wanted, [], remarks, first.scorer_of)


def _report(
    signatures: SignatureSet,
    methods: Sequence[Method],
    wanted: Wanted,
    promises: Sequence[str],
    remarks: list[str],
    scorer_of: Callable[[int], RiskScorer] | None,
) -> RiskReport:
    maps = _maps(signatures, methods[0].risks, scorer_of, wanted.maps)
    report = RiskReport(signatures, methods, wanted.slices, maps, promises, remarks, wanted.sources)
    if not report.is_judged:
        return report
    risks = report.risks_of(methods[0])
    more = [
        "By these items: "
        + certify(risks, report.labels, alpha, wanted.delta, groups=report.groups).sentence
        for alpha in wanted.alphas
    ]
    odd = upside_down(report.labels, risks)
    return replace(
        report,
        promises=[*promises, *more],
        remarks=remarks if odd is None else [odd, *remarks],
    )


def _surprise(name: str, signatures: SignatureSet) -> Method:
    """A score as it is, no probability; records it says nothing about are in the middle."""
    values = score_records(name, signatures.records)
    known = values[~np.isnan(values)]
    middle = float(np.median(known)) if known.size else 0.0
    filled = np.where(np.isnan(values), middle, values)
    return Method(name, filled, probabilities=False, note="surprise, nothing learnt")


def _maps(
    signatures: SignatureSet,
    risks: npt.NDArray[np.floating],
    scorer_of: Callable[[int], RiskScorer] | None,
    most: int,
) -> list[HeatMap]:
    """Heat maps of the riskiest texts that have tokens, and are not too long."""
    found: list[HeatMap] = []
    if scorer_of is None:
        return found
    for row in np.argsort(-np.asarray(risks), kind="stable"):
        record = signatures.records[int(row)]
        if len(found) >= most:
            break
        if record.tokens is None or not 1 < len(record) <= _MOST_POSITIONS:
            continue
        try:
            values = token_effects(scorer_of(int(row)), record)
        except LlmrecError:
            continue  # a scorer that needs what a shortened record does not have
        found.append(heat_map(record, values, float(risks[row]), signatures.ids[int(row)]))
    return found
