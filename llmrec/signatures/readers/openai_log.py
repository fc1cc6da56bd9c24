"""Logged responses of OpenAI-compatible servers, as they come from the API, one JSON per line.

A line is the response itself (chat or legacy completion), an object whose ``response`` is one, or
a line of a Batch API output file (``custom_id`` and ``response.body``). Such an object may also say
``id``, ``label`` (1 for risk) or ``correct`` (true or false), ``group``, ``prompt``, and the
``request`` (or its parts: temperature, top_p, seed, stop); its other texts, numbers and booleans
become columns. A response without log-probabilities, an empty answer, a token that is not in a
given vocabulary: each is refused by file and line.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError, DataError
from llmrec.inference.openai_responses import Reading, read_generation
from llmrec.inference.requests import Decoding
from llmrec.inference.signature import Mode, SignatureRecord
from llmrec.signatures.readers.lines import ReadSignatures, group_of, read_lines

_OWN = {"response", "request", "body", "id", "custom_id", "label", "correct", "group", "prompt"}
_SAMPLING = ("temperature", "top_p", "top_k", "seed", "stop", "max_tokens")

Row = dict[str, Any]


@dataclass(frozen=True)
class LogOptions:
    """What a log does not say about itself.

    Attributes:
        k: Columns of the records: values beyond are cut, rows with fewer are padded.
        mode: Whether the server changed logits before taking logarithms; only its operator knows.
        vocab_size: Width of the logits, or None.
        fingerprint: What the values depend on; the served model's name is added.
        decoding: Of responses whose request is not in the log.
        vocabulary: All texts that a token can have; a line with another one is refused. None takes
            any.
        group: Name of a field whose value is the group, such as ``subject``; None takes the field
            ``group``, and where that is missing the prompt.
    """

    k: int = 20
    mode: Mode = "unknown"
    vocab_size: int | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    decoding: Decoding = field(default_factory=Decoding)
    vocabulary: Collection[str] | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k={self.k}: a signature has at least one value per position.")


def read_openai_log(
    path: str | Path, options: LogOptions | None = None, *, strict: bool = False
) -> ReadSignatures:
    """Read a log of responses.

    Args:
        path: JSON lines, plain or gzipped.
        options: What the log does not say.
        strict: Raise at the first bad line, and keep nothing.

    Raises:
        DataError: The file is missing, or in strict mode a line is bad.
    """

    def read(line: str, number: int) -> list[tuple[SignatureRecord, Row]]:
        return read_openai_line(line, str(path), number, options)

    return read_lines(path, read, strict)


def read_openai_line(
    line: str, file: str, number: int, options: LogOptions | None = None
) -> list[tuple[SignatureRecord, Row]]:
    """Read one line: a record and a row for each of its choices.

    Args:
        line: JSON.
        file: Where it comes from, for ids.
        number: Its place there, for ids.
        options: What the log does not say.

    Raises:
        DataError: It is no response, or one that gives no signature; the sentence names no file.
    """
    options = options or LogOptions()
    try:
        logged = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"this is no JSON ({error}); the line may be truncated.") from None
    if not isinstance(logged, dict):
        raise DataError("this is no JSON object.")
    response = _response(logged)
    about = {} if response is logged else logged
    reading = _reading(about, options)
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        raise DataError("the response has no choices.")
    name = str(about.get("id") or about.get("custom_id") or response.get("id") or "")
    name = name or f"{Path(file).name}:{number}"
    found = []
    for place in _indices(choices):
        own = name if len(choices) == 1 else f"{name}#{place}"
        found.append((_record(response, place, reading, options), _row(own, about, options)))
    return found


def _response(logged: Mapping[str, Any]) -> Mapping[str, Any]:
    """The response inside a logged line."""
    inner = logged.get("response")
    if isinstance(inner, dict) and isinstance(inner.get("body"), dict):
        inner = inner["body"]
    response = logged if inner is None and "response" not in logged else inner
    failed = logged.get("error") or (isinstance(response, dict) and response.get("error"))
    if failed:
        text = failed.get("message") if isinstance(failed, dict) else failed
        raise DataError(f"the server answered with an error: {text}.")
    if not isinstance(response, dict):
        raise DataError("the line holds no response.")
    return response


def _indices(choices: list[Any]) -> Iterator[int]:
    for place, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise DataError(f"choice {place} is no JSON object.")
        yield int(choice.get("index", place))


def _record(
    response: Mapping[str, Any], choice: int, reading: Reading, options: LogOptions
) -> SignatureRecord:
    record = read_generation(response, reading, choice).signature
    if record is None:
        raise DataError(
            "the response has no log-probabilities; ask for them with logprobs (and top_logprobs)."
        )
    if not len(record):
        raise DataError("the answer is empty: it has no token and so no signature.")
    known = options.vocabulary
    if known is not None and record.tokens is not None:
        strange = [token for token in record.tokens if token not in known]
        if strange:
            raise DataError(
                f"the token {strange[0]!r} is not in the given vocabulary of {len(known)} tokens; "
                "it is that of another model."
            )
    return replace(record, vocab_size=options.vocab_size)


def _reading(about: Mapping[str, Any], options: LogOptions) -> Reading:
    request = about.get("request") or about.get("body") or about
    if not isinstance(request, dict):
        raise DataError("the field request is no JSON object.")
    given = {name: request[name] for name in _SAMPLING if request.get(name) is not None}
    decoding = options.decoding
    if given:
        stop = given.get("stop", ())
        given["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        given.setdefault("seed", 0)  # only whether it was sampled matters here
        try:
            decoding = replace(decoding, **given)
        except TypeError as error:
            raise DataError(f"the request in the log has odd settings: {error}.") from None
    return Reading(options.k, decoding, options.mode, options.fingerprint, allow_missing=True)


def _row(name: str, about: Mapping[str, Any], options: LogOptions) -> Row:
    label = about.get("label")
    correct = about.get("correct")
    if label is None and isinstance(correct, bool):
        label = float(not correct)
    if label is not None and label not in (0, 1):
        raise DataError(f"label is {label!r}; expected 0, or 1 for risk, or none.")
    prompt = about.get("prompt")
    group = about.get(options.group or "group")
    if options.group is not None and group is None:
        raise DataError(f"the field {options.group!r} that names the group is missing.")
    if group is None and isinstance(prompt, str):
        group = group_of(prompt)
    others = {
        key: str(value)
        for key, value in about.items()
        if key not in _OWN and key not in _SAMPLING and isinstance(value, str | int | float | bool)
    }
    return {
        "id": name,
        "label": None if label is None else float(label),
        "group": None if group is None else str(group),
        **({"prompt": prompt} if isinstance(prompt, str) else {}),
        **others,
    }
