"""User ids are hostile input: what is kept apart, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.adapters.user_keys import number_in, user_key, user_of
from llmrec.errors import DataError

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256)
NUMBERS = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(TEXTS | NUMBERS, unique_by=lambda user: (type(user), user)))
def test_keys_are_different_and_lead_back(users):
    keys = [user_key(user) for user in users]
    assert [user_of(key) for key in keys] == users
    assert len(set(keys)) == len(users)
    assert [json.loads(key) for key in keys] == users


@given(NUMBERS)
def test_a_number_is_what_is_written_like_one(number):
    assert number_in(str(number)) == number
    assert number_in(f"0{number}") is None
    assert number_in(f"+{number}") is None


@pytest.mark.parametrize(
    "text", ["", "-", "-0", "007", "1_0", " 7", "\u0667", "7.0", str(2**63), "9" * 23, "9" * 5000]
)
def test_other_texts_are_texts(text):
    assert number_in(text) is None


def test_numbers_and_their_texts_are_two_users():
    assert user_key(5) != user_key("5")
    assert user_key(np.int64(5)) == user_key(5)


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("", "has 0 characters"),
        ("x" * 257, "has 257 characters"),
        ("a\0b", "control characters"),
        ("a\nb", "control characters"),
        ("\x9b31m", "control characters"),
        ("\ud800", "half a character"),
        (2**63, "64 bits"),
        pytest.param(10**5000, "whole numbers may have 64", id="enormous"),
        (True, "neither a text nor a whole number"),
        (1.0, "neither a text nor a whole number"),
        (None, "neither a text nor a whole number"),
        (b"user", "neither a text nor a whole number"),
    ],
)
def test_what_is_no_id_is_refused_in_one_sentence(user, why):
    with pytest.raises(DataError, match=why) as caught:
        user_key(user)
    assert "\0" not in str(caught.value)
    assert len(str(caught.value)) < 200
