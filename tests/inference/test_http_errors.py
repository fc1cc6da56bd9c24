"""Reading of failed answers."""

import random

import pytest

from llmrec.inference.http_errors import failure_of_status, retry_after, server_message
from llmrec.inference.http_post import Patience


def failure(status, headers=None, body=""):
    about = {"where": "http://s", "key_advice": "advice", "key": None, "now": 100.0}
    return failure_of_status(status, headers or {}, body, **about)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0.25 ", 0.25),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:02:00", 20.0),  # without a zone: universal time
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),  # has passed
        ("-3", None),
        ("soon", None),
        ("", None),
        ("nan", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(value, now=100.0) == seconds


def test_waits_double_up_to_the_bound_and_are_shortened_by_at_most_half():
    patience = Patience(first_wait=1.0, most_wait=5.0)
    waits = [patience.wait(attempt, None, random.Random(attempt)) for attempt in range(6)]
    for wait, grown in zip(waits, [1, 2, 4, 5, 5, 5], strict=True):
        assert grown / 2 <= wait <= grown
    assert patience.wait(5000, None, random.Random(0)) <= 5.0
    assert patience.wait(0, None, random.Random(3)) == patience.wait(0, None, random.Random(3))


def test_a_wait_that_the_server_asks_for_is_taken_up_to_the_bound():
    patience = Patience(first_wait=1.0, most_wait=5.0)
    assert patience.wait(0, 3.0, random.Random(0)) == 3.0
    assert patience.wait(0, 86_400.0, random.Random(0)) == 5.0


@pytest.mark.parametrize(
    ("status", "retry", "for_all"),
    [
        (400, False, False),
        (401, False, True),
        (403, False, True),
        (404, False, False),
        (408, True, False),
        (429, True, False),
        (500, True, False),
        (503, True, False),
    ],
)
def test_what_is_asked_again(status, retry, for_all):
    found = failure(status, {"retry-after": "2"}, "why")
    assert (found.retry, found.for_all) == (retry, for_all)
    assert found.wait == (2.0 if retry else None)


def test_a_refused_key_never_quotes_the_server():
    assert "secret" not in failure(401, body="your key is secret").sentence


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": {"message": "too long."}}', "too long"),
        ('{"error": "busy"}', "busy"),
        ('{"object": "error", "message": "old vLLM"}', "old vLLM"),
        ('{"detail": "Not Found"}', "Not Found"),
        ("plain\n\ttext", "plain text"),
        ("  <HTML><body>x", "an HTML page"),
        ("", "nothing"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
def test_what_the_server_said(body, said):
    assert server_message(body) == said


def test_a_long_message_is_cut():
    assert len(server_message("x" * 10_000)) < 310
