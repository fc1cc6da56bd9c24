import numpy as np
import pytest

from llmrec.errors import ConfigError
from llmrec.inference.fake import VOCAB_SIZE, FakeLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.signatures.baselines import make_baseline
from llmrec.signatures.calibrated import CalibratedDetector
from llmrec.signatures.wrapper import JudgedGeneration, RiskAwareLanguageModel
from llmrec.testing.language_model import LanguageModelContract

K = 5


@pytest.fixture(scope="module")
def detector():
    asked = [GenerateRequest(f"q {i}", Decoding(max_tokens=6), logprobs=K) for i in range(80)]
    records = [answer.signature for answer in FakeLanguageModel().generate(asked)]
    labels = np.arange(80) % 2
    found = CalibratedDetector(make_baseline("mean_logprob")).fit(records, labels)
    found.calibrate(records, labels, method="platt")
    found.flag_by_false_alarms(0.3)
    return found


@pytest.fixture
def wrapped(detector):
    fake = FakeLanguageModel(adapters=("a",))
    return RiskAwareLanguageModel(fake, detector, logprobs=K)


def test_answers_are_those_of_the_model_with_the_risk_of_the_detector(wrapped, detector):
    requests = [
        GenerateRequest("one", Decoding(max_tokens=6)),
        GenerateRequest("two", Decoding(max_tokens=6), logprobs=3),
        GenerateRequest("three", Decoding(max_tokens=6), logprobs=9),
        GenerateRequest("four", Decoding(max_tokens=6), logprobs=K, adapter="a"),
    ]
    plain = wrapped.model.generate(requests)
    found = wrapped.generate(requests)
    for own, other, request in zip(found, plain, requests, strict=True):
        assert isinstance(own, JudgedGeneration)
        assert own.text == other.text
        assert own.logprob == pytest.approx(other.logprob, abs=1e-5)
        if not request.logprobs:
            assert own.signature is None
        else:
            np.testing.assert_array_equal(
                own.signature.topk_logprobs, other.signature.topk_logprobs
            )
            np.testing.assert_allclose(
                own.signature.tail_logmass, other.signature.tail_logmass, atol=1e-4
            )
    narrow = wrapped.model.generate([GenerateRequest("one", Decoding(max_tokens=6), logprobs=K)])
    (judged,) = detector.judge([narrow[0].signature])
    assert (found[0].risk, found[0].decision) == (judged.risk, judged.decision)
    assert all(0 <= own.risk <= 1 and own.decision in ("answer", "flag") for own in found)


def test_an_answer_without_a_risk_is_not_lost(wrapped, detector):
    (failed,) = wrapped.generate([GenerateRequest("x", adapter="unknown")])
    assert failed.error is not None
    assert failed.risk is None

    class Silent(FakeLanguageModel):
        def generate(self, requests):
            return [JudgedGeneration("text") for _ in requests]

    (silent,) = RiskAwareLanguageModel(Silent(), detector, K).generate([GenerateRequest("x")])
    assert silent.text == "text"
    assert "no log-probabilities" in silent.note

    other = CalibratedDetector(make_baseline("mean_logprob"))
    (refused,) = RiskAwareLanguageModel(FakeLanguageModel(), other, K).generate(
        [GenerateRequest("x")]
    )
    assert refused.risk is None
    assert "not calibrated" in refused.note


def test_scores_pass_through(wrapped):
    requests = [ScoreRequest("a b", logprobs=2)]
    found, plain = wrapped.score(requests)[0], wrapped.model.score(requests)[0]
    assert found.texts[0].logprob == plain.texts[0].logprob
    assert wrapped.fingerprint == wrapped.model.fingerprint


def test_there_is_a_least_number_of_values(detector):
    with pytest.raises(ConfigError, match="logprobs is 0"):
        RiskAwareLanguageModel(FakeLanguageModel(), detector, 0)


class TestRiskAwareModel(LanguageModelContract):
    """Wrapped, it is a language model like any other; answers without a risk are kept."""

    vocab_size = VOCAB_SIZE
    context = 200
    adapters = ("alice", "bob", "carol")
    tolerance = 1e-6

    def make(self):
        fake = FakeLanguageModel(adapters=self.adapters, context=self.context)
        return RiskAwareLanguageModel(fake, CalibratedDetector(make_baseline("mean_logprob")), K)

    def test_a_failure_stays_with_its_request(self, model):
        good = GenerateRequest("The film", Decoding(max_tokens=4))
        found = model.generate([good, GenerateRequest("The film", adapter="nobody"), good])
        assert [answer.error is None for answer in found] == [True, False, True]
        assert found[1] == JudgedGeneration(error=found[1].error)
