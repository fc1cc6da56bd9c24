"""Responses of OpenAI-compatible servers, live or from a log, as results.

Works on parsed JSON alone: no server, no model, no tokenizer. What a response does not say stays
unknown; what contradicts itself is refused. Choices cut off by a content filter, and answers
without a finish reason, are errors: half an answer is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmrec.errors import DataError
from llmrec.inference.openai_logprobs import (
    TokenLogprobs,
    check_width,
    prompt_tokens,
    read_logprobs,
    read_prompt_row,
    sum_of_actual,
)
from llmrec.inference.requests import Decoding
from llmrec.inference.results import Finish, Generation, Scored
from llmrec.inference.signature import Kind, Mode, Position, SignatureRecord, record_of_positions

_FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
}

_NO_PREDICTION = (
    "the server gave no log-probability of the text to score: nothing comes before its first "
    "token. Give a prompt."
)


@dataclass(frozen=True)
class Reading:
    """How to read responses.

    Attributes:
        logprobs: Values per position that were asked for; 0 for no record.
        decoding: Of the request, as far as known: temperature and the like go into records, stop
            texts tell an end-of-text token from the start of a stop text.
        mode: Whether the server changed logits before taking logarithms; only its operator knows.
        fingerprint: What the values depend on; the served model's name is added.
        allow_missing: Take missing or short log-probabilities as they are.
    """

    logprobs: int = 0
    decoding: Decoding = field(default_factory=Decoding)
    mode: Mode = "unknown"
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    allow_missing: bool = False


def read_generation(response: Mapping[str, Any], reading: Reading, choice: int = 0) -> Generation:
    """Read a completion or a chat completion.

    Args:
        response: The JSON object.
        reading: How to read it.
        choice: Which of its choices, by their ``index``.

    Raises:
        DataError: There is no such choice, no text, no known end, or a log-probability is missing.
    """
    chosen = _choice(response, choice)
    text, finish = _text(chosen), _finish(chosen)
    usage = _usage(response)
    k, allow_missing = reading.logprobs, reading.allow_missing or not reading.logprobs
    found = read_logprobs(chosen.get("logprobs"), k, allow_missing)
    tokens = usage.get("completion_tokens", len(found.positions) if found else 0)
    if found is None:
        return Generation(text, finish, usage.get("prompt_tokens", 0), tokens)
    if not allow_missing and len(found.positions) < tokens - 1:
        raise DataError(
            f"the server sent log-probabilities of {len(found.positions)} tokens, but generated "
            f"{tokens}; ask again, or allow_missing_logprobs."
        )
    signature = None
    if k:
        has_eos = finish == "stop" and _ends_with_eos(chosen, text, found, reading.decoding.stop)
        about = _About("output", has_eos, found.tokens, text)
        signature = _record(found.positions, reading, response, about)
    return Generation(text, finish, usage.get("prompt_tokens", 0), tokens, found.logprob, signature)


def read_echo(
    response: Mapping[str, Any], choice: int, reading: Reading, prompt: str, continuation: str
) -> tuple[Scored, int]:
    """Read the score of a continuation, or of the prompt, from an echoed completion.

    Args:
        response: The JSON object.
        choice: Which of its choices.
        reading: How to read it.
        prompt: What was sent first.
        continuation: What was sent after it; empty to score the prompt itself.

    Returns:
        The score, and how many tokens the prompt has.

    Raises:
        DataError: The server did not echo, or no token starts where the continuation does.
    """
    chosen = _choice(response, choice)
    whole = prompt + continuation
    found = read_logprobs(chosen.get("logprobs"), reading.logprobs, allow_missing=False)
    if found is None or found.offsets is None or not _text(chosen).startswith(whole):
        raise DataError(
            "the server did not send the prompt back with its log-probabilities; it does not "
            "support echo: remove it from extra_fields."
        )
    start = _first_at(found, whole, len(prompt)) if continuation else 0
    end = _first_at(found, whole, len(whole))
    before = found.skipped + (start if continuation else end)
    tokens = None if found.tokens is None else found.tokens[start:end]
    about = _About("input", False, tokens, continuation or prompt)
    return _scored(found.positions[start:end], about, reading, response), before


def read_prompt_logprobs(
    response: Mapping[str, Any],
    choice: int,
    reading: Reading,
    ids: Sequence[int],
    start: int,
    text: str | None = None,
) -> Scored:
    """Read a score from vLLM's ``prompt_logprobs``.

    Args:
        response: The JSON object.
        choice: Which of its choices.
        reading: How to read it.
        ids: The token ids that were sent.
        start: Place of the first one to score; a first token without a prediction is left out.
        text: The text they are, where it is known.

    Raises:
        DataError: The server sent none, or not as many as there are tokens.
    """
    rows = _choice(response, choice).get("prompt_logprobs")
    if not isinstance(rows, list) or len(rows) != len(ids):
        raise DataError(
            "the server sent no prompt_logprobs for its prompt; it does not support them: remove "
            "'prompt_logprobs' from extra_fields."
        )
    read = [read_prompt_row(rows[i], ids[i], i) for i in range(start, len(ids))]
    if start > 0 and None in read:
        raise DataError("the server left out log-probabilities in the middle of the prompt.")
    positions = [position for position in read if position is not None]
    if not reading.allow_missing:
        check_width(positions, reading.logprobs, every_row=True)
    skipped = len(ids) - len(positions)
    tokens = prompt_tokens(rows[skipped:], ids[skipped:])
    return _scored(positions, _About("input", False, tokens, text), reading, response)


@dataclass(frozen=True)
class _About:
    kind: Kind
    has_eos: bool
    tokens: tuple[str, ...] | None
    text: str | None


def _scored(
    positions: Sequence[Position],
    about: _About,
    reading: Reading,
    response: Mapping[str, Any],
) -> Scored:
    total = sum_of_actual(positions)
    if not positions or total is None:
        raise DataError(_NO_PREDICTION)
    if not reading.logprobs:
        return Scored(total, len(positions))
    signature = _record(positions, reading, response, about)
    return Scored(total, len(positions), signature)


def _record(
    positions: Sequence[Position],
    reading: Reading,
    response: Mapping[str, Any],
    about: _About,
) -> SignatureRecord:
    fingerprint = dict(reading.fingerprint)
    for name, key in (("served_model", "model"), ("system_fingerprint", "system_fingerprint")):
        if isinstance(response.get(key), str):
            fingerprint[name] = response[key]
    return record_of_positions(
        positions,
        reading.logprobs,
        vocab_size=None,
        mode=reading.mode,
        kind=about.kind,
        has_eos=about.has_eos,
        fingerprint=fingerprint,
        temperature=reading.decoding.temperature,
        top_p=reading.decoding.top_p,
        top_k=reading.decoding.top_k,
        tokens=about.tokens,
        text=about.text,
    )


def _first_at(found: TokenLogprobs, whole: str, place: int) -> int:
    """Which position starts at character ``place`` of the text that was sent."""
    offsets = found.offsets or ()
    # a token that the server put before the text (begin of text) may be counted in the offsets
    shift = len(found.skipped_text) if not whole.startswith(found.skipped_text) else 0
    if place == 0 and found.skipped and not shift:
        raise DataError(_NO_PREDICTION)
    for position, offset in enumerate(offsets):
        if offset - shift == place:
            return position
        if offset - shift > place:
            raise DataError(
                "a token reaches from the prompt into the continuation, so the continuation has no "
                "score of its own; move a blank from the end of the prompt to its start."
            )
    if place >= len(whole):
        return len(offsets)
    raise DataError("no token starts where the continuation does; it cannot be scored alone.")


def _ends_with_eos(
    choice: Mapping[str, Any], text: str, found: TokenLogprobs, stop: Sequence[str]
) -> bool:
    """Whether the last position is the end-of-text token."""
    if "stop_reason" in choice:  # vLLM: the stop text, or null (or an id) at an end-of-text token
        return not isinstance(choice["stop_reason"], str)
    if not found.tokens:
        return False
    last, before = found.tokens[-1], "".join(found.tokens[:-1])
    return last != "" and text == before and not any(end in before + last for end in stop)


def _choice(response: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    choices = response.get("choices")
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
        raise DataError("the response has no choices.")
    for place, one in enumerate(choices):
        if one.get("index", place) == number:
            return dict(one)
    raise DataError(f"the response has no choice {number}, only {len(choices)}.")


def _text(choice: Mapping[str, Any]) -> str:
    value = choice.get("text")
    message = choice.get("message")
    if value is None and isinstance(message, dict):
        if message.get("refusal"):
            raise DataError("the model's server declined to answer (refusal).")
        value = message.get("content")
    if not isinstance(value, str):
        raise DataError("the response has no text in its choice.")
    return value


def _finish(choice: Mapping[str, Any]) -> Finish:
    reason = choice.get("finish_reason")
    if reason in _FINISHES:
        return _FINISHES[reason]
    if reason == "content_filter":
        raise DataError("the server's content filter cut the answer.")
    raise DataError(f"the answer ended with finish_reason {reason!r}, so it is not whole.")


def _usage(response: Mapping[str, Any]) -> dict[str, int]:
    usage = response.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return {name: value for name, value in counts.items() if isinstance(value, int)}
