"""What a server client is told when it is made, checked; above all, where an API key must not be.

A value that may be a key is never shown, neither whole nor in part.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from llmrec.errors import ConfigError

_LOOKS_LIKE_A_KEY = re.compile(r"\b(sk|pk|gsk|xai)-[A-Za-z0-9_-]{12,}|^hf_[A-Za-z0-9]{20,}")
_SHORTEST_KEY = 8  # shorter ones ("EMPTY", "x") may well be part of a name by chance


def api_key(variable: str | None, named: Mapping[str, str]) -> str | None:
    """The API key, if the environment has one.

    Args:
        variable: Name of the environment variable, or None for no key.
        named: Texts that are written down, by their names; none of them may hold the key.

    Raises:
        ConfigError: The key cannot be sent in a header, or one of the texts holds it.
    """
    key = os.environ.get(variable, "").strip() if variable is not None else ""
    if not key:
        return None
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ConfigError(
            f"the value of {variable} holds a blank or a character that cannot be sent; set it to "
            "the API key alone."
        )
    for where, text in named.items():
        if len(key) >= _SHORTEST_KEY and key in text:
            raise ConfigError(f"{where} contains the API key; it belongs in the environment.")
    return key


def checked_address(base_url: str) -> tuple[str, bool]:
    """The address without a slash at its end, and whether it is this machine's loopback.

    Raises:
        ConfigError: It is no http address, or holds more than an address.
    """
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "base_url holds a user, a password, a query or a fragment (not shown, it may be a "
            "key); give the bare address and put the key in the environment."
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("base_url is no http or https address, like http://127.0.0.1:8000/v1.")
    if _LOOKS_LIKE_A_KEY.search(base_url):
        raise ConfigError("base_url contains what looks like an API key; use the environment.")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return parts._replace(scheme=parts.scheme.lower()).geturl().rstrip("/"), loopback


def checked_model(model: str) -> str:
    """The name of the model.

    Raises:
        ConfigError: It is empty or looks like a key.
    """
    if not model.strip():
        raise ConfigError("model is empty; give the name of a model on the server.")
    if _LOOKS_LIKE_A_KEY.search(model):
        raise ConfigError(
            "model looks like an API key (not shown); give the model's name, and put the key in "
            "the environment."
        )
    return model


def check_key_name(name: str | None) -> None:
    """Check the name of the variable that holds the key.

    Raises:
        ConfigError: It is no such name.
    """
    if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name):
        raise ConfigError(
            "api_key_env is no name of an environment variable like OPENAI_API_KEY (capitals, "
            "digits, underscores); what was given is not shown, it may be the key itself."
        )


def check_numbers(
    concurrency: int, timeout: float, retries: int, first_wait: float, most_wait: float
) -> None:
    """Check the numbers of a client.

    Raises:
        ConfigError: One is out of range.
    """
    for name, value, least in (
        ("concurrency", concurrency, 1),
        ("retries", retries, 0),
        ("first_wait", first_wait, 0),
        ("most_wait", most_wait, 0),
    ):
        if not least <= value < float("inf"):
            raise ConfigError(f"{name} is {value}; expected a number from {least}.")
    if not 0 < timeout < float("inf"):
        raise ConfigError(f"timeout is {timeout}; expected seconds above 0.")
