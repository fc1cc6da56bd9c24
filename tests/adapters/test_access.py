"""Tokens: whose they are, and that nobody can make or change one without the key."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.adapters import access
from llmrec.adapters.access import AccessDenied, Tokens
from llmrec.errors import ConfigError, DataError

KEY = "k" * 32
TOKENS = Tokens(KEY)


LONGEST = [sign * 256 for sign in ("\N{GRINNING FACE}", '"', "\\", "\u2028")]


@pytest.mark.parametrize("user", ["ann", 5, "5", "../x", "Zoë", *LONGEST])
def test_a_token_leads_back_to_its_user(user):
    found = TOKENS.holder(TOKENS.of_user(user)).user
    assert (found, type(found)) == (user, type(user))
    assert TOKENS.holder(TOKENS.of_operator()).user is None


@given(st.integers(0, 300), st.integers(1, 255))
def test_a_changed_token_is_refused(place, change):
    token = bytearray(TOKENS.of_user("ann").encode())
    token[place % len(token)] ^= change
    with pytest.raises(AccessDenied):
        TOKENS.holder(token.decode("latin-1"))


def test_a_user_cannot_become_another_or_the_operator():
    payload, signature = TOKENS.of_user("ann").split(".")
    about = json.loads(base64.urlsafe_b64decode(payload))
    for change in ({"user": '"bob"'}, {"operator": True}, {"until": 1e12}):
        forged = base64.urlsafe_b64encode(json.dumps({**about, **change}).encode()).decode()
        with pytest.raises(AccessDenied, match="not one of this server"):
            TOKENS.holder(f"{forged}.{signature}")
    with pytest.raises(AccessDenied, match="not one of this server"):
        Tokens("another key of at least 32 characters").holder(f"{payload}.{signature}")


@pytest.mark.parametrize("token", ["", ".", "a.b", "x" * 10_000, "\xff.\xff", "a" * 5000 + ".b"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(AccessDenied):
        TOKENS.holder(token)


def test_a_token_ends(monkeypatch):
    token = TOKENS.of_user("ann", seconds=10)
    now = access.time.time()
    monkeypatch.setattr(access.time, "time", lambda: now + 9)
    assert TOKENS.holder(token).user == "ann"
    monkeypatch.setattr(access.time, "time", lambda: now + 11)
    with pytest.raises(AccessDenied, match="is over"):
        TOKENS.holder(token)


def test_refusals():
    with pytest.raises(ConfigError, match="has 5 characters; set LLMREC_ADAPTER_KEY"):
        Tokens("short")
    with pytest.raises(ConfigError, match="over already"):
        TOKENS.of_user("ann", seconds=0)
    for never in (float("inf"), 1e308 * 3600):
        with pytest.raises(ConfigError, match="would never be over"):
            TOKENS.of_user("ann", seconds=never)
    with pytest.raises(ConfigError, match="over already"):
        TOKENS.of_operator(float("nan"))
    with pytest.raises(DataError, match="user id"):
        TOKENS.of_user("a\0b")
