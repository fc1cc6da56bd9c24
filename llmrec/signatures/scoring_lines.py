"""Risks of lines as they arrive: each is answered before the next one is read.

A line that cannot be read, or whose source the detector refuses, is answered with a sentence and
changes nothing for the others. Records are remembered for a while, so that drift is noticed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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

    def score(self, lines: Iterable[bytes], source: str, at_once: int = 1) -> Iterator[ScoredLine]:
        """Judge lines; empty ones are passed over.

        Args:
            lines: As they arrive, UTF-8.
            source: What they come from, for ids.
            at_once: Texts that are judged together: 1 answers every line before it reads the next,
                more is faster for a file that is there.
        """
        block: list[ScoredLine] = []
        for number, raw in enumerate(lines, 1):
            if raw.strip():
                block += self._read(raw, source, number)
            if len(block) >= at_once:
                yield from self._answered(block)
                block = []
        yield from self._answered(block)
        if len(self._recent) >= _LEAST_FOR_DRIFT:
            self._compare()

    def _read(self, raw: bytes, source: str, number: int) -> list[ScoredLine]:
        """The texts of a line, not judged yet, or the reason why there is none."""
        try:
            texts = read_record_line(raw.decode("utf-8"), source, number, self._options)
        except UnicodeDecodeError as error:
            return [ScoredLine(number, error=f"byte {error.start + 1} is not UTF-8.")]
        except LlmrecError as error:
            return [ScoredLine(number, error=str(error))]
        return [ScoredLine(number, str(about["id"]), record=record) for record, about in texts]

    def _answered(self, block: Sequence[ScoredLine]) -> Iterator[ScoredLine]:
        readable = [one for one in block if one.record is not None]
        judged = iter(self._judged(readable))
        for one in block:
            found = one if one.record is None else next(judged)
            self.judged += found.judgement is not None
            self.failed += found.judgement is None
            yield found

    def _judged(self, block: Sequence[ScoredLine]) -> list[ScoredLine]:
        records = [one.record for one in block if one.record is not None]
        try:
            judgements = self._detector.judge(records, on_mismatch=self._on_mismatch)
        except LlmrecError as error:
            if len(block) == 1:
                return [replace(block[0], error=str(error))]
            return [found for one in block for found in self._judged([one])]
        if self._watch:
            self._recent += records
            if len(self._recent) >= self._watch:
                self._compare()
        return [replace(one, judgement=j) for one, j in zip(block, judgements, strict=True)]

    def _compare(self) -> None:
        report = self._detector.drift(self._recent)
        self._recent = []
        if report.alarm:
            self.drifts.append(report)
