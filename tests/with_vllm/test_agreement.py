"""vLLM, in this process and behind a server, against the Hugging Face backend, in float32."""

import numpy as np
import pytest

from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest

pytestmark = pytest.mark.vllm

SAME = 1e-3
PROMPTS = ["The film", "A", "Once upon a time in a small town there was", "Viel Glück, 映画 🎬!"]
TEXTS = ("!", " was very good", " é", "x" * 40, "in the end")
NAMES = (None, "alice@1", "bob.v2", "carol")


@pytest.fixture(params=["engine", "served"])
def model(request):
    return request.getfixturevalue(request.param)


def assert_same_record(found, expected):
    for name in ("topk_logprobs", "actual_logprob"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=SAME)
    # log of a small rest: compare what it is the log of
    np.testing.assert_allclose(np.exp(found.tail_logmass), np.exp(expected.tail_logmass), atol=SAME)
    values = expected.topk_logprobs
    apart = (values[:, :-1] - values[:, 1:]) > 2 * SAME
    clear = np.ones(values.shape, dtype=bool)
    clear[:, 1:] &= apart
    clear[:, :-1] &= apart
    clear[:, -1] = False  # the next one is not in sight
    np.testing.assert_array_equal(found.topk_ids[clear], expected.topk_ids[clear])
    inside = expected.actual_rank < values.shape[1] - 1
    places = expected.actual_rank[inside]
    sure = clear[inside, places]
    np.testing.assert_array_equal(found.actual_rank[inside][sure], places[sure])
    assert not found.rank_censored[inside].any()
    assert (found.actual_rank[~inside] >= values.shape[1] - 1).all()
    assert found.tokens is None or len(found.tokens) == len(expected.tokens)
    assert (found.kind, found.has_eos) == (expected.kind, expected.has_eos)


def test_scores_of_continuations(model, reference):
    requests = [ScoreRequest(p, TEXTS, logprobs=9, adapter=name) for p in PROMPTS for name in NAMES]
    for found, expected in zip(model.score(requests), reference.score(requests), strict=True):
        assert found.error is None
        assert found.prompt_tokens == expected.prompt_tokens
        for here, there in zip(found.texts, expected.texts, strict=True):
            assert here.tokens == there.tokens
            assert here.logprob == pytest.approx(there.logprob, abs=SAME)
            assert_same_record(here.signature, there.signature)


def test_scores_of_prompts(model, reference):
    requests = [
        ScoreRequest(p * 3, logprobs=k, adapter=name)
        for p in PROMPTS
        for name in NAMES
        for k in (0, 5)
    ]
    for found, expected in zip(model.score(requests), reference.score(requests), strict=True):
        assert found.error is None
        assert found.prompt_tokens == expected.prompt_tokens
        assert found.texts[0].tokens == expected.texts[0].tokens
        assert found.texts[0].logprob == pytest.approx(expected.texts[0].logprob, abs=SAME)
        if expected.texts[0].signature is not None:
            assert_same_record(found.texts[0].signature, expected.texts[0].signature)


def test_greedy_answers(model, reference):
    decoding = Decoding(max_tokens=24, ignore_eos=True)
    requests = [GenerateRequest(p, decoding, logprobs=4, adapter=n) for p in PROMPTS for n in NAMES]
    compared = 0
    for found, expected in zip(model.generate(requests), reference.generate(requests), strict=True):
        best = expected.signature.topk_logprobs
        close = np.flatnonzero(best[:, 0] - best[:, 1] <= 2 * SAME)
        if close.size:
            continue
        compared += 1
        assert found.text == expected.text
        assert (found.finish, found.tokens) == (expected.finish, expected.tokens)
        assert found.logprob == pytest.approx(expected.logprob, abs=SAME)
        assert_same_record(found.signature, expected.signature)
    assert compared >= len(requests) // 2


def test_sampled_answers_are_what_the_reference_gives_their_tokens(model, reference):
    for name in NAMES:
        decoding = Decoding(max_tokens=12, temperature=1.2, top_k=60, top_p=0.9, seed=7)
        found = model.generate([GenerateRequest("The film", decoding, 3, adapter=name)])[0]
        if not found.text.isascii() or len(found.text) != found.tokens:
            continue  # half a character has no text to score
        expected = reference.score([ScoreRequest("The film", (found.text,), 3, adapter=name)])[0]
        assert found.logprob == pytest.approx(expected.texts[0].logprob, abs=SAME)
        np.testing.assert_allclose(
            found.signature.topk_logprobs, expected.texts[0].signature.topk_logprobs, atol=SAME
        )


def test_stop_texts(model, reference):
    decoding = Decoding(max_tokens=24, ignore_eos=True)
    plain = reference.generate([GenerateRequest("A", decoding)])[0].text
    stops = [(plain[3:5],), (plain[9:12], plain[10:11]), ("never there", plain[-2:])]
    requests = [
        GenerateRequest("A", Decoding(max_tokens=24, ignore_eos=True, stop=stop), logprobs=1)
        for stop in stops
    ]
    for found, expected in zip(model.generate(requests), reference.generate(requests), strict=True):
        assert (found.text, found.finish) == (expected.text, expected.finish)
        assert found.tokens == expected.tokens == len(found.signature)
