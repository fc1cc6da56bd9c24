"""What a language model answers: one result per request, in the order of the requests.

A request that failed has a result with ``error`` set and nothing else; it never takes others down
with it.
"""

from dataclasses import dataclass
from typing import Literal

from llmrec.inference.signature import SignatureRecord

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Generation:
    """The answer to a :class:`~llmrec.inference.requests.GenerateRequest`.

    Attributes:
        text: The answer, without the stop text.
        finish: ``"stop"`` at the end-of-text token or a stop text, ``"length"`` at ``max_tokens``;
            None where it failed.
        prompt_tokens: Tokens of the prompt as the model saw it.
        tokens: Tokens of the answer.
        logprob: Sum of the log-probabilities of those tokens, or None where the backend keeps them
            to itself.
        signature: The record that was asked for, or None.
        error: Why it failed, as a sentence, or None.
    """

    text: str = ""
    finish: Finish | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    logprob: float | None = None
    signature: SignatureRecord | None = None
    error: str | None = None


@dataclass(frozen=True)
class Scored:
    """One scored text.

    Attributes:
        logprob: Sum of the log-probabilities of its tokens.
        tokens: Their number.
        signature: The record that was asked for, or None.
    """

    logprob: float
    tokens: int
    signature: SignatureRecord | None = None


@dataclass(frozen=True)
class Score:
    """The answer to a :class:`~llmrec.inference.requests.ScoreRequest`.

    Attributes:
        texts: One entry per continuation, or one for the prompt.
        prompt_tokens: Tokens of the prompt as the model saw it.
        error: Why it failed, as a sentence, or None.
    """

    texts: tuple[Scored, ...] = ()
    prompt_tokens: int = 0
    error: str | None = None
