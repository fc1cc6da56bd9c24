"""Requests in vLLM's words: every parameter is written out, so that no default of vLLM's acts.

Nothing is taken from a checkpoint's generation settings. vLLM is imported when parameters are made.
"""

from collections.abc import Collection, Sequence
from typing import Any

from llmrec.errors import ConfigError
from llmrec.inference.requests import Decoding

FORCED_TOKENS = "llmrec_forced_tokens"
"""The extra argument of a request whose answer is given."""

COOLEST, HOTTEST = 0.01, 2.0


def check_decoding(decoding: Decoding) -> None:
    """Refuse what vLLM would refuse, or change without a word.

    Raises:
        ConfigError: The temperature is neither 0 nor in vLLM's range.
    """
    temperature = decoding.temperature
    if temperature > HOTTEST or 0 < temperature < COOLEST:
        raise ConfigError(
            f"temperature is {temperature}; vLLM takes 0 or {COOLEST} to {HOTTEST}. Choose one of "
            "these, or use the Hugging Face backend."
        )


def continuing(decoding: Decoding, logprobs: int, eos: Collection[int]) -> Any:
    """Parameters that continue a prompt.

    Args:
        decoding: How tokens are chosen.
        logprobs: Values per position; the chosen token's always comes.
        eos: Tokens that end an answer.

    Returns:
        vLLM's ``SamplingParams``.
    """
    return _params(
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=decoding.top_k,
        # vLLM reads -1 as "no seed"
        seed=None if decoding.seed is None else decoding.seed % 2**63,
        stop=list(decoding.stop),
        detokenize=bool(decoding.stop),
        stop_token_ids=[] if decoding.ignore_eos else sorted(eos),
        logprobs=logprobs,
    )


def forcing(ids: Sequence[int], logprobs: int, prompt_logprobs: bool = False) -> Any:
    """Parameters that give tokens as an answer.

    Args:
        ids: The tokens, at least one.
        logprobs: Values per position; the given token's always comes.
        prompt_logprobs: Give the same for the tokens of the prompt.

    Returns:
        vLLM's ``SamplingParams``.
    """
    return _params(
        max_tokens=len(ids),
        temperature=0.0,
        detokenize=False,
        logprobs=logprobs,
        prompt_logprobs=logprobs if prompt_logprobs else None,
        extra_args={FORCED_TOKENS: list(ids)},
    )


def _params(**given: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        n=1,
        ignore_eos=True,  # the tokens that end an answer are named by us, not by vLLM
        min_tokens=0,
        min_p=0.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        repetition_penalty=1.0,
        flat_logprobs=True,
        skip_special_tokens=True,
        spaces_between_special_tokens=False,
        **given,
    )
