"""A language model whose answers carry a risk.

:class:`RiskAwareLanguageModel` is a :class:`~llmrec.contracts.LanguageModel`: it asks the model it
wraps for the log-probabilities that a detector needs, and returns the same answers with a risk.
Adapters, sampling and batches are the model's own business. An answer is never lost for want of a
risk: where there is none, ``note`` says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from llmrec.contracts import LanguageModel
from llmrec.errors import ConfigError, LlmrecError
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score
from llmrec.inference.signature import SignatureRecord, tail_logmass
from llmrec.signatures.calibrated import CalibratedDetector, Decision


@dataclass(frozen=True)
class JudgedGeneration(Generation):
    """An answer with its risk.

    Attributes:
        risk: Probability that the answer is wrong; None where there is none.
        decision: ``"answer"`` or ``"flag"``; None without a risk, or without a threshold.
        note: Why there is no risk, as a sentence, or None.
    """

    risk: float | None = None
    decision: Decision | None = None
    note: str | None = None


class RiskAwareLanguageModel:
    """A language model that says how far its answers can be trusted.

    Args:
        model: Any language model that gives log-probabilities.
        detector: Trained on signatures of this model.
        logprobs: Values per position to ask for; those that the detector was trained on.

    Raises:
        ConfigError: ``logprobs`` is less than 1.

    Example:
        >>> from llmrec.inference.fake import FakeLanguageModel
        >>> from llmrec.signatures.baselines import make_baseline
        >>> fake = FakeLanguageModel()
        >>> asked = [GenerateRequest(f"question {i}", logprobs=5) for i in range(60)]
        >>> records = [answer.signature for answer in fake.generate(asked)]
        >>> labels = [i % 2 for i in range(60)]
        >>> detector = CalibratedDetector(make_baseline("mean_logprob")).fit(records, labels)
        >>> found = detector.calibrate(records, labels, method="platt")
        >>> model = RiskAwareLanguageModel(fake, detector, logprobs=5)
        >>> 0 <= model.generate([GenerateRequest("another question")])[0].risk <= 1
        True
    """

    def __init__(self, model: LanguageModel, detector: CalibratedDetector, logprobs: int) -> None:
        if logprobs < 1:
            raise ConfigError(f"logprobs is {logprobs}; a risk needs at least 1 per position.")
        self.model = model
        self.detector = detector
        self.logprobs = logprobs

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """That of the model: its answers are not changed."""
        return self.model.fingerprint

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """Continue prompts; every result is a :class:`JudgedGeneration`.

        Signatures are returned where they were asked for, as wide as they were asked for.
        """
        wider = [replace(r, logprobs=max(r.logprobs, self.logprobs)) for r in requests]
        answers = self.model.generate(wider)
        return [
            self._judged(answer, request) for answer, request in zip(answers, requests, strict=True)
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Score texts, as the model does; given texts have no risk of being wrong."""
        return self.model.score(requests)

    def _judged(self, answer: Generation, request: GenerateRequest) -> JudgedGeneration:
        shared = {field.name: getattr(answer, field.name) for field in fields(Generation)}
        record = answer.signature
        shared["signature"] = None
        if record is not None and request.logprobs:
            shared["signature"] = cut_to(record, request.logprobs)
        if answer.error is not None:
            return JudgedGeneration(**shared)
        if record is None:
            return JudgedGeneration(**shared, note="the model gave no log-probabilities.")
        try:
            (found,) = self.detector.judge([cut_to(record, self.logprobs)])
        except LlmrecError as error:
            return JudgedGeneration(**shared, note=str(error))
        return JudgedGeneration(**shared, risk=found.risk, decision=found.decision)


def cut_to(record: SignatureRecord, k: int) -> SignatureRecord:
    """A record of at most ``k`` values per position; ranks stay as they are known."""
    if record.k <= k:
        return record
    kept = record.topk_logprobs[:, :k]
    return replace(
        record,
        topk_logprobs=kept,
        topk_valid=record.topk_valid[:, :k],
        topk_ids=None if record.topk_ids is None else record.topk_ids[:, :k],
        tail_logmass=tail_logmass(kept),
    )
