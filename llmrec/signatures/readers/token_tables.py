"""Tables of token probabilities: one position per row, as in ``mcq-logprobs``.

Columns ``tokens`` and ``probs`` hold values separated by blanks, tokens JSON-escaped; ``gold`` the
right answer, and further columns are kept. The answer is the first of the most probable tokens.
Tokens of both cases may have been merged, so that rounding lifts a sum above 1: such a row is
scaled to 1. Values need not be sorted; zeros, -inf and -9999 (in ``logprobs``) count as not
received.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.errors import DataError, LlmrecError
from llmrec.inference.signature import FLOOR, Mode, Position, SignatureRecord, record_of_positions
from llmrec.signatures.readers.lines import Gathered, ReadSignatures, text_lines

_OVER = 1.05
"""A sum of probabilities beyond this is no rounding."""


def read_token_table(
    path: str | Path,
    *,
    k: int = 10,
    mode: Mode = "raw_logprobs",
    vocab_size: int | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    group: str = "question_id",
    strict: bool = False,
) -> ReadSignatures:
    """Read a table of token probabilities.

    Args:
        path: CSV with a header, plain or gzipped.
        k: Columns of the records.
        mode: Of the values.
        vocab_size: Width of the logits, or None.
        fingerprint: What the values depend on; None takes the file's name as the model's.
        group: The column that says what must not be torn.
        strict: Raise at the first bad line, and keep nothing.

    Returns:
        Records with label 1 where the most probable token is not ``gold``; without labels where
        there is no such column.

    Raises:
        DataError: The file is missing or has no columns of tokens and probabilities, or in strict
            mode a line is bad.
    """
    gathered = Gathered(strict)
    name = Path(path).name.removesuffix(".gz").removesuffix(".csv")
    about = {"model": name} if fingerprint is None else dict(fingerprint)
    positions, answers, rows = [], [], []
    for number, row in _rows(path, gathered, group):
        try:
            position, answer = _position(row)
        except LlmrecError as error:
            gathered.refuse(path, number, error)
            continue
        label = None if row.get("gold") is None else float(answer != row["gold"])
        others = {key: value for key, value in row.items() if key not in ("tokens", "probs")}
        known = {"id": f"{name}:{number}", "label": label, "group": row[group]}
        positions.append(position)
        answers.append(answer)
        rows.append({**others, **known, "answer": answer})
    together = record_of_positions(
        positions,
        k,
        vocab_size=vocab_size,
        mode=mode,
        kind="output",
        has_eos=False,
        fingerprint=about,
        tokens=tuple(answers),
    )
    for place, about_it in enumerate(rows):
        gathered.add(_only(together, place, answers[place]), about_it)
    return gathered.result()


def _rows(path: str | Path, gathered: Gathered, group: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line and the fields of every row."""
    lines = text_lines(path, gathered)
    header = next(lines, (0, ""))[1]
    names = next(csv.reader([header]), [])
    needed = {"tokens", group, "logprobs" if "logprobs" in names else "probs"}
    if not needed <= set(names):
        raise DataError(
            f"{path}: the header {names} lacks {sorted(needed - set(names))}; this is no table of "
            "token probabilities."
        )
    for number, line in lines:
        values = next(csv.reader([line.rstrip("\r\n")]))
        if len(values) != len(names):
            gathered.refuse(path, number, f"{len(values)} fields instead of {len(names)}.")
            continue
        yield number, dict(zip(names, values, strict=True))


def _position(row: Mapping[str, str]) -> tuple[Position, str]:
    tokens = [_unescaped(token) for token in row["tokens"].split()]
    logprobs = _logprobs(row)
    if len(tokens) != logprobs.size:
        raise DataError(f"{len(tokens)} tokens have {logprobs.size} values.")
    if not logprobs.size:
        raise DataError("the row has no tokens.")
    best = int(logprobs.argmax())
    return Position(logprobs.tolist(), actual=best), tokens[best]


def _only(together: SignatureRecord, place: int, text: str) -> SignatureRecord:
    """One position of a record as a record of its own."""
    one = slice(place, place + 1)
    return SignatureRecord(
        together.topk_logprobs[one],
        together.topk_valid[one],
        together.actual_logprob[one],
        together.actual_rank[one],
        together.rank_censored[one],
        together.tail_logmass[one],
        together.vocab_size,
        together.mode,
        together.kind,
        together.has_eos,
        together.fingerprint,
        tokens=(text,),
        text=text,
    )


def _logprobs(row: Mapping[str, str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    name = "logprobs" if "logprobs" in row else "probs"
    try:
        values = np.array(row[name].split(), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{name} holds something that is no number: {error}.") from None
    if name == "logprobs":
        values = np.exp(np.maximum(values, FLOOR))
    if np.isnan(values).any() or (values < 0).any() or values.sum() > _OVER:
        raise DataError(
            f"{name} {row[name]!r} are not probabilities of different tokens: each is at least 0 "
            "and their sum at most 1."
        )
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values / max(values.sum(), 1.0)))


def _unescaped(token: str) -> str:
    if "\\" not in token and '"' not in token:
        return token
    try:
        found = json.loads(f'"{token}"')
    except json.JSONDecodeError:
        raise DataError(f"the token {token!r} is not escaped as in JSON.") from None
    return str(found)
