"""Ask a language model and keep the signatures; what a store has is not asked again.

A line of the input is a prompt, or JSON with the fields of a request
(:mod:`llmrec.inference.request_lines`) and, if wanted, ``id``, ``label`` (1 for risk), ``group``
and further columns. Without an id a line is known by what it asks, so that the same input may grow.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from llmrec.contracts import LanguageModel
from llmrec.errors import DataError
from llmrec.inference.asking import ask_lines, job_cache, plan_lines
from llmrec.inference.cached_model import CallPlan
from llmrec.inference.request_keys import request_key
from llmrec.inference.request_lines import AskedLine, Form, read_lines
from llmrec.inference.result_bytes import Result
from llmrec.inference.results import Generation
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store import SignatureStore

Kind = Literal["output", "input"]
SAVE_EVERY = 256
"""Questions that are asked, and kept, together."""

_REQUEST = {"prompt", "decoding", "logprobs", "adapter", "over_long", "id", "owner"}
_FIELDS = {"output": _REQUEST, "input": _REQUEST | {"continuations"}}


@dataclass(frozen=True)
class Question:
    """What is asked, and what is known about it.

    Attributes:
        line: The request.
        id: Name of the record.
        about: Label, group and further columns.
    """

    line: AskedLine
    id: str
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Captured:
    """What became of the questions.

    Attributes:
        added: Records that were added.
        known: Questions whose records were there before.
        failed: Sentences, one per question without a record.
    """

    added: int
    known: int
    failed: tuple[str, ...]


def read_questions(
    texts: Iterable[str],
    kind: Kind,
    defaults: Mapping[str, Any],
    form: Form = "auto",
    source: str = "input",
) -> list[Question]:
    """Read what is to be asked.

    Args:
        texts: Lines.
        kind: ``output``: answers are written and their signature is kept; ``input``: the texts
            themselves, or their continuations, are read.
        defaults: Values of fields that a line leaves out; ``logprobs`` is one of them.
        form: Of the lines.
        source: What they come from, for messages.

    Raises:
        DataError: A line is no request, two have the same id, or there is none.
    """
    parted = [_parted(text, kind, form) for text in texts]
    wanted: Literal["generate", "score"] = "generate" if kind == "output" else "score"
    read = read_lines([request for request, _ in parted], wanted, defaults, form, source)
    found: list[Question] = []
    used: set[str] = set()
    for line in read:
        if line.request.logprobs < 1:
            raise DataError(f"{source} line {line.number}: logprobs must be at least 1.")
        name = str(line.id) if line.id is not None else request_key(line.request)[:16]
        if name in used:
            if line.id is not None:
                raise DataError(f"{source} line {line.number}: the id {name!r} was there before.")
            name = f"{name}-{line.number}"
        used.add(name)
        found.append(Question(line, name, parted[line.number - 1][1]))
    return found


def capture(
    model: LanguageModel,
    questions: Sequence[Question],
    store: SignatureStore,
    cache: Path | None = None,
    advance: Callable[[int], object] = lambda count: None,
    save_every: int = SAVE_EVERY,
) -> Captured:
    """Ask what a store does not have yet, and append it part by part.

    Args:
        model: Whom to ask.
        questions: What to ask.
        store: Where records go; what a kill leaves there stays.
        cache: A file of answers to look in first and to add to; None keeps none.
        advance: Told how many more questions are done.
        save_every: Questions that are asked, and kept, together.
    """
    open_questions = unanswered(questions, store)
    added, failed = 0, []
    with job_cache(cache, None) as kept:
        for start in range(0, len(open_questions), save_every):
            part = open_questions[start : start + save_every]
            lines = [question.line for question in part]
            wanted: Literal["generate", "score"] = (
                "generate" if hasattr(lines[0].request, "decoding") else "score"
            )
            results = ask_lines(model, lines, wanted, kept)
            rows = []
            for question, result in zip(part, results, strict=True):
                records, reason = _records(result)
                if reason is not None:
                    failed.append(f"line {question.line.number}: {reason}")
                rows += _named(question, records)
            if rows:
                added += store.append(_set_of(rows))
            advance(len(part))
    return Captured(added, len(questions) - len(open_questions), tuple(failed))


def plan_capture(
    model: LanguageModel, questions: Sequence[Question], store: SignatureStore, cache: Path | None
) -> CallPlan:
    """What asking would cost; nothing is asked, and no file is made."""
    lines = [question.line for question in unanswered(questions, store)]
    return plan_lines(model, lines, cache, None)


def unanswered(questions: Sequence[Question], store: SignatureStore) -> list[Question]:
    """The questions whose records a store does not have."""
    there = store.ids
    return [q for q in questions if q.id not in there and f"{q.id}#0" not in there]


def _parted(text: str, kind: Kind, form: Form) -> tuple[str, dict[str, Any]]:
    """A line as a request, and what else it says."""
    if form == "text" or not text.lstrip().startswith("{"):
        return text, {}
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        return text, {}  # refused with its number by the reader of requests
    request = {name: value for name, value in values.items() if name in _FIELDS[kind]}
    about = {name: value for name, value in values.items() if name not in _FIELDS[kind]}
    odd = [name for name, v in about.items() if not isinstance(v, str | int | float | bool | None)]
    if odd:  # refused by its name there
        return text, {}
    return json.dumps(request), about


def _records(result: Result) -> tuple[list[SignatureRecord], str | None]:
    """The records of an answer, or why there are none."""
    if result.error is not None:
        return [], result.error
    if isinstance(result, Generation):
        found = [result.signature]
    else:
        found = [text.signature for text in result.texts]
    records = [record for record in found if record is not None]
    if len(records) < len(found):
        return [], "the model gave no log-probabilities."
    if not all(len(record) for record in records):
        return [], "the answer is empty: it has no token and so no signature."
    return records, None


def _named(
    question: Question, records: Sequence[SignatureRecord]
) -> list[tuple[SignatureRecord, dict[str, Any]]]:
    rows = []
    for place, record in enumerate(records):
        name = question.id if len(records) == 1 else f"{question.id}#{place}"
        about = {"prompt": question.line.request.prompt, **question.about}
        about.setdefault("group", question.id)
        rows.append((replace(record), {**about, "id": name}))
    return rows


def _set_of(rows: Sequence[tuple[SignatureRecord, dict[str, Any]]]) -> SignatureSet:
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns: dict[str, list[Any]] = {name: [row.get(name) for _, row in rows] for name in names}
    labels = columns.pop("label", None)
    groups, ids = columns.pop("group"), columns.pop("id")
    others = {k: [None if v is None else str(v) for v in c] for k, c in columns.items()}
    known = None if labels is None else [float("nan") if v is None else float(v) for v in labels]
    return SignatureSet.of([record for record, _ in rows], known, groups, ids, **others)
