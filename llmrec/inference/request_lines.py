"""Requests as lines of text or JSON, and results as lines of JSON.

A line of JSON holds the fields of a request (:mod:`llmrec.inference.requests`, ``decoding`` being
an object), and, if wanted, ``id``, which comes back with the result, and ``owner``: whose data is
in it. A line of plain text is a prompt. What a line leaves out is taken from the defaults. A line
that is no request is refused by its number before anything is asked.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from llmrec.errors import DataError, nearest_name
from llmrec.inference.request_keys import Request
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.result_bytes import Result
from llmrec.inference.results import Generation
from llmrec.inference.signature import SignatureRecord

Kind = Literal["generate", "score"]
Form = Literal["auto", "text", "jsonl"]
_TYPES: dict[Kind, TypeAdapter[Any]] = {
    "generate": TypeAdapter(GenerateRequest),
    "score": TypeAdapter(ScoreRequest),
}
_NAMES: dict[Kind, tuple[str, ...]] = {
    "generate": ("prompt", "decoding", "logprobs", "adapter", "over_long", "id", "owner"),
    "score": ("prompt", "continuations", "logprobs", "adapter", "over_long", "id", "owner"),
}


@dataclass(frozen=True)
class AskedLine:
    """A request, and what belongs to it.

    Attributes:
        number: Of the line, from 1.
        request: The request.
        id: What the line calls itself, any JSON value; None where it has no name.
        owner: Whose data is in the request, or None.
    """

    number: int
    request: Request
    id: Any = None
    owner: str | None = field(default=None, repr=False)


def read_lines(
    lines: Iterable[str],
    kind: Kind,
    defaults: Mapping[str, Any] | None = None,
    form: Form = "auto",
    source: str = "input",
) -> list[AskedLine]:
    """Read requests of one kind; empty lines are passed over.

    Args:
        lines: The lines.
        kind: ``"generate"`` or ``"score"``.
        defaults: Values of fields that a line leaves out; those of ``decoding`` one by one.
        form: Of the lines; ``"auto"`` is JSON where the first line begins with ``{``.
        source: What they come from, for messages.

    Raises:
        DataError: A line is no such request, or there is none.
    """
    numbered = [(n, line.rstrip("\r\n")) for n, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise DataError(f"{source} is empty; give one request per line.")
    is_json = form == "jsonl" or (form == "auto" and numbered[0][1].lstrip().startswith("{"))
    found = []
    for number, line in numbered:
        where = f"{source} line {number}"
        values = _object(line, where) if is_json else {"prompt": line}
        found.append(_asked(number, values, kind, defaults or {}, where))
    return found


def result_line(line: AskedLine, result: Result) -> str:
    """A result as one line of JSON, without the line break.

    A generation has the fields of :class:`~llmrec.inference.results.Generation`, a score the list
    ``texts``. Records become lists; NaN and infinity, which JSON does not have, become null.
    """
    value: dict[str, Any] = {"line": line.number}
    if line.id is not None:
        value["id"] = line.id
    if result.error is not None:
        value["error"] = result.error
    elif isinstance(result, Generation):
        names = ("text", "finish", "prompt_tokens", "tokens", "logprob")
        value |= {name: getattr(result, name) for name in names}
        value |= _signed(result.signature)
    else:
        value["prompt_tokens"] = result.prompt_tokens
        value["texts"] = [
            {"logprob": text.logprob, "tokens": text.tokens, **_signed(text.signature)}
            for text in result.texts
        ]
    return json.dumps(_finite(value), ensure_ascii=True, allow_nan=False)


def lines_to_json(lines: Sequence[AskedLine]) -> list[dict[str, Any]]:
    """Lines as JSON values, every field written out."""
    return [asdict(line) for line in lines]


def lines_from_json(values: Sequence[Mapping[str, Any]], kind: Kind) -> list[AskedLine]:
    """Inverse of :func:`lines_to_json`.

    Raises:
        ValidationError: A value is no such line.
    """
    return [
        AskedLine(v["number"], _TYPES[kind].validate_python(v["request"]), v["id"], v["owner"])
        for v in values
    ]


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: no valid JSON: {error.msg} at column {error.colno}.") from None
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected an object with a 'prompt', found {line[:40]}.")
    return values


def _asked(
    number: int, values: dict[str, Any], kind: Kind, defaults: Mapping[str, Any], where: str
) -> AskedLine:
    for name in values:
        if name not in _NAMES[kind]:
            hint = nearest_name(name, _NAMES[kind])
            raise DataError(f"{where}: unknown field {name!r} of a {kind} request{hint}.")
    given = {name: value for name, value in values.items() if name not in ("id", "owner")}
    whole = {**defaults, **given}
    if isinstance(given.get("decoding"), dict):
        whole["decoding"] = {**defaults.get("decoding", {}), **given["decoding"]}
    try:
        # as JSON, so that a list is a tuple but the text "3" is no number
        request = _TYPES[kind].validate_json(json.dumps(whole), strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        own = first["type"] == "value_error"  # a sentence of ours
        name = "" if own else ".".join(map(str, first["loc"])) + ": "
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise DataError(f"{where}: {name}{message}.") from None
    owner = values.get("owner")
    return AskedLine(number, request, values.get("id"), None if owner is None else str(owner))


def _signed(record: SignatureRecord | None) -> dict[str, Any]:
    if record is None:
        return {}
    arrays = (
        "actual_logprob", "actual_rank", "rank_censored", "topk_logprobs", "topk_ids",
        "tail_logmass",
    )  # fmt: skip
    found = {name: getattr(record, name) for name in arrays}
    lists = {name: value.tolist() for name, value in found.items() if value is not None}
    names = ("mode", "kind", "has_eos", "vocab_size", "tokens")
    about = {name: getattr(record, name) for name in names}
    return {"signature": {**about, "fingerprint": dict(record.fingerprint), **lists}}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
