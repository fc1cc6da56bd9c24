"""Results as JSON and safetensors, and back, bit for bit.

Arrays of signatures are safetensors, everything else is JSON. Whoever stores results keeps
:data:`VERSION` beside them and does not read those of another one.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from llmrec.errors import ArtifactError
from llmrec.inference.results import Generation, Score, Scored
from llmrec.inference.signature import SignatureRecord

VERSION = 1
Result = Generation | Score


def result_to_bytes(result: Result) -> tuple[str, bytes]:
    """Write a result as JSON and as the bytes of its arrays (empty where it has none)."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if isinstance(result, Generation):
        value = {"type": "generation"} | _plain(result, "0", arrays)
    else:
        texts = [_plain(text, str(i), arrays) for i, text in enumerate(result.texts)]
        value = {"type": "score"} | _plain(result, "0", arrays) | {"texts": texts}
    return json.dumps(value), safetensors.numpy.save(arrays) if arrays else b""


def result_from_bytes(value: str, arrays: bytes) -> Result:
    """Read what :func:`result_to_bytes` wrote.

    Raises:
        ArtifactError: It is something else, or damaged.
    """
    try:
        read = json.loads(value)
        found = safetensors.numpy.load(arrays) if arrays else {}
        kind = read.pop("type")
        if kind == "generation":
            return Generation(**_signed(read, "0", found))
        texts = [Scored(**_signed(text, str(i), found)) for i, text in enumerate(read["texts"])]
        return Score(**{**read, "texts": tuple(texts)})
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        kind = type(error).__name__
        raise ArtifactError(f"a stored result is damaged ({kind}); delete the file.") from error


def _plain(part: Any, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """The fields of a result without its arrays, which go to ``arrays``."""
    value = {item.name: getattr(part, item.name) for item in fields(part)}
    record = value.get("signature")
    if record is None:
        return value
    own = {item.name: getattr(record, item.name) for item in fields(record)}
    for name in [name for name, found in own.items() if isinstance(found, np.ndarray)]:
        arrays[f"{prefix}/{name}"] = np.ascontiguousarray(own.pop(name))
    return value | {"signature": own | {"fingerprint": dict(record.fingerprint)}}


def _signed(value: dict[str, Any], prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    own = value["signature"]
    if own is None:
        return value
    if own["tokens"] is not None:
        own["tokens"] = tuple(own["tokens"])
    start = f"{prefix}/"
    mine = {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
    return value | {"signature": SignatureRecord(**own, **mine)}
