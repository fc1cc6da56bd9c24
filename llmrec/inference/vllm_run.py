"""Run work through vLLM's engine and tell failures apart: a request's own, and the engine's."""

import contextlib
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.errors import ConfigError, LlmrecError


@dataclass(frozen=True)
class Work:
    """One thing to ask.

    Attributes:
        prompt: Token ids.
        params: vLLM's ``SamplingParams``.
        lora: vLLM's ``LoRARequest``, or None.
    """

    prompt: list[int]
    params: Any
    lora: Any


class Engine:
    """vLLM's offline engine.

    Args:
        llm: vLLM's ``LLM``.

    Attributes:
        context: Most tokens of a prompt and its answer.
        dtype: Number format of the model.
    """

    def __init__(self, llm: Any) -> None:
        from vllm.exceptions import VLLMClientError

        self._refusals = (ValueError, VLLMClientError)
        self._llm = llm
        self.context = int(llm.model_config.max_model_len)
        self.dtype = str(llm.model_config.dtype).removeprefix("torch.")

    def run(self, work: Sequence[Work]) -> list[Any]:
        """Ask everything at once.

        Returns:
            One of vLLM's ``RequestOutput`` or an error per piece of work, in its order.

        Raises:
            ConfigError: The engine was closed.
        """
        if self._llm is None:
            raise ConfigError("this model was closed; make a new one.")
        if not work:
            return []
        try:
            return self._ask(work)
        except self._refusals as error:
            # vLLM takes all or nothing, so whose fault it is shows one by one
            if len(work) == 1:
                return [ConfigError(f"vLLM refuses the request: {_first_line(error)}.")]
            return [found for one in work for found in self.run([one])]
        except Exception as error:
            return [_stopped(error)] * len(work)

    def close(self) -> None:
        """Stop the engine's processes and give its memory back."""
        if self._llm is not None:
            core = self._llm.llm_engine.engine_core
            self._llm = None
            core.shutdown()
            gc.collect()

    def _ask(self, work: Sequence[Work]) -> list[Any]:
        try:
            outputs = self._llm.generate(
                [{"prompt_token_ids": one.prompt} for one in work],
                [one.params for one in work],
                lora_request=[one.lora for one in work],
                use_tqdm=False,
            )
        except BaseException:
            self._forget_unfinished()
            raise
        return list(outputs)

    def _forget_unfinished(self) -> None:
        """After an interruption, so that the next call gets no answer of this one."""
        with contextlib.suppress(Exception):
            engine = self._llm.llm_engine
            engine.abort_request(list(engine.output_processor.request_states), internal=True)


def _stopped(error: Exception) -> LlmrecError:
    return LlmrecError(
        f"vLLM's engine failed ({type(error).__name__}: {_first_line(error)}); its messages say "
        "more. Make the model again; if it fails again, ask for fewer requests at once."
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
