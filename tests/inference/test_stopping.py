"""Texts that grow byte by byte, and the texts that end them."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmrec.inference.stopping import AnswerText, first_stop


def decode(ids):
    return bytes(ids).decode(errors="replace")


def said(tokens, stop=(), prompt=b""):
    """The text of an answer, and how many tokens were taken."""
    text = AnswerText(decode, list(prompt), stop)
    for taken, token in enumerate(tokens, start=1):
        if text.push(token):
            return text.close(), taken
    return text.close(), len(tokens)


@settings(deadline=None)
@given(st.text(), st.binary(max_size=9))
@example("🎬👩‍👩‍👧", b"\xf0\x9f")
def test_text_comes_back_whole(text, prompt):
    tokens = text.encode()
    assert said(tokens, prompt=prompt)[0] == text
    assert said(tokens, stop=("\x00never\x00",), prompt=prompt)[0] == text


@settings(deadline=None)
@given(st.text(alphabet="abé🎬", max_size=30), st.lists(st.text("abé🎬", min_size=1, max_size=3)))
def test_cut_is_where_a_search_of_the_whole_text_finds_the_first_stop(text, stop):
    found, taken = said(text.encode(), stop)
    # the earliest end decides, as tokens come one by one; among those the earliest beginning
    ends = {text.find(s) + len(s) for s in stop if s in text}
    if not ends:
        assert (found, taken) == (text, len(text.encode()))
        return
    seen = text[: min(ends)]
    begin = min(seen.find(s) for s in stop if s in seen)
    assert (found, taken) == (seen[:begin], len(seen.encode()))


@settings(deadline=None)
@given(st.binary(max_size=20))
def test_broken_bytes_are_marked_and_nothing_is_lost(tokens):
    assert said(tokens)[0] == decode(tokens)
    found, _ = said(tokens, stop=("\x00never\x00",))
    assert found.replace("\ufffd", "") == decode(tokens).replace("\ufffd", "")


def test_held_back_character_does_not_hide_a_stop():
    assert said("é.é".encode(), stop=("é",)) == ("", 2)
    assert said("a é.".encode(), stop=("é.",)) == ("a ", 5)


def test_stop_inside_one_token():
    words = {0: "one", 1: " two. Three"}
    text = AnswerText(lambda ids: "".join(words[i] for i in ids), [], (".",))
    assert not text.push(0)
    assert text.push(1)
    assert text.close() == "one two"


def test_space_of_a_first_token_is_kept():
    """Tokenizers of the Llama kind drop the space that begins a text."""

    def drops_space(ids):
        return "".join((" yes", " no")[i] for i in ids).removeprefix(" ")

    for stop in ((), ("never",)):
        text = AnswerText(drops_space, [1], stop)
        text.push(0)
        text.push(1)
        assert text.close() == " yes no"


@pytest.mark.parametrize(
    ("text", "stop", "start", "place"),
    [("abc", ("c", "b"), 0, 1), ("abc", ("d",), 0, None), ("abca", ("a",), 1, 3)],
)
def test_first_stop(text, stop, start, place):
    assert first_stop(text, stop, start) == place
