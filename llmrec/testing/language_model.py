"""What every language model promises, as tests to inherit.

Subclass :class:`LanguageModelContract`, say how to make the model and what it is like, and run
pytest. The model should answer within milliseconds; what it says does not matter, but it must not
end its answers at once, and its tokens should be single bytes or characters, so that a generated
text and its tokens are one and the same. Prompts are a few dozen characters long.
"""

import numpy as np
import pytest

from llmrec.contracts import LanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation
from llmrec.testing.language_model_scores import PROMPTS, ScoringContract


class LanguageModelContract(ScoringContract):
    """The suite; subclasses define :meth:`make` and say what the model is like."""

    # ---- requests and results ----

    def test_is_a_language_model(self, model: LanguageModel) -> None:
        """The methods are there, and the fingerprint names what answers depend on."""
        assert isinstance(model, LanguageModel)
        assert {"backend", "backend_version", "model"} <= set(model.fingerprint)
        assert all(isinstance(value, str) for value in model.fingerprint.values())

    def test_nothing_asked(self, model: LanguageModel) -> None:
        """No request, no result."""
        assert model.generate([]) == []
        assert model.score([]) == []

    def test_results_come_in_the_order_of_requests(self, model: LanguageModel) -> None:
        """Whatever the lengths are."""
        requests = [GenerateRequest(prompt, Decoding(max_tokens=6)) for prompt in PROMPTS]
        order = [3, 0, 4, 2, 1]
        there = model.generate(requests)
        back = model.generate([requests[place] for place in order])
        for place, found in zip(order, back, strict=True):
            self.assert_same(found, there[place])

    def test_one_alone_equals_one_among_fifty(self, model: LanguageModel) -> None:
        """The rest of a batch does not matter, for greedy and for sampled answers."""
        requests = [
            GenerateRequest(
                PROMPTS[number % 5] + "x" * (number % 7),
                Decoding(max_tokens=2 + number % 9, temperature=number % 2, seed=number, top_p=0.9),
                logprobs=3,
            )
            for number in range(50)
        ]
        together = model.generate(requests)
        for number in (0, 1, 13, 24, 37, 49):
            self.assert_same(model.generate([requests[number]])[0], together[number])

    def test_two_hundred_requests(self, model: LanguageModel) -> None:
        """Each gets its own answer, of its own length."""
        sizes = [1 + number % 4 for number in range(200)]
        found = model.generate(
            [
                GenerateRequest(f"{number}:", Decoding(max_tokens=size, ignore_eos=True))
                for number, size in enumerate(sizes)
            ]
        )
        assert [answer.error for answer in found] == [None] * 200
        assert [answer.tokens for answer in found] == sizes

    def test_a_failure_stays_with_its_request(self, model: LanguageModel) -> None:
        """Requests that cannot be answered do not take others down."""
        good = GenerateRequest("The film", Decoding(max_tokens=4))
        bad = [
            GenerateRequest("The film", logprobs=self.vocab_size + 1),
            GenerateRequest("The film", adapter="no-such-adapter"),
            GenerateRequest("half a pair: \ud83d"),
        ]
        found = model.generate([bad[0], good, bad[1], bad[2], good])
        assert [answer.error is None for answer in found] == [False, True, False, False, True]
        for place in (1, 4):
            self.assert_same(found[place], model.generate([good])[0])
        assert found[0] == Generation(error=found[0].error)

    # ---- decoding ----

    def test_greedy_is_deterministic(self, model: LanguageModel) -> None:
        """Twice the same, and every token is the most probable."""
        request = GenerateRequest("The film", Decoding(max_tokens=12, ignore_eos=True), logprobs=2)
        first, second = model.generate([request])[0], model.generate([request])[0]
        self.assert_same(first, second)
        assert first.signature is not None
        np.testing.assert_array_equal(first.signature.actual_rank, np.zeros(12))

    def test_seeds(self, model: LanguageModel) -> None:
        """The same seed gives the same text; other seeds give others."""
        requests = [
            GenerateRequest("The film", Decoding(max_tokens=12, temperature=1.5, seed=seed))
            for seed in (0, 1, 2, 3, 0)
        ]
        found = [answer.text for answer in model.generate(requests)]
        assert found[0] == found[4]
        assert len(set(found)) == 4

    def test_top_k_of_one_is_greedy(self, model: LanguageModel) -> None:
        """However hot."""
        greedy = GenerateRequest("The film", Decoding(max_tokens=8))
        hot = Decoding(max_tokens=8, temperature=min(9.0, self.hottest), seed=5, top_k=1)
        first, second = model.generate([greedy, GenerateRequest("The film", hot)])
        self.assert_same(first, second)

    def test_hotter_than_it_takes(self, model: LanguageModel) -> None:
        """Refused with the temperature, never turned down in silence."""
        if self.hottest == float("inf"):
            pytest.skip("this model takes any temperature")
        decoding = Decoding(max_tokens=2, temperature=self.hottest + 1, seed=0)
        found = model.generate([GenerateRequest("A", decoding), GenerateRequest("A")])
        assert found[0].error is not None
        assert str(self.hottest + 1) in found[0].error
        assert found[1].error is None

    def test_stop_texts(self, model: LanguageModel) -> None:
        """The answer ends before the first stop text, however many tokens that takes."""
        plain = model.generate([GenerateRequest("A", Decoding(max_tokens=16, ignore_eos=True))])[0]
        assert plain.finish == "length"
        stop = plain.text[5:8]
        decoding = Decoding(max_tokens=16, ignore_eos=True, stop=("never there", stop))
        found = model.generate([GenerateRequest("A", decoding)])[0]
        assert found.text == plain.text[: plain.text.index(stop)]
        assert found.finish == "stop"
        assert found.tokens <= plain.tokens

    def test_stop_text_that_never_comes(self, model: LanguageModel) -> None:
        """Looking for it changes nothing."""
        decodings = [Decoding(max_tokens=9), Decoding(max_tokens=9, stop=("never there",))]
        first, second = model.generate([GenerateRequest("A", each) for each in decodings])
        self.assert_same(first, second)

    # ---- prompts at the edge ----

    def test_empty_prompt(self, model: LanguageModel) -> None:
        """Continued where the model can begin a text, and refused by a sentence where not."""
        found = model.generate([GenerateRequest("", Decoding(max_tokens=3)), GenerateRequest("A")])
        scored = model.score([ScoreRequest("", ("a",))])[0]
        assert found[1].error is None
        for error in (found[0].error, scored.error):
            assert (error is None) == self.begins_texts
            assert self.begins_texts or "empty" in str(error)
        nothing = model.score([ScoreRequest("")])[0]
        assert nothing.error is not None

    def test_over_long_prompt(self, model: LanguageModel) -> None:
        """Refused with its lengths, or cut at its beginning where that was asked for."""
        if self.context is None:
            pytest.skip("this model takes texts of any length")
        prompt = "ab" * self.context
        decoding = Decoding(max_tokens=5, ignore_eos=True)
        refused, cut = model.generate(
            [
                GenerateRequest(prompt, decoding),
                GenerateRequest(prompt, decoding, over_long="keep_end"),
            ]
        )
        assert refused.error is not None
        assert str(self.context) in refused.error
        assert str(len(prompt)) in refused.error or str(len(prompt) + 1) in refused.error
        assert cut.error is None
        assert cut.prompt_tokens == self.context - 5
        end = prompt[-(self.context - 5 - int(self.begins_with_token(model))) :]
        self.assert_same(cut, model.generate([GenerateRequest(end, decoding)])[0])

    def test_over_long_scores(self, model: LanguageModel) -> None:
        """The same for scores; a continuation is never cut."""
        if self.context is None:
            pytest.skip("this model takes texts of any length")
        prompt, long = "ab" * self.context, "c" * (self.context + 1)
        found = model.score(
            [
                ScoreRequest(prompt, ("c",)),
                ScoreRequest(prompt),
                ScoreRequest("A", (long,), over_long="keep_end"),
                ScoreRequest(prompt, ("c", "dd"), over_long="keep_end"),
                ScoreRequest(prompt, over_long="keep_end"),
            ]
        )
        assert [score.error is None for score in found] == [False, False, False, True, True]
        assert found[3].prompt_tokens == self.context - self.spare - 2
        assert found[4].prompt_tokens == self.context - self.spare

    def test_unicode(self, model: LanguageModel) -> None:
        """Any text can be a prompt and a continuation; an answer is always whole characters."""
        texts = ("naïve", "映画を見る", "🎬👩‍👩‍👧", "שלום", "e\u0301", "a\x00b", "\n\n")
        answers = model.generate([GenerateRequest(text, Decoding(max_tokens=4)) for text in texts])
        assert [answer.error for answer in answers] == [None] * len(texts)
        for answer in answers:
            answer.text.encode()
        scored = model.score([ScoreRequest("Say: ", texts)])[0]
        assert scored.error is None
        assert all(np.isfinite(text.logprob) for text in scored.texts)
        broken = model.generate([GenerateRequest("half a pair: \ud83d")])[0]
        assert broken.error is not None
        assert "surrogate" in broken.error

    # ---- adapters ----

    def test_adapters_switch_and_switch_back(self, model: LanguageModel) -> None:
        """Each has its own scores, also side by side, and the base model keeps its own."""
        if not self.adapters:
            pytest.skip("this model has no adapter")
        names = [None, *self.adapters, None, self.adapters[0]]
        requests = [ScoreRequest("The film", (" was good", "!"), adapter=name) for name in names]
        alone = [model.score([request])[0].texts[0].logprob for request in requests]
        mixed = [score.texts[0].logprob for score in model.score(requests)]
        np.testing.assert_allclose(mixed, alone, atol=10 * self.tolerance)
        assert alone[0] == pytest.approx(alone[-2], abs=self.tolerance)
        assert alone[1] == pytest.approx(alone[-1], abs=self.tolerance)
        different = np.unique(np.round(alone[: 1 + len(self.adapters)], 2))
        assert len(different) == 1 + len(self.adapters)

    def test_answers_of_adapters_side_by_side(self, model: LanguageModel) -> None:
        """A batch over adapters gives what each gives alone."""
        if not self.adapters:
            pytest.skip("this model has no adapter")
        names = [*self.adapters, None] * 3
        requests = [
            GenerateRequest(PROMPTS[n % 5], Decoding(max_tokens=3 + n), logprobs=2, adapter=name)
            for n, name in enumerate(names)
        ]
        for request, found in zip(requests, model.generate(requests), strict=True):
            self.assert_same(found, model.generate([request])[0])

    def test_unknown_adapter(self, model: LanguageModel) -> None:
        """Named, beside what there is."""
        found = model.generate([GenerateRequest("A", adapter="no-such-adapter")])[0]
        assert found.error is not None
        assert "no-such-adapter" in found.error
        assert not self.adapters or any(name in found.error for name in self.adapters)
