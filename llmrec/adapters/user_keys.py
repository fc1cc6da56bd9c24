"""User ids as keys of the store. They are hostile input: never part of a path or of a name."""

import json
from numbers import Integral

from llmrec.errors import DataError

_LONGEST = 256
_LARGEST = 2**63
_MOST_DIGITS = len(str(_LARGEST))

UserId = str | int


def user_key(user: UserId) -> str:
    """The key of a user; 5 and "5" are two users.

    Raises:
        DataError: The id is empty, too long or large, holds control characters or half a
            character.
    """
    if isinstance(user, bool) or not isinstance(user, str | Integral):
        raise DataError(f"user id {user!r:.60} is neither a text nor a whole number.")
    if isinstance(user, str):
        _require_text(user)
        return json.dumps(user, ensure_ascii=False)
    number = int(user)
    if not -_LARGEST <= number < _LARGEST:
        raise DataError(f"user id of {number.bit_length()} bits; whole numbers may have 64.")
    return str(number)


def user_of(key: str) -> UserId:
    """Inverse of :func:`user_key`."""
    found: UserId = json.loads(key)
    return found


def number_in(text: str) -> int | None:
    """The whole number that is written exactly like this and can be an id; None for other texts.

    007 and 7 are two texts, and only one of them is how 7 is written.

    >>> number_in("-7"), number_in("007"), number_in("9" * 5000)
    (-7, None, None)
    """
    digits = text.removeprefix("-")
    if len(digits) > _MOST_DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    number = int(text)
    return number if str(number) == text and -_LARGEST <= number < _LARGEST else None


def _require_text(user: str) -> None:
    shown = repr(user[:40])
    if not user or len(user) > _LONGEST:
        raise DataError(f"user id {shown} has {len(user)} characters; expected 1 to {_LONGEST}.")
    if any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 or 0xD800 <= ord(sign) < 0xE000
           for sign in user):  # fmt: skip
        raise DataError(f"user id {shown} holds control characters or half a character.")
