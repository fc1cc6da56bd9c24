"""What an HTTP answer that is no answer means, in a sentence, and whether to ask again.

Pure functions over status, headers and body. Nothing here knows the API key: a refusal of the key
(401, 403) never quotes the server, because servers like to quote the key; other messages of a
server are shortened, freed of control characters and passed through :func:`without_key`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

_RETRIED = {408, 409, 425, 429}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_MOST_CHARACTERS = 300


@dataclass(frozen=True)
class Failure:
    """Why a call brought no answer.

    Attributes:
        sentence: For the user; no API key in it.
        retry: Asking again may help.
        wait: Seconds the server asks to wait before that, or None.
        for_all: Every other request would fail alike, so none is sent any more.
        status: The HTTP status, or None where there was none.
    """

    sentence: str
    retry: bool = False
    wait: float | None = None
    for_all: bool = False
    status: int | None = None


def failure_of_status(
    status: int,
    headers: Mapping[str, str],
    body: str,
    *,
    where: str,
    key_advice: str,
    key: str | None,
    now: float,
) -> Failure:
    """Judge a status other than 200.

    Args:
        status: Of the answer.
        headers: Of the answer; names in lower case.
        body: Of the answer.
        where: The address that was asked.
        key_advice: What to do when the key is refused.
        key: The API key, to be kept out of the sentence.
        now: Seconds since 1970, for a Retry-After that is a date.
    """
    if status in (401, 403):
        return Failure(f"{where} refused access (status {status}): {key_advice}.", for_all=True)
    said = without_key(server_message(body), key)
    if status == 429 and _out_of_credit(body):
        return Failure(
            f"{where} says that the account has no credit left (status 429: {said}).", for_all=True
        )
    if 300 <= status < 400:
        return Failure(f"{where} redirects elsewhere (status {status}); give the final base_url.")
    retry = status in _RETRIED or status >= 500
    wait = retry_after(headers.get("retry-after"), now) if retry else None
    sentence = f"{where} answered with status {status}: {said}."
    return Failure(sentence, retry, wait, status=status)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header, in seconds or as an HTTP date; None if unreadable.

    >>> retry_after("1.5", now=0.0), retry_after("Thu, 01 Jan 1970 00:00:07 GMT", now=2.0)
    (1.5, 5.0)
    """
    if value is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)


def server_message(body: str) -> str:
    """What a server's error body says, on one short line.

    Understands ``{"error": {"message": ...}}``, ``{"error": ...}``, ``{"message": ...}`` and
    ``{"detail": ...}``.
    """
    if looks_like_html(body):
        return "an HTML page"
    value = _as_json(body)
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and name in value:
            value = value[name]
    if isinstance(value, dict) and "message" in value:
        value = value["message"]
    text = value if isinstance(value, str) else body
    text = _CONTROL.sub(" ", text).strip().rstrip(".")
    if not text:
        return "nothing"
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "..."


def looks_like_html(body: str) -> bool:
    """Whether a body is a web page: the sign of a wrong address, a proxy or a login page."""
    start = body.lstrip("\ufeff \t\r\n")[:200].lower()
    return start.startswith(("<!doctype", "<html", "<head", "<body"))


def without_key(text: str, key: str | None) -> str:
    """Take the API key out of a text."""
    return text.replace(key, "[API key]") if key else text


def _out_of_credit(body: str) -> bool:
    value = _as_json(body)
    error = value.get("error") if isinstance(value, dict) else None
    return isinstance(error, dict) and "insufficient_quota" in (
        error.get("code"),
        error.get("type"),
    )


def _as_json(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body
