"""The model without weights."""

import pytest

from llmrec.errors import ConfigError
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest


def answer(model, prompt, **decoding):
    return model.generate([GenerateRequest(prompt, Decoding(**decoding))])[0]


def test_replies_are_said_word_for_word():
    model = FakeLanguageModel(lambda prompt: f"I like {prompt}! 🎬")
    found = answer(model, "films")
    assert (found.text, found.finish, found.error) == ("I like films! 🎬", "stop", None)
    assert found.tokens == len("I like films! 🎬".encode()) + 1  # and the end of the text
    assert found.logprob == pytest.approx(0, abs=1e-6)


def test_replies_obey_the_request():
    model = FakeLanguageModel(lambda prompt: "one, two, three")
    assert answer(model, "count", stop=(", ",)).text == "one"
    cut = answer(model, "count", max_tokens=3)
    assert (cut.text, cut.finish) == ("one", "length")
    assert answer(model, "count", temperature=1.0, seed=4).text == "one, two, three"


def test_replies_are_what_scores_highest():
    model = FakeLanguageModel(lambda prompt: "yes" if "good" in prompt else "no")
    texts = ("yes", "no")
    good, bad = model.score([ScoreRequest("good film", texts), ScoreRequest("bad film", texts)])
    assert good.texts[0].logprob > good.texts[1].logprob + 20
    assert bad.texts[1].logprob > bad.texts[0].logprob + 20


def test_same_seed_same_model():
    first, again, other = (answer(FakeLanguageModel(seed=n), "A").text for n in (1, 1, 2))
    assert first == again
    assert first != other


def test_text_is_readable():
    found = answer(FakeLanguageModel(), "A", max_tokens=60, temperature=1.0, seed=0)
    assert found.text.isascii()
    assert found.text.isprintable()


def test_texts_end_now_and_then():
    finishes = {
        answer(FakeLanguageModel(), str(n), max_tokens=150, temperature=1.0, seed=n).finish
        for n in range(6)
    }
    assert "stop" in finishes


def test_calls_are_counted():
    model = FakeLanguageModel()
    model.generate([GenerateRequest("A", Decoding(max_tokens=1))] * 3)
    model.score([ScoreRequest("A", ("b",))])
    assert (model.calls, model.requests) == (2, 4)


def test_an_adapter_name_is_given_once():
    model = FakeLanguageModel(adapters=["alice"])
    model.add_adapter("bob")
    with pytest.raises(ConfigError, match="'alice' exists"):
        model.add_adapter("alice")


def test_misspelt_adapter_is_suggested():
    found = FakeLanguageModel(adapters=["alice"]).score([ScoreRequest("A", ("b",), adapter="alic")])
    assert found[0].error == "there is no adapter 'alic'; did you mean 'alice'?"
