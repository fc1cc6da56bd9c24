"""Stands before a vLLM server: a user gets their own adapter, and nobody else's.

An ASGI middleware. A request carries ``Authorization: Bearer <token>`` of
:class:`~llmrec.adapters.access.Tokens`. The model ``own`` (or none) becomes the adapter that the
store has for the token's user now: made if need be, on disk and leased while the request runs. The
base model stays what it is. Every other model, every other route, and websockets are refused. The
operator's token passes everywhere, and reads at ``/adapters/stats`` what this process has served.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from llmrec.adapters.access import AccessDenied, Holder, Tokens
from llmrec.adapters.vllm_resolver import (
    BASE,
    KEY,
    STORE,
    StoreResolver,
    lease_seconds,
    opened_store,
)
from llmrec.errors import ConfigError, LlmrecError, StorageError, UnknownIdError

OWN = "own"
"""What users call their own adapter."""

_OPEN = ("/health", "/ping")
_ASKING = ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize")
_MODELS = "/v1/models"
_STATS = "/adapters/stats"
_LARGEST_BODY = 8 << 20
_NESTED = "the body is nested too deeply."

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Refusal(Exception):
    """A request is answered with an error.

    Args:
        status: The HTTP status.
        sentence: What was wrong.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class OwnAdapterOnly:
    """The middleware; vLLM makes it from ``--middleware``.

    Args:
        app: What it stands before.
        environment: Where the store and the key are named; None is the process's own.

    Raises:
        ConfigError: A variable is missing or out of range, or the key is too short.
    """

    def __init__(self, app: App, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        missing = [name for name in (STORE, KEY) if not given.get(name)]
        if missing:
            raise ConfigError(f"set {' and '.join(missing)} before the server starts.")
        lease_seconds(given)  # refused now rather than at every request
        self._app, self._tokens = app, Tokens(given[KEY])
        self._folder, self._base = Path(given[STORE]), given.get(BASE)
        StoreResolver.guarded = True

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            found = await self._checked(scope, receive)
        except Refusal as refusal:
            await _answer(send, refusal.status, _error(refusal))
            return
        if isinstance(found, dict):
            await _answer(send, 200, found)
        else:
            await self._app(*found, send)

    async def _checked(
        self, scope: MutableMapping[str, Any], receive: Receive
    ) -> tuple[MutableMapping[str, Any], Receive] | dict[str, Any]:
        """The request to pass on, or the answer to give."""
        path, method = _path(scope), scope["method"]
        if method == "GET" and path in _OPEN:
            return scope, receive
        try:
            holder = self._tokens.holder(_bearer(scope))
        except AccessDenied as error:
            raise Refusal(401, str(error)) from None
        if method == "GET" and path == _MODELS and holder.user is not None:
            names = [OWN, *([self._base] if self._base else [])]
            models = [{"id": name, "object": "model", "owned_by": "llmrec"} for name in names]
            return {"object": "list", "data": models}
        if method == "POST" and path in _ASKING:
            return await self._with_adapter(scope, receive, holder)
        if holder.user is None:
            return await self._stats() if (method, path) == ("GET", _STATS) else (scope, receive)
        raise Refusal(403, f"{method} {path} is for the operator.")

    async def _stats(self) -> dict[str, Any]:
        """What :func:`~llmrec.adapters.diagnostics.diagnose` says of this process's store."""
        from llmrec.adapters.diagnostics import diagnose

        try:
            return await asyncio.to_thread(lambda: diagnose(opened_store(self._folder)))
        except LlmrecError as error:
            raise Refusal(500, str(error)) from None

    async def _with_adapter(
        self, scope: MutableMapping[str, Any], receive: Receive, holder: Holder
    ) -> tuple[MutableMapping[str, Any], Receive]:
        body = await _read(receive)
        try:
            asked = json.loads(body)
        except ValueError:
            raise Refusal(400, "the body is not JSON.") from None
        except RecursionError:
            raise Refusal(400, _NESTED) from None
        if not isinstance(asked, dict):
            raise Refusal(400, "the body must be a JSON object.")
        asked["model"] = await self._model(asked.get("model"), holder)
        try:  # written anew: what was checked is what the server reads, repeated keys and all
            whole = json.dumps(asked).encode()
        except RecursionError:
            raise Refusal(400, _NESTED) from None
        headers = [(k, v) for k, v in scope["headers"] if k.lower() not in _ABOUT_BODY]
        headers += [(b"content-length", str(len(whole)).encode()),
                    (b"content-type", b"application/json")]  # fmt: skip
        return {**scope, "headers": headers}, _replay(whole, receive)

    async def _model(self, asked: object, holder: Holder) -> str:
        if isinstance(asked, str) and asked and asked == self._base:
            return asked
        try:
            store = await asyncio.to_thread(opened_store, self._folder)
            if holder.user is None:
                if not isinstance(asked, str) or asked == OWN:
                    raise Refusal(400, "the operator names a model; 'own' is for users.")
                name = (
                    await asyncio.to_thread(store.adapter_named, asked, lease=lease_seconds())
                ).name
            else:
                found = await asyncio.to_thread(store.adapter, holder.user, lease=lease_seconds())
                name = found.name
        except UnknownIdError as error:
            raise Refusal(404, str(error)) from None
        except StorageError as error:
            raise Refusal(503, str(error)) from None
        except LlmrecError as error:
            raise Refusal(500, str(error)) from None
        if holder.user is not None and asked not in (None, "", OWN, name):
            raise Refusal(403, f"this token is for the model {OWN!r}, its user's own adapter.")
        return str(name)


_ABOUT_BODY = (b"content-length", b"content-type", b"transfer-encoding", b"content-encoding")


def _path(scope: Mapping[str, Any]) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def _bearer(scope: Mapping[str, Any]) -> str:
    given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    scheme, _, token = (given[0] if len(given) == 1 else b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise AccessDenied("send 'Authorization: Bearer TOKEN' with a token of the operator.")
    return token.strip()


async def _read(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the client left.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _LARGEST_BODY:
            raise Refusal(413, f"the body has more than {_LARGEST_BODY:,} bytes.")
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, then whatever comes after it."""
    left = [body]

    async def replayed() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replayed


def _error(refusal: Refusal) -> dict[str, Any]:
    kinds = {401: "AuthenticationError", 403: "PermissionError", 404: "NotFoundError"}
    kind = kinds.get(refusal.status, "BadRequestError")
    return {"error": {"message": str(refusal), "type": kind, "code": refusal.status}}


async def _answer(send: Send, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
