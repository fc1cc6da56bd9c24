"""Records from single lines: raw responses of a server, or lines that ``llmrec lm`` printed.

For what arrives line by line; files are read by :mod:`llmrec.signatures.readers`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llmrec.errors import DataError
from llmrec.inference.signature import FLOOR, SignatureRecord
from llmrec.signatures.readers import LogOptions, read_openai_line

Row = dict[str, Any]

_NEEDED = ("mode", "kind", "has_eos", "topk_logprobs", "actual_logprob", "tail_logmass")


def read_record_line(
    line: str, file: str, number: int, options: LogOptions | None = None
) -> list[tuple[SignatureRecord, Row]]:
    """Read one line: a record and what is known about it, for each of its texts.

    Args:
        line: A response in JSON, or a line of ``llmrec lm generate`` or ``score`` with
            ``--logprobs``.
        file: Where it comes from, for ids.
        number: Its place there, for ids.
        options: What responses do not say.

    Raises:
        DataError: It is no such line, or one without a signature; the sentence names no file.
    """
    if '"signature"' not in line:
        return read_openai_line(line, file, number, options)
    try:
        values = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"this is no JSON ({error}); the line may be truncated.") from None
    if not isinstance(values, dict) or "signature" in values.get("response", ()):
        return read_openai_line(line, file, number, options)
    texts = values.get("texts", [values])
    name = str(values.get("id", f"{file}:{number}"))
    found = []
    for place, text in enumerate(texts):
        if not isinstance(text, dict) or not isinstance(text.get("signature"), dict):
            raise DataError("the line has no signature; ask with --logprobs.")
        own = name if len(texts) == 1 else f"{name}#{place}"
        record = replace(record_from_json(text["signature"]), text=text.get("text"))
        found.append((record, {"id": own}))
    return found


def record_from_json(values: Mapping[str, Any]) -> SignatureRecord:
    """A record from the lists that ``llmrec lm`` prints.

    Raises:
        DataError: A list is missing, or is of another length or kind.
    """
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        raise DataError(f"the signature has no {missing[0]}; it is of another version.")
    try:
        n = len(values["topk_logprobs"])
        logprobs = np.array(values["topk_logprobs"], dtype=np.float32).reshape(n, -1)
        ids = values.get("topk_ids")
        return SignatureRecord(
            logprobs,
            logprobs > FLOOR,
            np.array(values["actual_logprob"], dtype=np.float32),  # null is NaN
            np.array(values.get("actual_rank", [0] * n), dtype=np.int32),
            np.array(values.get("rank_censored", [False] * n), dtype=np.bool_),
            np.array(values["tail_logmass"], dtype=np.float32),
            values.get("vocab_size"),
            values["mode"],
            values["kind"],
            bool(values["has_eos"]),
            dict(values.get("fingerprint") or {}),
            None if ids is None else np.array(ids, dtype=np.int32).reshape(n, -1),
            tokens=None if values.get("tokens") is None else tuple(values["tokens"]),
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the signature does not have the form of one: {error}.") from None
