"""What makes two requests the same question: a hash of all that can change the answer.

Prompts cannot be read back from a key. Two requests that differ only in the seed of greedy
decoding are one question; everything else must be equal, also the number of log-probabilities: a
record of 20 is not cut to answer a request for 10, because what lies outside of a record (ranks,
tail) depends on its width.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from llmrec.data.hashing import hash_json
from llmrec.inference.requests import GenerateRequest, ScoreRequest

Request = GenerateRequest | ScoreRequest


def request_key(request: Request, fingerprint: Mapping[str, Any] | None = None) -> str:
    """Hexadecimal SHA-256 of a request, and of the model that is asked where one is given.

    Args:
        request: The request.
        fingerprint: Of the model.
    """
    if isinstance(request, GenerateRequest) and request.decoding.temperature == 0:
        request = replace(request, decoding=replace(request.decoding, seed=None))
    kind = "generate" if isinstance(request, GenerateRequest) else "score"
    model = None if fingerprint is None else dict(fingerprint)
    return hash_json({"kind": kind, "model": model, "request": asdict(request)})
