"""Risks of lines as they arrive: each is answered before the next one is read.

A line that cannot be read, or whose source the detector refuses, is answered with a sentence and
changes nothing for the others. Records are remembered for a while, so that drift is noticed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from llmrec.errors import LlmrecError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.calibrated import CalibratedDetector, Judgement
from llmrec.signatures.drift import DriftReport
from llmrec.signatures.los_net.origins import OnMismatch
from llmrec.signatures.readers import LogOptions
from llmrec.signatures.record_lines import read_record_line

_LEAST_FOR_DRIFT = 50


@dataclass(frozen=True)
class ScoredLine:
    """What is said about one text of a line.

    Attributes:
        line: Its number, from 1.
        id: Name of the text; empty where the line could not be read.
        judgement: Risk and decision; None where there is an error.
        error: Why there is none, as a sentence.
        record: The signature; None where the line could not be read.
    """

    line: int
    id: str = ""
    judgement: Judgement | None = None
    error: str | None = None
    record: SignatureRecord | None = field(default=None, repr=False)


class LineScorer:
    """Judges lines with a detector.

    Args:
        detector: Whom to ask.
        options: What responses do not say about themselves.
        on_mismatch: What to do with records unlike those of training.
        watch: Compare every so many records with those of the calibration; 0 never does.

    Attributes:
        drifts: What the comparisons found, as far as they alarmed.
        judged: Texts with a risk.
        failed: Lines or texts without one.
    """

    def __init__(
        self,
        detector: CalibratedDetector,
        options: LogOptions | None = None,
        on_mismatch: OnMismatch = "error",
        watch: int = 0,
    ) -> None:
        self._detector, self._options = detector, options
        self._on_mismatch, self._watch = on_mismatch, watch
        self._recent: list[SignatureRecord] = []
        self.drifts: list[DriftReport] = []
        self.judged = self.failed = 0

    def score(self, lines: Iterable[bytes], source: str) -> Iterator[ScoredLine]:
        """Judge lines one by one; empty lines are passed over.

        Args:
            lines: As they arrive, UTF-8.
            source: What they come from, for ids.
        """
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            for found in self._scored(raw, source, number):
                self.judged += found.judgement is not None
                self.failed += found.judgement is None
                yield found
        if len(self._recent) >= _LEAST_FOR_DRIFT:
            self._compare()

    def _scored(self, raw: bytes, source: str, number: int) -> Iterator[ScoredLine]:
        try:
            line = raw.decode("utf-8")
            texts = read_record_line(line, source, number, self._options)
        except UnicodeDecodeError as error:
            yield ScoredLine(number, error=f"byte {error.start + 1} is not UTF-8.")
            return
        except LlmrecError as error:
            yield ScoredLine(number, error=str(error))
            return
        for record, about in texts:
            yield self._judged(record, str(about["id"]), number)

    def _judged(self, record: SignatureRecord, name: str, number: int) -> ScoredLine:
        try:
            (judgement,) = self._detector.judge([record], on_mismatch=self._on_mismatch)
        except LlmrecError as error:
            return ScoredLine(number, name, error=str(error), record=record)
        if self._watch:
            self._recent.append(record)
            if len(self._recent) >= self._watch:
                self._compare()
        return ScoredLine(number, name, judgement, record=record)

    def _compare(self) -> None:
        report = self._detector.drift(self._recent)
        self._recent = []
        if report.alarm:
            self.drifts.append(report)
