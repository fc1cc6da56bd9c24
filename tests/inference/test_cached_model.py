"""A model behind a cache."""

from dataclasses import replace

import numpy as np
import pytest

from llmrec.contracts import LanguageModel
from llmrec.errors import ConfigError, StorageError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.cached_model import CachedModel, CallPlan
from llmrec.inference.request_keys import request_key
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score, Scored
from llmrec.inference.signature import Position, record_of_positions

RECORD = record_of_positions(
    [Position([-0.5, -2.0], actual=0)], 2, vocab_size=9, mode="unknown", kind="output", has_eos=True
)


class Stub:
    """Answers with the prompt in capitals; prompts that begin with ``bad`` fail."""

    def __init__(self, name="stub"):
        self.fingerprint = {"model": name}
        self.asked = []

    def generate(self, requests):
        self.asked.append([request.prompt for request in requests])
        return [self._one(request.prompt) for request in requests]

    def _one(self, prompt):
        if prompt.startswith("bad"):
            return Generation(error="it failed")
        return Generation(prompt.upper(), "stop", 1, 1, -0.5, RECORD)

    def score(self, requests):
        self.asked.append([request.prompt for request in requests])
        texts = [request.continuations or ("",) for request in requests]
        return [Score(tuple(Scored(-float(len(t)), 1) for t in some), 1) for some in texts]


@pytest.fixture
def cache(tmp_path):
    return ResponseCache(tmp_path / "cache.sqlite")


def requests_of(*prompts, **fields):
    return [GenerateRequest(prompt, **fields) for prompt in prompts]


def test_only_what_is_missing_is_asked_and_the_order_stays(cache):
    stub = Stub()
    model = CachedModel(stub, cache)
    assert isinstance(model, LanguageModel)
    model.generate(requests_of("b", "d"))
    results = model.generate(requests_of("a", "b", "c", "d", "a"))
    assert [result.text for result in results] == ["A", "B", "C", "D", "A"]
    assert stub.asked == [["b", "d"], ["a", "c"]]
    assert (model.calls, model.hits) == (4, 3)
    np.testing.assert_array_equal(results[1].signature.topk_logprobs, RECORD.topk_logprobs)


def test_when_all_is_known_the_model_is_not_asked(cache):
    CachedModel(Stub(), cache).generate(requests_of("a"))
    stub = Stub()
    assert CachedModel(stub, cache).generate(requests_of("a"))[0].text == "A"
    assert CachedModel(stub, cache).generate([]) == []
    assert stub.asked == []


def test_failures_are_not_stored(cache):
    stub = Stub()
    model = CachedModel(stub, cache)
    for _ in range(2):
        results = model.generate(requests_of("bad", "good"))
        assert [result.error for result in results] == ["it failed", None]
    assert stub.asked == [["bad", "good"], ["bad"]]


def test_scores_are_kept_apart_from_texts(cache):
    stub = Stub()
    model = CachedModel(stub, cache)
    model.generate([GenerateRequest("a")])
    first = model.score([ScoreRequest("a"), ScoreRequest("a", ("xy", "z"))])
    again = model.score([ScoreRequest("a", ("xy", "z")), ScoreRequest("a", ("z", "xy"))])
    assert [text.logprob for text in first[1].texts] == [-2.0, -1.0]
    assert again[0] == first[1]
    assert stub.asked == [["a"], ["a", "a"], ["a"]]


def test_another_model_has_other_answers(cache):
    CachedModel(Stub("one"), cache).generate(requests_of("a"))
    other = Stub("two")
    model = CachedModel(other, cache)
    model.generate(requests_of("a"))
    assert other.asked == [["a"]]
    assert model.fingerprint == {"model": "two"}


def test_what_is_stored_survives_a_call_that_is_cut_off(cache):
    class Dies(Stub):
        def generate(self, requests):
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().generate(requests)

    prompts = requests_of(*"abcdef")
    with pytest.raises(KeyboardInterrupt):
        CachedModel(Dies(), cache, save_every=2).generate(prompts)
    stub = Stub()
    CachedModel(stub, cache).generate(prompts)
    assert stub.asked == [["e", "f"]]


def test_answers_that_cannot_be_stored_are_not_lost(cache, monkeypatch):
    def full(*_):
        raise StorageError("the disk is full.")

    monkeypatch.setattr(cache, "put", full)
    with pytest.warns(UserWarning, match="not stored: the disk is full"):
        results = CachedModel(Stub(), cache).generate(requests_of("a"))
    assert results[0].text == "A"


def test_an_owner_can_be_forgotten(cache):
    CachedModel(Stub(), cache, owner="u1").generate(requests_of("a", "b"))
    CachedModel(Stub(), cache, owner="u2").generate(requests_of("b", "c"))
    assert cache.forget("u2") == 2
    stub = Stub()
    CachedModel(stub, cache).generate(requests_of("a", "b", "c"))
    assert stub.asked == [["b", "c"]]


def test_a_plan_counts_and_changes_nothing(cache):
    stub = Stub()
    model = CachedModel(stub, cache)
    model.generate(requests_of("known"))
    decoding = Decoding(max_tokens=10)
    wanted = [
        GenerateRequest("known"),
        GenerateRequest("12345", decoding=decoding),
        GenerateRequest("12345", decoding=decoding),
        ScoreRequest("1234", ("12", "1234")),
    ]
    # 5 characters are 2 tokens and 10 of the answer; 6 and 8 characters together are 4 tokens
    assert model.plan(wanted) == CallPlan(2, 2, 5 + 14, 2 + 10 + 4)
    assert model.plan([]) == CallPlan(0, 0, 0, 0)
    assert len(stub.asked) == 1


BASE = GenerateRequest("p", Decoding(temperature=0.5, seed=1), 5, "a")


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, prompt="P"),
        replace(BASE, logprobs=4),
        replace(BASE, adapter=None),
        replace(BASE, over_long="keep_end"),
        *(
            replace(BASE, decoding=replace(BASE.decoding, **change))
            for change in (
                {"max_tokens": 1},
                {"temperature": 0.25},
                {"top_p": 0.5},
                {"top_k": 3},
                {"seed": 2},
                {"stop": ("x",)},
                {"ignore_eos": True},
            )
        ),
        ScoreRequest("p", None, 5, "a"),
    ],
)
def test_every_field_makes_another_question(other):
    assert request_key(other, {}) != request_key(BASE, {})


def test_the_seed_of_greedy_decoding_makes_none():
    one, two = (GenerateRequest("p", Decoding(seed=seed)) for seed in (1, None))
    assert request_key(one, {"model": "m"}) == request_key(two, {"model": "m"})
    assert request_key(one, {"model": "m"}) != request_key(one, {"model": "n"})


def test_a_prompt_with_half_of_a_surrogate_pair(cache):
    stub = Stub()
    model = CachedModel(stub, cache)
    for _ in range(2):
        assert model.generate(requests_of("x\ud83d"))[0].text == "X\ud83d"
    assert len(stub.asked) == 1


def test_a_batch_of_none(cache):
    with pytest.raises(ConfigError, match="save_every is 0"):
        CachedModel(Stub(), cache, save_every=0)


def test_every_request_can_have_owners_of_its_own(cache):
    asked = Stub()
    owners = {"a": ["u1"], "b": ["u1", "u2"], "c": []}
    model = CachedModel(asked, cache, owner=lambda request: owners[request.prompt])
    answers = model.generate(requests_of("c", "b", "a", "b"))
    assert [answer.text for answer in answers] == ["C", "B", "A", "B"]
    assert asked.asked == [["c", "b", "a"]]
    assert cache.forget("u2") == 1
    assert cache.forget("u1") == 1
    model.generate(requests_of("a", "b", "c"))
    assert asked.asked[1:] == [["a", "b"]]
