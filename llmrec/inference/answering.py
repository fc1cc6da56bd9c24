"""Answers while they grow, and texts while they are scored: what local backends have in common.

A backend brings logits; here tokens are chosen, recorded and turned into results. An answer's
``tokens``, ``logprob`` and record count every token that was chosen: the end-of-text token and
those of a stop text too, which are no part of ``text``. Log-probabilities are those of the raw
logits, whatever temperature a token was drawn at.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from llmrec.inference.capture import Columns, Positions, capture, record_of_columns
from llmrec.inference.requests import GenerateRequest
from llmrec.inference.results import Finish, Generation, Scored
from llmrec.inference.sampling import NO_CHOICE, choose, generator_of
from llmrec.inference.signature import SignatureRecord
from llmrec.inference.stopping import AnswerText


class Tokens(Protocol):
    """What a backend's tokens mean."""

    @property
    def eos(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens; special tokens have none."""
        ...

    def piece(self, token: int) -> str:
        """The text of one token, for showing it."""
        ...


class Answers:
    """The answers to a batch of requests, one more token per step.

    Args:
        requests: The batch; all ask for the same ``logprobs``.
        prompts: Token ids of their prompts as the model sees them.
        tokens: What the tokens mean.
        fingerprints: Of the records, one per request.

    Attributes:
        going: Rows of the batch that want another token.
        last: ``[len(going)]`` the tokens they got last.
    """

    def __init__(
        self,
        requests: Sequence[GenerateRequest],
        prompts: Sequence[Sequence[int]],
        tokens: Tokens,
        fingerprints: Sequence[Mapping[str, Any]],
    ) -> None:
        self._requests, self._prompts, self._tokens = requests, prompts, tokens
        self._fingerprints = fingerprints
        self._generators = [generator_of(request.decoding) for request in requests]
        self._texts = [
            AnswerText(tokens.decode, prompt, request.decoding.stop)
            for request, prompt in zip(requests, prompts, strict=True)
        ]
        self._ids: list[list[int]] = [[] for _ in requests]
        self._finish: list[Finish | None] = [None] * len(requests)
        self._errors: list[str | None] = [None] * len(requests)
        self._width = 0
        self._positions = Positions()
        self.going = list(range(len(requests)))
        self.last = torch.empty(0, dtype=torch.int64)

    def advance(self, logits: Tensor) -> None:
        """Choose the next token of every row that is going.

        Args:
            logits: ``[len(going), V]`` float32.
        """
        decodings = [self._requests[row].decoding for row in self.going]
        ids = choose(logits, decodings, [self._generators[row] for row in self.going])
        self._width = logits.shape[1]
        k = self._requests[0].logprobs
        self._positions.add(capture(logits, ids.clamp(min=0), k), self.going)
        pairs = zip(self.going, ids.tolist(), strict=True)
        kept = [place for place, pair in enumerate(pairs) if self._goes_on(*pair)]
        self.going = [self.going[place] for place in kept]
        self.last = ids[torch.tensor(kept, dtype=torch.int64, device=ids.device)]

    def results(self) -> list[Generation]:
        """The answers, in the order of the requests, once no row is going."""
        columns = self._positions.split(len(self._requests))
        return [self._result(row, found) for row, found in enumerate(columns)]

    def _goes_on(self, row: int, token: int) -> bool:
        decoding, ids = self._requests[row].decoding, self._ids[row]
        ids.append(token)
        if token == NO_CHOICE:
            self._errors[row] = not_finite(f"token {len(ids)} of the answer")
            return False
        ends = token in self._tokens.eos and not decoding.ignore_eos
        if ends or self._texts[row].push(token):
            self._finish[row] = "stop"
        elif len(ids) == decoding.max_tokens:
            self._finish[row] = "length"
        return self._finish[row] is None

    def _result(self, row: int, columns: Columns) -> Generation:
        request, ids = self._requests[row], self._ids[row]
        size = len(self._prompts[row])
        if self._errors[row] is not None:
            return Generation(prompt_tokens=size, error=self._errors[row])
        pushed = ids[:-1] if self._ends_with_eos(row) else ids
        text = self._texts[row].close() if pushed else ""
        record = None
        if request.logprobs:
            record = self._record(row, columns, text)
        logprob = float(columns.actual_logprob.double().sum())
        return Generation(text, self._finish[row], size, len(ids), logprob, record)

    def _ends_with_eos(self, row: int) -> bool:
        ignored = self._requests[row].decoding.ignore_eos
        return self._ids[row][-1] in self._tokens.eos and not ignored

    def _record(self, row: int, columns: Columns, text: str) -> SignatureRecord:
        decoding = self._requests[row].decoding
        return _record(
            columns,
            self._ids[row],
            text,
            self._tokens,
            vocab_size=self._width,
            kind="output",
            has_eos=self._ids[row][-1] in self._tokens.eos,
            fingerprint=self._fingerprints[row],
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k,
        )


def scored_text(
    columns: Columns,
    ids: Sequence[int],
    text: str,
    tokens: Tokens,
    *,
    vocab_size: int,
    fingerprint: Mapping[str, Any],
) -> Scored | str:
    """The result for one given text, or the sentence that says why there is none.

    Args:
        columns: Of its tokens, in main memory.
        ids: Its tokens.
        text: The text.
        tokens: What the tokens mean.
        vocab_size: Width of the logits.
        fingerprint: Of the record.
    """
    finite = torch.isfinite(columns.actual_logprob)
    if not bool(finite.all()):
        return not_finite(f"token {int(finite.int().argmin()) + 1} of the scored text")
    record = None
    if columns.topk_ids.shape[1]:
        record = _record(
            columns,
            ids,
            text,
            tokens,
            vocab_size=vocab_size,
            kind="input",
            has_eos=ids[-1] in tokens.eos,
            fingerprint=fingerprint,
        )
    return Scored(float(columns.actual_logprob.double().sum()), len(ids), record)


def not_finite(where: str) -> str:
    """The sentence for logits that are no numbers."""
    return (
        f"the model's logits at {where} are not finite (NaN or infinity); its weights are damaged, "
        "or its number format is too small: try dtype='float32'."
    )


def _record(
    columns: Columns, ids: Sequence[int], text: str, tokens: Tokens, **about: Any
) -> SignatureRecord:
    pieces = tuple(tokens.piece(token) for token in ids)
    return record_of_columns(columns, tokens=pieces, text=text, **about)
