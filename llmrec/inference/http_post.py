"""Send JSON to a server and get JSON back, with patience and without leaks.

A :class:`JsonPoster` sends one request at a time from whatever thread calls it; several threads
share one. It retries what may pass (429, 5xx, a cut connection, a time-out) after growing waits,
honours Retry-After up to a bound, and once a server refuses the key it sends nothing more. It does
not know what the JSON means, does not follow redirects (the key would travel along) and never puts
the key into a text.
"""

import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from llmrec.inference.http_errors import (
    Failure,
    failure_of_status,
    looks_like_html,
    server_message,
    without_key,
)

MOST_BYTES = 1 << 28
"""A longer answer is refused: no completion is that long, and memory is finite."""


class RequestFailed(Exception):
    """One request failed for good; the text is a sentence for the user.

    Attributes:
        status: The HTTP status, or None where there was none.
    """

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait for a server.

    Attributes:
        timeout: Seconds for one attempt, from connecting to the last byte.
        retries: Further attempts after the first.
        first_wait: Seconds before the second attempt; doubled before each further one, then
            shortened by up to half at random so that clients do not come back together.
        most_wait: Bound of a wait in seconds, also of one the server asks for.
        seed: Of the shortening.
    """

    timeout: float = 120.0
    retries: int = 5
    first_wait: float = 0.5
    most_wait: float = 60.0
    seed: int = 0

    def wait(self, attempt: int, asked: float | None, chance: random.Random) -> float:
        """Seconds to wait after attempt ``attempt`` (from 0)."""
        if asked is not None:
            return min(asked, self.most_wait)
        # an exponent beyond 32 is past every bound, and would overflow at a thousand
        grown = min(self.first_wait * 2.0 ** min(attempt, 32), self.most_wait)
        return grown * (0.5 + 0.5 * chance.random())


class JsonPoster:
    """Posts JSON for all threads of one call.

    Args:
        client: The connection pool.
        patience: When to give up.
        key: The API key, or None.
        key_advice: What to tell the user when it is refused.
    """

    def __init__(
        self, client: httpx2.Client, patience: Patience, key: str | None, key_advice: str
    ) -> None:
        self._client = client
        self._patience = patience
        self._key = key
        self._key_advice = key_advice
        self._stopped = threading.Event()
        self._reason = "the call was interrupted before this request was sent."

    def stop(self, reason: str | None = None) -> None:
        """Send nothing more; requests that wait fail with ``reason``."""
        if reason is not None:
            self._reason = reason
        self._stopped.set()

    def post(self, url: str, payload: Any, number: int) -> dict[str, Any]:
        """Post ``payload`` and return the JSON object that came back.

        Args:
            url: Where to.
            payload: Anything that ``json`` takes.
            number: Place of the request in the call, which seeds its waits.

        Raises:
            RequestFailed: There is no answer to be had.
        """
        return self._asked(url, json.dumps(payload).encode(), number)

    def get(self, url: str, number: int) -> dict[str, Any]:
        """Get a JSON object; see :meth:`post`."""
        return self._asked(url, None, number)

    def _asked(self, url: str, content: bytes | None, number: int) -> dict[str, Any]:
        chance = random.Random(f"{self._patience.seed}:{number}")
        for attempt in itertools.count():
            if self._stopped.is_set():
                break
            found = self._attempt(url, content)
            if not isinstance(found, Failure):
                return found
            if found.for_all:
                self.stop(found.sentence)
            if not found.retry:
                raise RequestFailed(found.sentence, found.status)
            if attempt == self._patience.retries:
                often = "once" if attempt == 0 else f"{attempt + 1} times"
                raise RequestFailed(f"{found.sentence} It was asked {often}.", found.status)
            self._stopped.wait(self._patience.wait(attempt, found.wait, chance))
        raise RequestFailed(self._reason)

    def _attempt(self, url: str, content: bytes | None) -> dict[str, Any] | Failure:
        try:
            status, headers, body = self._exchange(url, content)
        except (httpx2.TimeoutException, TimeoutError):
            seconds = self._patience.timeout
            return Failure(f"{url} did not answer within {seconds:g} seconds.", retry=True)
        except httpx2.RemoteProtocolError as error:
            said = without_key(server_message(str(error)), self._key)
            return Failure(f"{url} broke off in the middle of its answer ({said}).", retry=True)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            said = without_key(server_message(str(error)), self._key)
            return Failure(f"{url} cannot be reached ({said}).", retry=True)
        if status == 200:
            return _json_object(url, body, self._key)
        return failure_of_status(
            status,
            headers,
            body,
            where=url,
            key_advice=self._key_advice,
            key=self._key,
            now=time.time(),
        )

    def _exchange(self, url: str, content: bytes | None) -> tuple[int, dict[str, str], str]:
        """Status, headers and body; the time limit holds for the whole of it."""
        deadline = time.monotonic() + self._patience.timeout
        received = bytearray()
        method = "GET" if content is None else "POST"
        with self._client.stream(method, url, content=content) as answer:
            for piece in answer.iter_bytes():
                received += piece
                # a server that sends a byte now and then never trips the client's own time-out
                if time.monotonic() > deadline:
                    raise TimeoutError
                if len(received) > MOST_BYTES:
                    raise RequestFailed(f"{url} sent an answer of more than {MOST_BYTES} bytes.")
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status_code, headers, received.decode("utf-8", "replace")


@contextmanager
def open_poster(
    base_url: str,
    patience: Patience,
    key: str | None,
    key_advice: str,
    *,
    connections: int,
    loopback: bool,
) -> Iterator[JsonPoster]:
    """Open a connection pool for one call; on any error waiting requests are stopped first."""
    headers = {"content-type": "application/json", "accept": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    # A proxy from the environment cannot reach this machine's own loopback. Without TLS there are
    # no certificates to check, and reading them takes longer than a call.
    with httpx2.Client(
        headers=headers,
        timeout=patience.timeout,
        limits=limits,
        follow_redirects=False,
        trust_env=not loopback,
        verify=base_url.startswith("https:"),
    ) as client:
        poster = JsonPoster(client, patience, key, key_advice)
        try:
            yield poster
        except BaseException:
            poster.stop()
            raise


def _json_object(url: str, body: str, key: str | None) -> dict[str, Any] | Failure:
    if looks_like_html(body):
        return Failure(f"{url} answered with an HTML page instead of JSON; is base_url right?")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = type(error).__name__
        return Failure(
            f"{url} answered with {len(body)} characters that are not JSON ({kind}): half a "
            "response, or not an OpenAI-compatible server."
        )
    if not isinstance(value, dict):
        return Failure(f"{url} answered with JSON that is not an object.")
    if value.get("error"):
        said = without_key(server_message(body), key)
        return Failure(f"{url} answered with an error: {said}.")
    return value
