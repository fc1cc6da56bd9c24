"""What to do about a server's refusal, where its own words do not say.

Looked up only after a request failed: nothing is asked of a server that answers.
"""

import re
from collections.abc import Callable
from typing import Any

from llmrec.inference.http_post import RequestFailed
from llmrec.inference.requests import GenerateRequest, ScoreRequest

_MOST_NAMES = 20
_TOO_WIDE = re.compile(r"logprobs .*max(imum)? allowed", re.IGNORECASE)


def advice(
    error: RequestFailed,
    request: GenerateRequest | ScoreRequest,
    models: Callable[[], dict[str, Any]],
) -> str:
    """A sentence to put after the server's, or nothing.

    Args:
        error: How the request failed.
        request: The request.
        models: Asks the server for its list of models.
    """
    if error.status == 404 and request.adapter is not None:
        return _served(request.adapter, models)
    if error.status == 400 and request.logprobs and _TOO_WIDE.search(str(error)):
        return (
            f" Ask for fewer log-probabilities, or start a vLLM server with --max-logprobs "
            f"{request.logprobs} or more."
        )
    return ""


def _served(adapter: str, models: Callable[[], dict[str, Any]]) -> str:
    """Name the models that are served, if the server lists them."""
    try:
        listed = models().get("data")
    except RequestFailed:
        return ""
    entries = listed if isinstance(listed, list) else []
    names = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    known = sorted(name for name in names if isinstance(name, str))
    if not known or adapter in known:
        return ""
    shown = ", ".join(known[:_MOST_NAMES]) + (", ..." if len(known) > _MOST_NAMES else "")
    return f" The server has no adapter {adapter!r}; it serves {shown}."
