"""A language model that is asked only what the cache does not know.

Failed requests are never stored, so they are asked again next time. Questions that come twice in
one call are asked once. Answers are stored while the call goes on, so that one that is cut off can
be started again and goes on where it stopped. Only the very same question counts: see
:mod:`llmrec.inference.request_keys`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from llmrec.contracts import LanguageModel
from llmrec.errors import ConfigError, StorageError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.request_keys import Request, request_key
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score

_Asked = TypeVar("_Asked", GenerateRequest, ScoreRequest)
_Answer = TypeVar("_Answer", Generation, Score)

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English; other scripts have fewer characters in a token."""


@dataclass(frozen=True)
class CallPlan:
    """What a call would cost.

    Attributes:
        calls: Requests that the model would be asked.
        hits: Requests that the cache answers, or that repeat another of the call.
        prompt_characters: Of the texts that would be sent; a prompt counts once per continuation.
        approx_tokens: Those at four characters a token, and all answers at their full length.
    """

    calls: int
    hits: int
    prompt_characters: int
    approx_tokens: int


class CachedModel:
    """A model with a cache; implements :class:`llmrec.contracts.LanguageModel`.

    Args:
        model: Whom to ask.
        cache: Where answers are kept.
        owner: Whose data is in the prompts, for :meth:`ResponseCache.forget`; or a function from
            a request to those whose data is in it.
        save_every: Ask and store this many requests at a time: what a kill can lose.

    Attributes:
        hits: Requests answered without the model so far.
        calls: Requests the model was asked so far.

    Raises:
        ConfigError: ``save_every`` is below 1.
    """

    def __init__(
        self,
        model: LanguageModel,
        cache: ResponseCache,
        owner: str | Callable[[Any], Sequence[str]] | None = None,
        save_every: int = 512,
    ) -> None:
        if save_every < 1:
            raise ConfigError(f"save_every is {save_every}; expected 1 or more.")
        self._model = model
        self._cache = cache
        self._owner = owner
        self._save_every = save_every
        self.hits = 0
        self.calls = 0

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """That of the model: a cache changes no answer."""
        return self._model.fingerprint

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """Continue prompts: one result per request, in their order."""
        return self._answer(requests, self._model.generate, Generation)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Score continuations, or prompts themselves: one result per request, in their order."""
        return self._answer(requests, self._model.score, Score)

    def plan(self, requests: Sequence[Request]) -> CallPlan:
        """Count what asking these requests would cost; nothing is asked and nothing changes."""
        keyed = dict(zip(self._keys(requests), requests, strict=True))
        known = self._cache.known(keyed)
        asked = [request for key, request in keyed.items() if key not in known]
        characters = [_characters(request) for request in asked]
        tokens = sum(-(-count // CHARACTERS_PER_TOKEN) for count in characters)
        answers = [r.decoding.max_tokens for r in asked if isinstance(r, GenerateRequest)]
        return CallPlan(
            len(asked), len(requests) - len(asked), sum(characters), tokens + sum(answers)
        )

    def _answer(
        self,
        requests: Sequence[_Asked],
        ask: Callable[[Sequence[_Asked]], list[_Answer]],
        kind: type[_Answer],
    ) -> list[_Answer]:
        keys = self._keys(requests)
        keyed = dict(zip(keys, requests, strict=True))
        owned = self._by_owner(keyed)
        answers = {
            key: found
            for owner, own in owned.items()
            for key, found in self._cache.get(own, owner).items()
            if isinstance(found, kind)
        }
        missing = {key: request for key, request in keyed.items() if key not in answers}
        self.hits += len(requests) - len(missing)
        self.calls += len(missing)
        waiting = list(missing)
        for start in range(0, len(waiting), self._save_every):
            part = waiting[start : start + self._save_every]
            results = ask([missing[key] for key in part])
            fresh = dict(zip(part, results, strict=True))
            self._store({key: found for key, found in fresh.items() if found.error is None}, owned)
            answers |= fresh
        return [answers[key] for key in keys]

    def _by_owner(self, keyed: Mapping[str, Any]) -> dict[str | None, list[str]]:
        """The keys of every owner's requests; those that nobody owns are under None."""
        if not callable(self._owner):
            return {self._owner: list(keyed)}
        found: dict[str | None, list[str]] = {}
        for key, request in keyed.items():
            owners: Sequence[str | None] = self._owner(request) or [None]
            for owner in owners:
                found.setdefault(owner, []).append(key)
        return found

    def _store(self, fresh: Mapping[str, Any], owned: Mapping[str | None, Sequence[str]]) -> None:
        """Keep answers; a full disk must not take those with it that were just paid for."""
        try:
            for owner, keys in owned.items():
                self._cache.put({key: fresh[key] for key in keys if key in fresh}, owner)
        except StorageError as error:
            warnings.warn(f"answers are not stored: {error}", UserWarning, stacklevel=4)

    def _keys(self, requests: Sequence[Request]) -> list[str]:
        fingerprint = self.fingerprint
        return [request_key(request, fingerprint) for request in requests]


def _characters(request: Request) -> int:
    if isinstance(request, GenerateRequest) or request.continuations is None:
        return len(request.prompt)
    return sum(len(request.prompt) + len(text) for text in request.continuations)
