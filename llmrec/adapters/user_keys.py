"""User ids as keys of the store. They are hostile input: never part of a path or of a name."""

import json

from llmrec.errors import DataError

_LONGEST = 256

UserId = str | int


def user_key(user: UserId) -> str:
    """The key of a user; 5 and "5" are two users.

    Raises:
        DataError: The id is empty, too long, holds control characters or half a character.
    """
    if isinstance(user, bool) or not isinstance(user, str | int):
        raise DataError(f"user id {user!r} is neither a text nor a whole number.")
    if isinstance(user, str):
        shown = repr(user[:40])
        if not user or len(user) > _LONGEST:
            raise DataError(
                f"user id {shown} has {len(user)} characters; expected 1 to {_LONGEST}."
            )
        if any(ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 for sign in user):
            raise DataError(f"user id {shown} holds control characters or half a character.")
    return json.dumps(user, ensure_ascii=False)


def user_of(key: str) -> UserId:
    """Inverse of :func:`user_key`."""
    found: UserId = json.loads(key)
    return found
