"""What a language model is asked: small immutable values, the same for every backend.

Everything that decides which tokens come out is in the request. A checkpoint's own generation
settings, a server's defaults and environment variables play no part; a backend that cannot honour
a field refuses the request instead of ignoring it.
"""

from dataclasses import dataclass, field
from typing import Literal

from llmrec.errors import ConfigError

OverLong = Literal["error", "keep_end"]


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        max_tokens: Most tokens of the answer, at least 1.
        temperature: 0 takes the most probable token, otherwise logits are divided by it.
        top_p: Sample from the smallest set of tokens with this probability, above 0 to 1.
        top_k: Sample from this many most probable tokens; 0 for all.
        seed: Of the sampling; None only with temperature 0.
        stop: Texts that end the answer; they are not part of it.
        ignore_eos: Go on after the end-of-text token, for measurements.

    Raises:
        ConfigError: A value is out of range, or sampling has no seed.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "at least 1")
        finite = 0 <= self.temperature < float("inf")
        _require(finite, "temperature", self.temperature, "a finite number from 0")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _require(self.top_k >= 0, "top_k", self.top_k, "0 for all tokens, or more")
        if self.temperature > 0 and self.seed is None:
            raise ConfigError(
                f"temperature {self.temperature} samples, so the request needs a seed; "
                "set decoding.seed, or temperature=0."
            )
        if "" in self.stop:
            raise ConfigError("an empty stop text would end every answer at once; remove it.")


@dataclass(frozen=True)
class GenerateRequest:
    """Continue a prompt.

    Attributes:
        prompt: The text as the model is to see it, chat template and all.
        decoding: How tokens are chosen.
        logprobs: Record the K most probable tokens at every position; 0 for no record.
        adapter: Name of the adapter to use, or None for the base model.
        over_long: A prompt that does not fit with its answer is an error, or loses its beginning.

    Raises:
        ConfigError: ``logprobs`` is negative.
    """

    prompt: str
    decoding: Decoding = field(default_factory=Decoding)
    logprobs: int = 0
    adapter: str | None = None
    over_long: OverLong = "error"

    def __post_init__(self) -> None:
        _require(self.logprobs >= 0, "logprobs", self.logprobs, "0 or more")


@dataclass(frozen=True)
class ScoreRequest:
    """How probable are given texts after a prompt, or the prompt itself?

    Attributes:
        prompt: What comes before.
        continuations: Texts to score after it, each alone. None scores the prompt itself, from its
            second token on, or from its first where the model begins texts with a token of its own.
        logprobs: As for generation.
        adapter: As for generation.
        over_long: As for generation; a continuation is never cut.

    Raises:
        ConfigError: There is no continuation, one is empty, or ``logprobs`` is negative.
    """

    prompt: str
    continuations: tuple[str, ...] | None = None
    logprobs: int = 0
    adapter: str | None = None
    over_long: OverLong = "error"

    def __post_init__(self) -> None:
        _require(self.logprobs >= 0, "logprobs", self.logprobs, "0 or more")
        if self.continuations is None:
            return
        if not self.continuations:
            raise ConfigError("a request with no continuation asks nothing; give some, or None.")
        for place, text in enumerate(self.continuations):
            if not text:
                raise ConfigError(f"continuation {place} is empty: nothing can be scored.")


def _require(fits: bool, name: str, value: object, expected: str) -> None:
    if not fits:
        raise ConfigError(f"{name} is {value}; expected {expected}.")
