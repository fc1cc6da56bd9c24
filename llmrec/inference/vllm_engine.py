"""Language models run by vLLM's offline engine: many requests, many adapters, one engine.

Prompts go to vLLM as token ids made by our own reading of the tokenizer, and everything that
decides which tokens come out is in the request, so answers agree with those of
:class:`~llmrec.inference.hf.HFLanguageModel` as far as numbers can. Texts are scored by having
vLLM answer with given tokens (:mod:`llmrec.inference.vllm_forced`): a prompt that continuations
share is computed once and kept, adapters are mixed freely, and only whole prompts use vLLM's own
``prompt_logprobs``, where no adapter reaches the last layer.

vLLM starts processes that import the main script again, so a script that makes such a model keeps
its doing under ``if __name__ == "__main__":``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from llmrec.errors import ConfigError, DataError, LlmrecError
from llmrec.inference.capture import check_width
from llmrec.inference.limits import check_adapter, encodable, fitted
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score, Scored
from llmrec.inference.vllm_adapters import VLLMAdapters, linear_layers
from llmrec.inference.vllm_identity import identity
from llmrec.inference.vllm_params import check_decoding, continuing, forcing
from llmrec.inference.vllm_records import Rows, generation_of, rows_of, scored_of
from llmrec.inference.vllm_run import Engine, Work
from llmrec.inference.vllm_start import Setting, find_model, start_engine

Request = GenerateRequest | ScoreRequest
Ids = list[int]


class VLLMLanguageModel:
    """See the module; implements :class:`~llmrec.contracts.LanguageModel`.

    An engine holds memory and processes until :meth:`close`, or the end of a ``with`` block.

    Args:
        name_or_folder: A folder in the layout of ``save_pretrained``, or a name on the hub.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; None is bfloat16 on a GPU and
            float32 elsewhere.
        adapters: LoRA adapters to serve, from their names to their folders.
        context: Most tokens of a prompt and its answer; None takes the model's own limit.
        cache_gib: GiB for keys and values; None is 1 on a CPU and vLLM's own choice on a GPU.
        lora_rank: Room for adapters of this rank that are added later; None makes room for
            ``adapters`` only.
        lora_slots: Most adapters in one batch; others wait for their turn.
        options: Further options of vLLM's ``EngineArgs``, about speed and memory.

    Raises:
        ConfigError: An argument is out of range, or vLLM is not installed.
        ArtifactError: The model or an adapter is missing, incomplete or of another kind, or the
            engine does not start.
    """

    def __init__(
        self,
        name_or_folder: str | Path,
        dtype: str | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        *,
        context: int | None = None,
        cache_gib: float | None = None,
        lora_rank: int | None = None,
        lora_slots: int = 8,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        setting = Setting(dtype, context, cache_gib, lora_slots, dict(options or {}))
        model = find_model(str(name_or_folder))
        self._tokens, self._vocab_size = model.tokens, model.vocab_size
        self._adapters = VLLMAdapters(model.name, model.shapes.get)
        for adapter, folder in (adapters or {}).items():
            self._adapters.add(adapter, folder)
        room = self._adapters.settle(lora_rank, linear_layers(model.shapes, model.head))
        self._engine = Engine(start_engine(model, setting, room))
        # with adapters on the last layer, vLLM 0.32 on a CPU crashes at prompt_logprobs
        self._reads_prompts = model.head.rpartition(".")[2] not in room.layers
        self._context = self._engine.context
        self._fingerprint = identity(model, self._engine.dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine; the model answers nothing any more."""
        self._engine.close()

    @property
    def fingerprint(self) -> dict[str, str]:
        """What answers depend on: model, weights, tokenizer, number format and versions."""
        return dict(self._fingerprint)

    @property
    def adapters(self) -> list[str]:
        """Names that requests may use."""
        return self._adapters.names

    def add_adapter(self, name: str, folder: str | Path, *, any_base: bool = False) -> None:
        """Serve a LoRA adapter under a name that will always mean this one.

        Args:
            name: The name that requests will use.
            folder: Holds ``adapter_config.json`` and ``adapter_model.safetensors``; it must stay
                as it is, vLLM reads it when needed.
            any_base: Take it although it says that it was made for another base model.

        Raises:
            ConfigError: The name is taken, or the engine has no room for such an adapter.
            ArtifactError: A file is missing or damaged, or the adapter does not fit this model.
        """
        self._adapters.add(name, folder, any_base)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """Continue prompts: one result per request, in their order."""
        found: dict[int, Generation] = {}
        work: dict[int, Work] = {}
        for number, request in enumerate(requests):
            try:
                work[number] = self._continuing(request)
            except ConfigError as error:
                found[number] = Generation(error=str(error))
        outputs = self._engine.run(list(work.values()))
        for (number, asked), output in zip(work.items(), outputs, strict=True):
            found[number] = self._generation(requests[number], asked.prompt, output)
        return [found[number] for number in range(len(requests))]

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Score continuations, or prompts themselves: one result per request, in their order."""
        found: dict[int, Score] = {}
        plans: dict[int, _Plan] = {}
        for number, request in enumerate(requests):
            try:
                plans[number] = self._plan(request)
            except ConfigError as error:
                found[number] = Score(error=str(error))
        outputs = iter(self._engine.run([one for plan in plans.values() for one in plan.work]))
        for number, plan in plans.items():
            own = [next(outputs) for _ in plan.work]
            found[number] = self._score(requests[number], plan, own)
        return [found[number] for number in range(len(requests))]

    def _continuing(self, request: GenerateRequest) -> Work:
        decoding = request.decoding
        check_decoding(decoding)
        prompt = self._prompt(request, decoding.max_tokens)
        params = continuing(decoding, request.logprobs, self._tokens.eos)
        return Work(prompt, params, self._adapters.request_of(request.adapter))

    def _generation(self, request: GenerateRequest, prompt: Ids, output: Any) -> Generation:
        if isinstance(output, LlmrecError):
            return Generation(error=str(output))
        try:
            return generation_of(
                request,
                prompt,
                output.outputs[0],
                self._tokens,
                vocab_size=self._vocab_size,
                fingerprint=self._about(request.adapter),
            )
        except DataError as error:
            return Generation(error=str(error))

    def _plan(self, request: ScoreRequest) -> "_Plan":
        """How a request is asked of the engine.

        Raises:
            ConfigError: The request cannot be answered.
        """
        k, lora = request.logprobs, self._adapters.request_of
        if request.continuations is not None:
            texts = self._continuations(request.continuations)
            prompt = self._prompt(request, max(map(len, texts)))
            adapter = lora(request.adapter)
            work = [Work(prompt, forcing(ids, k), adapter) for ids in texts]
            return _Plan(len(prompt), work, request.continuations, texts)
        prompt = self._prompt(request, 0)
        if len(prompt) < 2:
            raise ConfigError(
                "the prompt is a single token, and nothing comes before it to score it by; "
                "give a longer text."
            )
        # the last token is asked for as an answer: vLLM's context has room for no other
        cut = len(prompt) - 1 if self._reads_prompts else 1
        params = forcing(prompt[cut:], k, prompt_logprobs=cut > 1)
        work = [Work(prompt[:cut], params, lora(request.adapter))]
        return _Plan(len(prompt), work, (self._tokens.decode(prompt[1:]),), [prompt[cut:]])

    def _score(self, request: ScoreRequest, plan: "_Plan", outputs: Sequence[Any]) -> Score:
        about: dict[str, Any] = {
            "k": request.logprobs,
            "vocab_size": self._vocab_size,
            "fingerprint": self._about(request.adapter),
        }
        scored: list[Scored] = []
        for place, output in enumerate(outputs):
            if isinstance(output, LlmrecError):
                return Score(error=str(output))
            try:
                rows = self._rows(request, plan.work[place].prompt, plan.ids[place], output)
            except DataError as error:
                return Score(prompt_tokens=plan.prompt_tokens, error=str(error))
            found = scored_of(rows, plan.texts[place], self._tokens, **about)
            if isinstance(found, str):
                return Score(prompt_tokens=plan.prompt_tokens, error=found)
            scored.append(found)
        return Score(tuple(scored), plan.prompt_tokens)

    def _rows(self, request: ScoreRequest, before: Ids, ids: Ids, output: Any) -> Rows:
        rows = rows_of(output.outputs[0].logprobs, request.logprobs, ids)
        if request.continuations is None and len(before) > 1:
            first = rows_of(output.prompt_logprobs, request.logprobs, before[1:])
            return first.followed_by(rows)
        return rows

    def _prompt(self, request: Request, more: int) -> Ids:
        """The prompt's tokens, cut where that was asked for.

        Raises:
            ConfigError: The request cannot be answered.
        """
        check_width(request.logprobs, self._vocab_size)
        check_adapter(request.adapter, self._adapters.names)
        ids = self._tokens.prompts([encodable(request.prompt)])[0]
        first = int(ids[0] == self._tokens.bos)
        return fitted(ids, more, self._context, request.over_long, first)

    def _continuations(self, given: Sequence[str]) -> list[Ids]:
        texts = self._tokens.continuations([encodable(text) for text in given])
        for place, ids in enumerate(texts):
            if not ids:
                raise ConfigError(f"continuation {place} has no token in this model's vocabulary.")
        return texts

    def _about(self, adapter: str | None) -> dict[str, Any]:
        """What a record depends on."""
        known = {} if adapter is None else {"adapter_hash": self._adapters.hash_of(adapter)}
        return {**self._fingerprint, "adapter": adapter, **known}


@dataclass(frozen=True)
class _Plan:
    """What is asked of the engine for one request, and the texts and tokens that are scored."""

    prompt_tokens: int
    work: list[Work]
    texts: Sequence[str]
    ids: list[Ids]
