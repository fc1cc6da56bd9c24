"""What every language model promises about scores and records; part of its contract.

Scores agree with what was generated and with each other, however prompts and continuations were
put together; a record says the same as the result it belongs to.
"""

from functools import cache
from typing import ClassVar

import numpy as np
import pytest

from llmrec.contracts import LanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation
from llmrec.inference.signature import FLOOR

PROMPTS = ("The film", "A", "Once upon a time in a town", "12 + 30 = ", "Viel Glück, 映画 🎬!")


class ScoringContract:
    """Scores and records; :class:`LanguageModelContract` brings the rest.

    Attributes:
        vocab_size: Width of the logits.
        context: Most tokens of a prompt and its answer, or None where there is no limit.
        begins_texts: Whether the model has a token of its own for beginning a text, so that an
            empty prompt can be continued.
        adapters: Names of at least two adapters that the model has, or none.
        tolerance: Most difference in log-probability between two ways to the same number.
        hottest: Highest temperature that it takes.
        spare: Tokens of the context that a score cannot use.
        tells_vocabulary: Whether records know the width of the logits.
    """

    vocab_size: ClassVar[int]
    context: ClassVar[int | None] = None
    begins_texts: ClassVar[bool] = True
    adapters: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[float] = 1e-4
    hottest: ClassVar[float] = float("inf")
    spare: ClassVar[int] = 0
    tells_vocabulary: ClassVar[bool] = True

    def make(self) -> LanguageModel:
        """The model, with its adapters."""
        raise NotImplementedError("a contract test says how its model is made: define make()")

    @pytest.fixture
    def model(self) -> LanguageModel:
        """A model, made once for all tests of a class."""
        return _made(type(self))  # type: ignore[arg-type]  # a class can be hashed

    # ---- scores ----

    def test_score_of_an_answer_is_its_log_probability(self, model: LanguageModel) -> None:
        """Generating and scoring agree token by token."""
        decodings = [
            Decoding(max_tokens=8, ignore_eos=True),
            Decoding(max_tokens=8, temperature=0.7, seed=3, ignore_eos=True),
        ]
        asked = [GenerateRequest(p, d, logprobs=4) for p in PROMPTS for d in decodings]
        compared = 0
        for request, answer in zip(asked, model.generate(asked), strict=True):
            again = ScoreRequest(request.prompt, (answer.text,), logprobs=4)
            found = model.score([again])[0].texts[0]
            if found.tokens != answer.tokens:
                continue  # sampled half a character
            compared += 1
            assert answer.signature is not None
            assert found.signature is not None
            assert found.logprob == pytest.approx(answer.logprob, abs=self.tolerance * 8)
            for name in ("topk_logprobs", "actual_logprob", "tail_logmass"):
                there, here = getattr(answer.signature, name), getattr(found.signature, name)
                np.testing.assert_allclose(here, there, atol=10 * self.tolerance)
        assert compared >= len(PROMPTS)

    def test_many_continuations_equal_one_each(self, model: LanguageModel) -> None:
        """Sharing the prompt changes no number, for short and long continuations."""
        texts = (*("abcdefghij"[: 1 + place % 10] + str(place) for place in range(40)), "y")
        prompts = ("Once upon a time", "A")
        together = model.score([ScoreRequest(prompt, texts, logprobs=2) for prompt in prompts])
        for prompt, found in zip(prompts, together, strict=True):
            for place in (0, 7, 19, 40):
                alone = model.score([ScoreRequest(prompt, (texts[place],), logprobs=2)])[0]
                assert found.texts[place].tokens == alone.texts[0].tokens
                difference = abs(found.texts[place].logprob - alone.texts[0].logprob)
                assert difference < 10 * self.tolerance

    def test_chain_rule(self, model: LanguageModel) -> None:
        """A prompt's score is its beginning's, plus the rest's after it."""
        whole, begun = "Once upon a time", "Once upon"
        parts = model.score([ScoreRequest(whole), ScoreRequest(begun)])
        rest = model.score([ScoreRequest(begun, (whole[len(begun) :],))])[0].texts[0]
        assert parts[0].texts[0].tokens == parts[1].texts[0].tokens + rest.tokens
        assert parts[0].texts[0].logprob == pytest.approx(
            parts[1].texts[0].logprob + rest.logprob, abs=10 * self.tolerance
        )

    def test_whole_prompts_in_a_batch(self, model: LanguageModel) -> None:
        """Prompts of other lengths beside one do not change its score."""
        together = model.score([ScoreRequest(prompt * 2, logprobs=3) for prompt in PROMPTS])
        for prompt, found in zip(PROMPTS, together, strict=True):
            alone = model.score([ScoreRequest(prompt * 2, logprobs=3)])[0]
            assert found.prompt_tokens == alone.prompt_tokens
            assert abs(found.texts[0].logprob - alone.texts[0].logprob) < 50 * self.tolerance

    # ---- records ----

    def test_record_of_an_answer(self, model: LanguageModel) -> None:
        """K columns per token, descending, whose mass and tail make up one."""
        request = GenerateRequest("The film", Decoding(max_tokens=7, ignore_eos=True), logprobs=5)
        answer = model.generate([request])[0]
        record = answer.signature
        assert record is not None
        assert (len(record), record.k, record.kind) == (answer.tokens, 5, "output")
        assert record.vocab_size == (self.vocab_size if self.tells_vocabulary else None)
        assert record.text == answer.text
        assert record.actual_logprob.sum() == pytest.approx(answer.logprob, abs=self.tolerance)
        mass = np.exp(record.topk_logprobs).sum(axis=1) + np.exp(record.tail_logmass)
        np.testing.assert_allclose(mass, 1.0, atol=1e-4)
        np.testing.assert_array_equal(record.actual_logprob, record.topk_logprobs[:, 0])

    def test_actual_token_outside_the_best(self, model: LanguageModel) -> None:
        """It adds no column; its own log-probability and rank tell where it is."""
        heat = min(4.0, self.hottest)
        hot = Decoding(max_tokens=20, temperature=heat, seed=1, ignore_eos=True)
        record = model.generate([GenerateRequest("The film", hot, logprobs=2)])[0].signature
        assert record is not None
        assert record.k == 2
        outside = record.actual_rank >= 2
        assert outside.any()
        assert (record.actual_logprob[outside] <= record.topk_logprobs[outside, 1]).all()

    def test_no_record_unless_asked(self, model: LanguageModel) -> None:
        """And the answer is the same without."""
        with_record, without = (
            model.generate([GenerateRequest("A", Decoding(max_tokens=5), logprobs=k)])[0]
            for k in (3, 0)
        )
        assert without.signature is None
        assert without.text == with_record.text
        assert without.logprob == pytest.approx(with_record.logprob, abs=self.tolerance)

    def test_every_token_of_the_vocabulary(self, model: LanguageModel) -> None:
        """With K the whole vocabulary nothing is left for the tail."""
        found = model.score([ScoreRequest("The film", ("s",), logprobs=self.vocab_size)])[0]
        record = found.texts[0].signature
        assert record is not None
        assert record.k == self.vocab_size
        np.testing.assert_allclose(np.exp(record.topk_logprobs).sum(axis=1), 1.0, atol=1e-4)
        assert (record.tail_logmass < -10).all()
        assert (record.tail_logmass >= FLOOR).all()

    def test_more_than_the_vocabulary(self, model: LanguageModel) -> None:
        """Refused, with both numbers."""
        k = self.vocab_size + 1
        for error in (
            model.generate([GenerateRequest("A", logprobs=k)])[0].error,
            model.score([ScoreRequest("A", ("b",), logprobs=k)])[0].error,
        ):
            assert error is not None
            assert str(k) in error
            assert str(self.vocab_size) in error

    # ---- what the tests share ----

    def begins_with_token(self, model: LanguageModel) -> bool:
        """Whether a prompt has a token more than its text."""
        found = model.generate([GenerateRequest("ab", Decoding(max_tokens=1))])[0]
        return found.prompt_tokens == 3

    def assert_same(self, found: Generation, expected: Generation) -> None:
        """Two answers to the same request, computed in different company."""
        assert found.error is None
        assert (found.text, found.finish) == (expected.text, expected.finish)
        assert (found.tokens, found.prompt_tokens) == (expected.tokens, expected.prompt_tokens)
        limit = self.tolerance * max(1, found.tokens)
        assert found.logprob == pytest.approx(expected.logprob, abs=limit)
        if found.signature is not None and expected.signature is not None:
            np.testing.assert_allclose(
                found.signature.topk_logprobs, expected.signature.topk_logprobs, atol=limit
            )


@cache
def _made(suite: type[ScoringContract]) -> LanguageModel:
    return suite().make()
