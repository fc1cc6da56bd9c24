"""Raw responses beside the question that was asked: the form of ``completions-top20``.

A line is ``{"task", "row", "prompt", "response"}``; ``row`` holds the question and the gold answer
in the form of AQuA (``correct``: a letter), MMLU (``answer``: number of the choice) or GSM8k
(``answer``: ends with ``#### number``). The answer is what the completion says last: a letter with
a bracket, a dot or after "answer is", or the text of exactly one choice; for GSM8k the last number
of the last sentence that has one. Where nothing of that kind is found the answer counts as wrong,
and ``extracted`` is null.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrec.errors import DataError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.readers.lines import ReadSignatures, group_of, read_lines
from llmrec.signatures.readers.openai_log import LogOptions, Row, read_openai_line

_SAID = re.compile(r"(?:answer|option|choice)\b(?: is| would be|:)*[:\s]*\(?([A-J])\b", re.I)
_MARKED = re.compile(r"\b([A-J])\)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def read_graded_completions(
    path: str | Path, options: LogOptions | None = None, *, strict: bool = False
) -> ReadSignatures:
    """Read and grade logged completions; the group is the question, ``task`` a column.

    Args:
        path: JSON lines, plain or gzipped.
        options: What the log does not say.
        strict: Raise at the first bad line, and keep nothing.

    Raises:
        DataError: The file is missing, or in strict mode a line is bad.
    """

    def read(line: str, number: int) -> Iterator[tuple[SignatureRecord, Row]]:
        found = read_openai_line(line, str(path), number, options)
        logged = json.loads(line)
        row, task = logged.get("row"), str(logged.get("task", "unknown"))
        if not isinstance(row, dict) or not isinstance(row.get("question"), str):
            raise DataError("the line has no row with a question.")
        for record, about in found:
            yield record, about | {"task": task} | _graded(record.text or "", row)

    return read_lines(path, read, strict)


def _graded(text: str, row: Mapping[str, Any]) -> Row:
    """What is known about an answer when it is held against the question's row."""
    said = extract(text, row)
    return {
        "label": float(said is None or said != gold(row)),
        "group": group_of(row["question"]),
        "question": row["question"],
        "extracted": said,
    }


def gold(row: Mapping[str, Any]) -> str:
    """The true answer: a letter, or a number without commas.

    >>> gold({"answer": "2 + 3 = 5 #### 1,005"})
    '1005'
    >>> gold({"choices": ["x", "y"], "answer": 1})
    'B'

    Raises:
        DataError: The row is of no known form.
    """
    answer = row.get("correct", row.get("answer"))
    if isinstance(answer, int) and isinstance(row.get("choices"), list):
        return chr(ord("A") + answer)
    if isinstance(answer, str) and re.fullmatch(r"[A-J]", answer):
        return answer
    if isinstance(answer, str) and "####" in answer:
        return _plain_number(answer.rpartition("####")[2])
    raise DataError("the gold answer is no letter, number of a choice, or #### number.")


def extract(text: str, row: Mapping[str, Any]) -> str | None:
    """What a completion answers, in the form of :func:`gold`; None where it does not say.

    >>> extract("So it is 40. Therefore, the correct answer is B) 40.", {"choices": [1, 2]})
    'B'
    >>> extract("That makes $1,920.", {"answer": "#### 1920"})
    '1920'
    """
    options = row.get("choices") or row.get("options")
    if not options:
        numbers = _NUMBER.findall(text)
        return _plain_number(numbers[-1]) if numbers else None
    for pattern in (_SAID, _MARKED):
        found = pattern.findall(text)
        if found:
            return str(found[-1]).upper()
    return _the_one_named(text.strip().splitlines()[-1] if text.strip() else "", options)


def _the_one_named(last: str, options: Sequence[Any]) -> str | None:
    """The only option whose text the last line holds, if there is exactly one."""
    texts = [re.sub(r"^[A-J]\)", "", str(option)).strip().casefold() for option in options]
    named = [place for place, text in enumerate(texts) if text and text in last.casefold()]
    return chr(ord("A") + named[0]) if len(named) == 1 else None


def _plain_number(text: str) -> str:
    """A number in one way of writing, so that 29.00 and 29 are equal."""
    found = _NUMBER.search(text)
    if found is None:
        raise DataError(f"{text.strip()!r} is no number.")
    value = float(found[0].replace(",", ""))
    return str(int(value)) if value == int(value) else repr(value)
