"""The JSON that an OpenAI-compatible server is sent, and the requests that it cannot be sent.

Everything that decides which tokens come out is written into the JSON, neutral values included:
a server fills what is missing from its own settings or from the checkpoint's
``generation_config``. A field that the server does not know would be dropped without a word, so
such a request is refused; :data:`KNOWN_FIELDS` lists what can be declared.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from llmrec.errors import ConfigError, nearest_name
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.vllm_params import COOLEST

Endpoint = Literal["completions", "chat"]

KNOWN_FIELDS = {
    "echo": "scoring: the prompt comes back with its log-probabilities (legacy completions)",
    "ignore_eos": "going on after the end-of-text token",
    "max_completion_tokens": "the name this server wants instead of max_tokens",
    "min_p": "always sent as 0, so that no default of the server acts",
    "prompt_logprobs": "scoring by vLLM's field of this name; needs 'tokenize'",
    "repetition_penalty": "always sent as 1, so that no default of the server acts",
    "return_tokens_as_token_ids": "token ids instead of texts, so that no two tokens look alike",
    "tokenize": "vLLM's /tokenize and /detokenize: prompts are sent as token ids, cut if need be",
    "top_k": "sampling from the k most probable tokens",
}
"""Fields beyond OpenAI's own that a server may take, and what each is for."""

VLLM_FIELDS = (
    "ignore_eos",
    "min_p",
    "prompt_logprobs",
    "repetition_penalty",
    "return_tokens_as_token_ids",
    "tokenize",
    "top_k",
)
"""What a vLLM server takes."""

CHAT_MOST_LOGPROBS = 20


def checked_fields(names: Iterable[str]) -> frozenset[str]:
    """Check declared fields.

    Raises:
        ConfigError: A name is unknown, or one needs another that is missing.
    """
    fields = frozenset([names] if isinstance(names, str) else names)
    for name in sorted(fields - KNOWN_FIELDS.keys()):
        raise ConfigError(f"extra_fields has {name!r}{nearest_name(name, KNOWN_FIELDS)}.")
    if "prompt_logprobs" in fields and "tokenize" not in fields:
        raise ConfigError(
            "extra_fields has 'prompt_logprobs' without 'tokenize': the server's own tokens are "
            "needed to tell the prompt from what follows; add 'tokenize'."
        )
    return fields


def generate_refusal(
    request: GenerateRequest, endpoint: Endpoint, fields: frozenset[str]
) -> str | None:
    """Why this server cannot honour a request, or None."""
    decoding = request.decoding
    if 0 < decoding.temperature < COOLEST and "tokenize" in fields:
        return (
            f"temperature is {decoding.temperature}; a vLLM server would make {COOLEST} of it "
            "without a word. Ask for 0, or for no less than that."
        )
    if decoding.top_k and "top_k" not in fields:
        return _undeclared("top_k", f"asks for top_k={decoding.top_k}")
    if decoding.ignore_eos and "ignore_eos" not in fields:
        return _undeclared("ignore_eos", "asks to go on after the end of the text")
    if request.over_long == "keep_end" and (endpoint == "chat" or "tokenize" not in fields):
        return (
            "the request lets an over-long prompt lose its beginning, but without the server's "
            "tokens nobody can say where to cut; cut the prompt, use over_long='error', or declare "
            "'tokenize' in extra_fields for a vLLM server (completions only)."
        )
    if endpoint == "chat" and request.logprobs > CHAT_MOST_LOGPROBS:
        return (
            f"the request asks for the {request.logprobs} most probable tokens; chat completions "
            f"give at most {CHAT_MOST_LOGPROBS}."
        )
    return None


def score_refusal(request: ScoreRequest, endpoint: Endpoint, fields: frozenset[str]) -> str | None:
    """Why this server cannot score a request, or None."""
    if endpoint == "chat":
        return (
            "chat completions give no log-probabilities of the prompt, so nothing can be scored; "
            "use endpoint='completions' on a server that gives them, or another backend."
        )
    if "prompt_logprobs" in fields:
        return None
    if "echo" not in fields:
        return (
            "scoring needs the log-probabilities of the prompt, which most servers keep to "
            "themselves; if this one gives them, declare 'prompt_logprobs' and 'tokenize' (vLLM) "
            "or 'echo' (legacy completions) in extra_fields."
        )
    if request.over_long == "keep_end":
        return "over_long='keep_end' cannot be honoured by scoring through echo; cut the prompt."
    return None


def completion_payload(
    model: str,
    prompt: str | list[int],
    decoding: Decoding,
    logprobs: int,
    fields: frozenset[str],
) -> dict[str, Any]:
    """JSON for ``/completions`` that continues one prompt."""
    payload = {"model": model, "prompt": prompt, **_decoding(decoding, fields), "echo": False}
    payload["logprobs"] = logprobs  # 0: those of the chosen tokens alone
    if logprobs and "return_tokens_as_token_ids" in fields:
        payload["return_tokens_as_token_ids"] = True
    return payload


def chat_payload(
    model: str, prompt: str, decoding: Decoding, logprobs: int, fields: frozenset[str]
) -> dict[str, Any]:
    """JSON for ``/chat/completions``: the prompt is one message of the user."""
    message = {"role": "user", "content": prompt}
    payload = {"model": model, "messages": [message], **_decoding(decoding, fields)}
    payload["logprobs"] = logprobs > 0
    if logprobs:
        payload["top_logprobs"] = logprobs
        if "return_tokens_as_token_ids" in fields:
            payload["return_tokens_as_token_ids"] = True
    return payload


def echo_payload(
    model: str, prompts: Sequence[str], logprobs: int, fields: frozenset[str]
) -> dict[str, Any]:
    """JSON for ``/completions`` that only sends prompts back, with their log-probabilities."""
    settings = {**_decoding(Decoding(max_tokens=1), fields), "max_tokens": 0}
    return {
        "model": model,
        "prompt": list(prompts),
        **settings,
        "echo": True,
        "logprobs": logprobs,
    }


def prompt_logprobs_payload(
    model: str, prompts: Sequence[list[int]], logprobs: int, fields: frozenset[str]
) -> dict[str, Any]:
    """JSON for vLLM's ``/completions`` that scores prompts of token ids."""
    settings = _decoding(Decoding(max_tokens=1), fields)
    return {
        "model": model,
        "prompt": list(prompts),
        **settings,
        "echo": False,
        "prompt_logprobs": logprobs,
    }


def _decoding(decoding: Decoding, fields: frozenset[str]) -> dict[str, Any]:
    length = "max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens"
    payload: dict[str, Any] = {
        length: decoding.max_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n": 1,
        "stream": False,
    }
    if decoding.seed is not None:
        payload["seed"] = decoding.seed % 2**63  # to vLLM and others, -1 is no seed
    # OpenAI refuses an empty list
    payload["stop"] = list(decoding.stop) or None
    neutral = {"min_p": 0.0, "repetition_penalty": 1.0, "top_k": decoding.top_k}
    neutral["ignore_eos"] = decoding.ignore_eos
    return payload | {name: value for name, value in neutral.items() if name in fields}


def _undeclared(field: str, asks: str) -> str:
    return (
        f"the request {asks}, which a plain OpenAI server would ignore; if this server takes the "
        f"field, declare {field!r} in extra_fields, otherwise leave it out."
    )
