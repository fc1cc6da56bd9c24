"""Who may use which adapter: signed tokens that name one user and end.

A token is readable, so it holds no secret, and nobody without the key can make or change one. It
carries the user's id, which is why it travels in headers over loopback or TLS and never in a URL.
"""

import base64
import binascii
import hashlib
import hmac
import json
import math
import time
from dataclasses import dataclass

from llmrec.adapters.user_keys import UserId, user_key, user_of
from llmrec.errors import ConfigError, LlmrecError

_SHORTEST_KEY = 32
_LONGEST_TOKEN = 4096


class AccessDenied(LlmrecError):
    """A token is missing, forged, damaged or too old."""


@dataclass(frozen=True)
class Holder:
    """Who holds a token.

    Attributes:
        user: The user, or None for the operator, who may use every adapter.
    """

    user: UserId | None


class Tokens:
    """Makes and checks tokens.

    Args:
        key: The operator's secret, at least 32 characters.

    Raises:
        ConfigError: The key is too short.

    Example:
        >>> tokens = Tokens("a key of at least 32 characters ...")
        >>> tokens.holder(tokens.of_user("ann", seconds=60)).user
        'ann'
    """

    def __init__(self, key: str) -> None:
        if len(key) < _SHORTEST_KEY:
            raise ConfigError(
                f"the key that signs tokens has {len(key)} characters; set LLMREC_ADAPTER_KEY to a "
                f"random text of at least {_SHORTEST_KEY}."
            )
        self._key = hashlib.sha256(b"llmrec adapter token " + key.encode()).digest()

    def of_user(self, user: UserId, seconds: float = 86_400.0) -> str:
        """A token for one user's adapter.

        Raises:
            DataError: The id is not valid.
            ConfigError: It would be over already, or never.
        """
        return self._make({"user": user_key(user)}, seconds)

    def of_operator(self, seconds: float = 3_600.0) -> str:
        """A token for every adapter and every route of the server."""
        return self._make({"operator": True}, seconds)

    def holder(self, token: str) -> Holder:
        """Whose token it is.

        Raises:
            AccessDenied: It is not one of this key, or it is over.
        """
        payload, _, signature = token[:_LONGEST_TOKEN].partition(".")
        if not hmac.compare_digest(self._signature(payload).encode(), signature.encode()):
            raise AccessDenied("the token is not one of this server; ask the operator for one.")
        try:
            about = json.loads(base64.urlsafe_b64decode(payload))
        except (binascii.Error, ValueError):
            raise AccessDenied("the token is damaged; ask the operator for one.") from None
        if time.time() >= about["until"]:
            raise AccessDenied("the token is over; ask the operator for a new one.")
        return Holder(None if about.get("operator") else user_of(about["user"]))

    def _make(self, about: dict[str, object], seconds: float) -> str:
        if not 0 < seconds < math.inf:
            what = "would never be over" if seconds > 0 else "would be over already"
            raise ConfigError(f"a token of {seconds} seconds {what}.")
        # not as escapes: the longest id must fit into a header
        text = json.dumps({**about, "until": time.time() + seconds}, ensure_ascii=False)
        payload = base64.urlsafe_b64encode(text.encode()).decode()
        return f"{payload}.{self._signature(payload)}"

    def _signature(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()
