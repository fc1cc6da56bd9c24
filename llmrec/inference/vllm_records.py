"""Results from what vLLM gives back: numbers in flat lists, ranks that count from 1.

vLLM gives the token really there and the K most probable ones at every position. It counts tokens
that are at least as probable, itself among them; within the K we count the more probable ones
ourselves, beyond them a tie with another token makes the rank larger by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError
from llmrec.inference.answering import Tokens, not_finite
from llmrec.inference.requests import GenerateRequest
from llmrec.inference.results import Finish, Generation, Scored
from llmrec.inference.signature import FLOOR, SignatureRecord, tail_logmass
from llmrec.inference.stopping import AnswerText


@dataclass(frozen=True)
class Rows:
    """Log-probabilities of ``N`` positions.

    Attributes:
        values: ``[N, 1 + K]`` float64: the token really there, then the most probable ones.
        ids: ``[N, 1 + K]`` int32 of their tokens.
        ranks: ``[N]`` of the token really there, from 1, as vLLM counts.
    """

    values: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int32]
    ranks: npt.NDArray[np.int32]

    def followed_by(self, other: "Rows") -> "Rows":
        """These positions and then others."""
        pairs = zip(_parts(self), _parts(other), strict=True)
        return Rows(*(np.concatenate(pair) for pair in pairs))


def rows_of(flat: Any, k: int, ids: Sequence[int]) -> Rows:
    """Read vLLM's ``FlatLogprobs``.

    Args:
        flat: Of an answer, or of a prompt: the empty first position of that is left out.
        k: How many values per position were asked for.
        ids: The tokens really there.

    Raises:
        DataError: They are missing, fewer than asked for, or of other tokens.
    """
    size = (len(ids), k + 1)
    if flat is None or len(flat.logprobs) != size[0] * size[1]:
        found = 0 if flat is None else len(flat.logprobs)
        raise DataError(
            f"vLLM gave {found} log-probabilities where {size[0]} tokens with {k + 1} each were "
            "asked for, so the result would have holes; please report it with vLLM's version."
        )
    # of prompts vLLM ranks the first of each row alone too; the others are 1, 2, ... in order
    tokens = np.asarray(flat.token_ids, dtype=np.int32).reshape(size)
    if not np.array_equal(tokens[:, 0], ids):
        raise DataError(
            "vLLM gave log-probabilities of other tokens than it was asked for; if the model was "
            f"started with options of your own, leave them out. Asked for {list(ids)[:5]}, got "
            f"{tokens[:5, 0].tolist()}."
        )
    values = np.asarray(flat.logprobs, dtype=np.float64).reshape(size)
    ranks = np.asarray(flat.ranks, dtype=np.int32).reshape(size)[:, 0]
    return Rows(values, tokens, ranks)


def generation_of(
    request: GenerateRequest,
    prompt: Sequence[int],
    output: Any,
    tokens: Tokens,
    *,
    vocab_size: int,
    fingerprint: Mapping[str, Any],
) -> Generation:
    """The answer to one request.

    Args:
        request: The request.
        prompt: Tokens of its prompt as the model saw it.
        output: vLLM's ``CompletionOutput``.
        tokens: What tokens mean.
        vocab_size: Width of the logits.
        fingerprint: Of the record.

    Raises:
        DataError: Log-probabilities are missing.
    """
    text, finish, ids = _answer(request, prompt, output, tokens)
    rows = rows_of(output.logprobs, request.logprobs, list(output.token_ids))
    rows = Rows(*(part[: len(ids)] for part in _parts(rows)))
    actual = rows.values[:, 0]
    bad = ~np.isfinite(actual)
    if bad.any():
        where = f"token {int(bad.argmax()) + 1} of the answer"
        return Generation(prompt_tokens=len(prompt), error=not_finite(where))
    record = None
    if request.logprobs:
        decoding = request.decoding
        record = _record(
            rows,
            tokens,
            text=text,
            kind="output",
            has_eos=ids[-1] in tokens.eos,
            vocab_size=vocab_size,
            fingerprint=fingerprint,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k,
        )
    total = float(np.maximum(actual, FLOOR).sum())
    return Generation(text, finish, len(prompt), len(ids), total, record)


def scored_of(
    rows: Rows,
    text: str,
    tokens: Tokens,
    *,
    k: int,
    vocab_size: int,
    fingerprint: Mapping[str, Any],
) -> Scored | str:
    """The result for one given text, or the sentence that says why there is none.

    Args:
        rows: Of its tokens.
        text: The text.
        tokens: What tokens mean.
        k: Values per position that were asked for; 0 for no record.
        vocab_size: Width of the logits.
        fingerprint: Of the record.
    """
    actual = rows.values[:, 0]
    # a token that cannot come (-inf) is merely improbable
    bad = np.isnan(actual) | (actual == np.inf)
    if bad.any():
        return not_finite(f"token {int(bad.argmax()) + 1} of the scored text")
    record = None
    if k:
        record = _record(
            rows,
            tokens,
            text=text,
            kind="input",
            has_eos=int(rows.ids[-1, 0]) in tokens.eos,
            vocab_size=vocab_size,
            fingerprint=fingerprint,
        )
    return Scored(float(np.maximum(actual, FLOOR).sum()), len(actual), record)


def _answer(
    request: GenerateRequest, prompt: Sequence[int], output: Any, tokens: Tokens
) -> tuple[str, Finish, list[int]]:
    """Text, end and tokens of an answer, by the same rules as on every local backend."""
    decoding, ids = request.decoding, list(output.token_ids)
    text = AnswerText(tokens.decode, prompt, decoding.stop)
    for place, token in enumerate(ids):
        if token in tokens.eos and not decoding.ignore_eos:
            return text.close() if place else "", "stop", ids[: place + 1]
        if text.push(token):
            return text.close(), "stop", ids[: place + 1]
    # vLLM holds back bytes of unfinished characters in its own way, so it may see a stop text first
    finish: Finish = "stop" if isinstance(output.stop_reason, str) else "length"
    return text.close(), finish, ids


def _record(rows: Rows, tokens: Tokens, **about: Any) -> SignatureRecord:
    actual, best = rows.values[:, 0], np.clip(rows.values[:, 1:], FLOOR, 0.0)
    n, k = best.shape
    above = (rows.values[:, 1:] > actual[:, None]).sum(axis=1)
    rank = np.where(above < k, above, np.maximum(rows.ranks - 1, k))
    return SignatureRecord(
        topk_logprobs=best.astype(np.float32),
        topk_valid=np.ones((n, k), dtype=np.bool_),
        actual_logprob=np.clip(actual, FLOOR, 0.0).astype(np.float32),
        actual_rank=rank.astype(np.int32),
        rank_censored=np.zeros(n, dtype=np.bool_),
        tail_logmass=tail_logmass(best),
        mode="raw_logprobs",
        topk_ids=rows.ids[:, 1:],
        tokens=tuple(tokens.piece(int(token)) for token in rows.ids[:, 0]),
        **about,
    )


def _parts(rows: Rows) -> tuple[npt.NDArray[Any], ...]:
    return rows.values, rows.ids, rows.ranks
