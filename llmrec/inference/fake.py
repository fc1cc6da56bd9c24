"""A language model without weights, for tests: deterministic, fast, byte for byte.

Tokens are the 256 bytes and an end-of-text token. The logits of the next token are random numbers
seeded by the adapter and the last few tokens, with readable characters strongly favoured, so what
it writes is gibberish; a test that needs sense gives ``replies``. Generating and scoring read the
same logits, so they agree exactly. It refuses what a real backend refuses.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmrec.errors import ConfigError
from llmrec.inference.answering import Answers, scored_text
from llmrec.inference.capture import capture, check_width
from llmrec.inference.limits import check_adapter, encodable, fitted
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score, Scored

EOS = 256
VOCAB_SIZE = 257

_ORDER = 4
"""Tokens back that the next one depends on."""
_KEPT_ROWS = 50_000
_CERTAIN = 60.0


class ByteTokens:
    """Texts as their UTF-8 bytes."""

    eos = frozenset({EOS})

    def encode(self, text: str) -> list[int]:
        """The bytes of a text.

        Raises:
            ConfigError: The text holds half of a surrogate pair, which UTF-8 has no bytes for.
        """
        return list(encodable(text).encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of bytes, with U+FFFD for what is no character."""
        return bytes(token for token in ids if token < EOS).decode(errors="replace")

    def piece(self, token: int) -> str:
        """The text of one byte."""
        return "<eos>" if token == EOS else self.decode([token])


class FakeLanguageModel:
    """See the module; implements :class:`~llmrec.contracts.LanguageModel`.

    Args:
        replies: From a prompt to the answer that greedy decoding gives it, or None for gibberish.
        adapters: Names of adapters; each changes every logit.
        context: Most tokens of a prompt and its answer.
        seed: Models with different seeds are different models.

    Attributes:
        calls: How often :meth:`generate` and :meth:`score` were called.
        requests: How many requests they were given.
    """

    def __init__(
        self,
        replies: Callable[[str], str] | None = None,
        *,
        adapters: Iterable[str] = (),
        context: int = 2048,
        seed: int = 0,
    ) -> None:
        self.calls = 0
        self.requests = 0
        self._replies = replies
        self._adapters = list(adapters)
        self._context = context
        self._seed = seed
        self._tokens = ByteTokens()
        self._rows: dict[tuple[str | None, bytes, int], npt.NDArray[np.float32]] = {}

    @property
    def fingerprint(self) -> dict[str, str]:
        """What answers depend on; a function that replies has no identity of its own."""
        kind = "scripted" if self._replies else "hashed"
        return {"backend": "fake", "backend_version": "1", "model": f"{kind}-{self._seed}"}

    def add_adapter(self, name: str) -> None:
        """Make an adapter known.

        Raises:
            ConfigError: There is one of this name.
        """
        if name in self._adapters:
            raise ConfigError(f"adapter {name!r} exists; an adapter's name is given once.")
        self._adapters.append(name)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """Continue prompts: one result per request, in their order."""
        self.calls += 1
        self.requests += len(requests)
        found: dict[int, Generation] = {}
        read: dict[int, tuple[list[int], list[int] | None]] = {}
        for number, request in enumerate(requests):
            try:
                prompt = self._prompt(request, request.decoding.max_tokens)
                read[number] = prompt, self._reply(request.prompt)
            except ConfigError as error:
                found[number] = Generation(error=str(error))
        for k in {requests[number].logprobs for number in read}:
            batch = [number for number in read if requests[number].logprobs == k]
            answers = self._answers([requests[n] for n in batch], [read[n] for n in batch])
            found.update(zip(batch, answers, strict=True))
        return [found[number] for number in range(len(requests))]

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Score continuations, or prompts themselves: one result per request, in their order."""
        self.calls += 1
        self.requests += len(requests)
        return [self._scored(request) for request in requests]

    def _answers(
        self,
        requests: Sequence[GenerateRequest],
        read: Sequence[tuple[list[int], list[int] | None]],
    ) -> list[Generation]:
        """Answer requests that all ask for the same ``logprobs``."""
        prompts = [prompt for prompt, _ in read]
        answers = Answers(requests, prompts, self._tokens, [self._about(r) for r in requests])
        said: list[list[int]] = [[] for _ in requests]
        while answers.going:
            rows = [
                self._row(requests[n].adapter, prompts[n], said[n], read[n][1])
                for n in answers.going
            ]
            answers.advance(torch.from_numpy(np.stack(rows)))
            for n, token in zip(answers.going, answers.last.tolist(), strict=True):
                said[n].append(token)
        return answers.results()

    def _scored(self, request: ScoreRequest) -> Score:
        try:
            continuations = [self._tokens.encode(text) for text in request.continuations or ()]
            prompt = self._prompt(request, max(map(len, continuations), default=0))
            reply = self._reply(request.prompt)
        except ConfigError as error:
            return Score(error=str(error))
        if request.continuations is None:
            if not prompt:
                return Score(error="an empty prompt has no token to score; give it some text.")
            found = [self._score_text(request, [], prompt, self._tokens.decode(prompt), None)]
        else:
            pairs = zip(continuations, request.continuations, strict=True)
            found = [self._score_text(request, prompt, *pair, reply) for pair in pairs]
        return Score(tuple(found), len(prompt))

    def _score_text(
        self,
        request: ScoreRequest,
        prompt: list[int],
        ids: list[int],
        text: str,
        reply: list[int] | None,
    ) -> Scored:
        rows = [self._row(request.adapter, prompt, ids[:at], reply) for at in range(len(ids))]
        columns = capture(torch.from_numpy(np.stack(rows)), torch.tensor(ids), request.logprobs)
        about: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "fingerprint": self._about(request)}
        found = scored_text(columns, ids, text, self._tokens, **about)
        assert isinstance(found, Scored), "hashed logits are finite"
        return found

    def _prompt(self, request: GenerateRequest | ScoreRequest, more: int) -> list[int]:
        """The prompt's tokens, cut where that was asked for."""
        check_width(request.logprobs, VOCAB_SIZE)
        check_adapter(request.adapter, self._adapters)
        ids = self._tokens.encode(request.prompt)
        return fitted(ids, more, self._context, request.over_long)

    def _reply(self, prompt: str) -> list[int] | None:
        return None if self._replies is None else self._tokens.encode(self._replies(prompt))

    def _about(self, request: GenerateRequest | ScoreRequest) -> dict[str, Any]:
        return {**self.fingerprint, "adapter": request.adapter}

    def _row(
        self, adapter: str | None, prompt: list[int], answer: list[int], reply: list[int] | None
    ) -> npt.NDArray[np.float32]:
        """Logits ``[257]`` of the token after an answer's beginning."""
        recent = (prompt[-_ORDER:] + answer[-_ORDER:])[-_ORDER:]
        row = self._hashed(adapter, np.asarray(recent, dtype=np.uint16).tobytes())
        if reply is None or reply[: len(answer)] != answer:
            return row
        scripted = row.copy()
        scripted[[*reply, EOS][len(answer)]] += _CERTAIN
        return scripted

    def _hashed(self, adapter: str | None, recent: bytes) -> npt.NDArray[np.float32]:
        key = (adapter, recent, self._seed)
        if key not in self._rows:
            if len(self._rows) >= _KEPT_ROWS:
                self._rows.clear()
            digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
            noise = np.random.default_rng(int.from_bytes(digest)).standard_normal(VOCAB_SIZE)
            self._rows[key] = (2.0 * noise + _FAVOUR).astype(np.float32)
        return self._rows[key]


def _favour() -> npt.NDArray[np.float64]:
    favour = np.zeros(VOCAB_SIZE)
    favour[32:127] = 12.0
    favour[EOS] = 12.0  # texts of a hundred characters or so
    return favour


_FAVOUR = _favour()
