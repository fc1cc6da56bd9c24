"""What a report is about, and the figures of every method on the labelled records."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError
from llmrec.evaluation.metrics.pairs import ece
from llmrec.evaluation.outcome import Figure
from llmrec.signatures.decision.curves import (
    aurc,
    average_precision,
    prr,
    tpr_at_fpr,
)
from llmrec.signatures.decision.intervals import AucInterval, auc_intervals
from llmrec.signatures.decision.labelled import Values, checked_risks
from llmrec.signatures.decision.reliability import brier
from llmrec.signatures.los_net.heat_map import HeatMap
from llmrec.signatures.records import SignatureSet

METRICS = ("auc", "average precision", "tpr@1% fpr", "tpr@5% fpr", "prr", "aurc", "ece", "brier")
_OF_PROBABILITIES = ("ece", "brier")


@dataclass(frozen=True, eq=False)
class Method:
    """The risks that one method gives to all records.

    Attributes:
        name: What it is called.
        risks: ``[n]``, higher for more risk.
        probabilities: Whether they are meant as probabilities.
        note: How the risks came about, in a few words.
    """

    name: str
    risks: npt.NDArray[np.floating]
    probabilities: bool = True
    note: str = ""


@dataclass(frozen=True, eq=False)
class RiskReport:
    """Everything a report shows.

    Attributes:
        signatures: The records; labels where they are known.
        methods: The first is what the report is about, the others are beside it.
        slices: Columns of the examples to show figures by.
        maps: Texts with the effect of every token.
        promises: Sentences about what may be promised.
        remarks: Sentences to read first: warnings, lines left out.
        sources: Files, for the last section.

    Raises:
        DataError: There is no record or no method, or risks do not fit the records.
    """

    signatures: SignatureSet
    methods: Sequence[Method]
    slices: Sequence[str] = ()
    maps: Sequence[HeatMap] = ()
    promises: Sequence[str] = ()
    remarks: Sequence[str] = ()
    sources: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not len(self.signatures) or not self.methods:
            raise DataError("a report needs at least one record and one method.")
        for method in self.methods:
            if checked_risks(method.risks).size != len(self.signatures):
                raise DataError(
                    f"{len(self.signatures)} records have {len(method.risks)} risks of "
                    f"{method.name}; give one each."
                )
        missing = [n for n in self.slices if n not in self.signatures.examples.columns]
        if missing:
            raise DataError(f"there is no column {missing[0]!r} to show figures by.")

    @cached_property
    def labelled(self) -> npt.NDArray[np.int64]:
        """Rows whose label is known."""
        known = self.signatures.examples["label"].is_not_null().to_numpy()
        return np.flatnonzero(known)

    @cached_property
    def labels(self) -> Values:
        """Labels of the labelled rows."""
        return self.signatures.examples["label"].to_numpy()[self.labelled].astype(np.float64)

    @cached_property
    def groups(self) -> list[str]:
        """Groups of the labelled rows."""
        every = self.signatures.groups
        return [every[row] for row in self.labelled]

    @property
    def is_judged(self) -> bool:
        """Whether there are labels of both classes."""
        return bool(self.labels.size) and self.labels.min() < self.labels.max()

    def risks_of(self, method: Method) -> Values:
        """Risks of the labelled rows."""
        return np.asarray(method.risks, dtype=np.float64)[self.labelled]

    @cached_property
    def intervals(self) -> dict[str, AucInterval]:
        """AUCs of the methods; differences are to the first."""
        risks = {method.name: self.risks_of(method) for method in self.methods}
        return auc_intervals(self.labels, risks, self.groups)

    def figures(self, method: Method) -> dict[str, Figure]:
        """Figures of one method, by the names of :data:`METRICS`; only the AUC has an interval."""
        y, risks, n = self.labels, self.risks_of(method), self.labels.size
        found = self.intervals[method.name]
        values = {
            "average precision": average_precision(y, risks),
            "tpr@1% fpr": tpr_at_fpr(y, risks, 0.01),
            "tpr@5% fpr": tpr_at_fpr(y, risks, 0.05),
            "prr": prr(y, risks),
            "aurc": aurc(y, risks),
        }
        if method.probabilities:
            values |= {"ece": ece(y, risks), "brier": brier(y, risks)}
        figures = {"auc": Figure.of(found.auc, (found.low, found.high), n)}
        return figures | {name: Figure.of(value, None, n) for name, value in values.items()}
