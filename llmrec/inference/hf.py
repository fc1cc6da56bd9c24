"""Language models run by transformers in this process: the reference among the backends.

Prompts of similar length share a batch, answers grow with cached keys and values, and the
continuations of a prompt share what was computed for it. Nothing but the request decides what
comes out: not the batch, not the checkpoint's generation settings. What ends an answer is the
end-of-text token of the tokenizer and of ``config.json``; an instruction model whose turn ends
with another token, named in its generation settings only, needs that token's text in ``stop``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from llmrec.errors import ConfigError
from llmrec.inference.answering import scored_text
from llmrec.inference.capture import Columns, check_width
from llmrec.inference.hf_adapters import HFAdapters
from llmrec.inference.hf_batches import batches, in_halves
from llmrec.inference.hf_forward import LOGITS_AT_ONCE, Forward
from llmrec.inference.hf_generation import continue_batch
from llmrec.inference.hf_loading import identity, ids_of, load_model, width_and_context
from llmrec.inference.hf_scoring import score_continuations, score_prompts
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.inference.limits import check_adapter, encodable, fitted
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score, Scored

_BUDGET = {"cuda": 65_536}
_SMALL_BUDGET = 4_096
"""A few thousand tokens keep a processor busy; more only add padding."""

Request = GenerateRequest | ScoreRequest
Ids = list[int]


class HFLanguageModel:
    """See the module; implements :class:`~llmrec.contracts.LanguageModel`.

    Args:
        name_or_folder: A folder in the layout of ``save_pretrained``, or a name on the hub.
        device: Where to run; None takes a GPU if there is one.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``; None is bfloat16 on a GPU and
            float32 elsewhere.
        adapters: LoRA adapters to load, from their names to their folders.
        token_budget: Most tokens of a batch, padding and answers included; None fits the device.

    Raises:
        ConfigError: An argument is out of range, or the architecture keeps something else than keys
            and values between tokens.
        ArtifactError: The model or an adapter is missing, incomplete or of another kind.
    """

    def __init__(
        self,
        name_or_folder: str | Path,
        device: str | None = None,
        dtype: str | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        token_budget: int | None = None,
    ) -> None:
        if token_budget is not None and token_budget < 1:
            raise ConfigError(f"token_budget is {token_budget}; expected at least 1.")
        name = str(name_or_folder)
        self._set_up(*load_model(name, device, dtype), name, token_budget)
        for adapter, folder in (adapters or {}).items():
            self.add_adapter(adapter, folder)

    @classmethod
    def of_network(
        cls, network: Any, tokenizer: Any, name: str = "in-memory", token_budget: int | None = None
    ) -> Self:
        """Take a model that is in memory already, where it is and in its number format.

        Args:
            network: A causal language model of transformers; it is put into evaluation mode.
            tokenizer: Its tokenizer.
            name: What fingerprints and adapters call it.
            token_budget: As for the class.

        Raises:
            ConfigError: As for the class.
        """
        made = cls.__new__(cls)
        tokens = HFTokens(tokenizer, ids_of(network.config.eos_token_id))
        made._set_up(network.eval(), tokens, name, token_budget)
        return made

    def _set_up(self, model: Any, tokens: HFTokens, name: str, token_budget: int | None) -> None:
        if token_budget is not None and token_budget < 1:
            raise ConfigError(f"token_budget is {token_budget}; expected at least 1.")
        self._tokens = tokens
        self._vocab_size, self._context = width_and_context(model)
        self._fingerprint = identity(name, model, tokens)
        self._forward = Forward(model, self._vocab_size)
        self._adapters = HFAdapters(model, name)
        self._budget = token_budget or _BUDGET.get(self._forward.device.type, _SMALL_BUDGET)

    @property
    def fingerprint(self) -> dict[str, str]:
        """What answers depend on: model, weights, tokenizer, number format and versions."""
        return dict(self._fingerprint)

    @property
    def adapters(self) -> list[str]:
        """Names that requests may use."""
        return self._adapters.names

    def add_adapter(self, name: str, folder: str | Path, *, any_base: bool = False) -> None:
        """Load a LoRA adapter under a name that will always mean this one.

        Args:
            name: The name that requests will use.
            folder: Holds ``adapter_config.json`` and ``adapter_model.safetensors``.
            any_base: Take it although it says that it was made for another base model.

        Raises:
            ConfigError: The name is taken.
            ArtifactError: A file is missing or damaged, or the adapter does not fit this model.
        """
        self._adapters.add(name, folder, any_base)

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """Continue prompts: one result per request, in their order."""
        found: dict[int, Generation] = {}
        prompts: dict[int, Ids] = {}
        for number, request in enumerate(requests):
            try:
                prompts[number] = self._prompt(request, request.decoding.max_tokens)
            except ConfigError as error:
                found[number] = Generation(error=str(error))
        lengths = {
            number: len(ids) + requests[number].decoding.max_tokens
            for number, ids in prompts.items()
        }

        def answer(batch: list[int]) -> list[Generation]:
            chosen = [requests[number] for number in batch]
            return continue_batch(
                self._forward,
                chosen,
                [prompts[number] for number in batch],
                self._tokens,
                [self._about(request.adapter) for request in chosen],
                self._adapters.use,
            )

        for batch in self._batches(requests, lengths):
            answers = in_halves(batch, answer, lambda error: Generation(error=error))
            found.update(zip(batch, answers, strict=True))
        return [found[number] for number in range(len(requests))]

    @torch.inference_mode()
    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Score continuations, or prompts themselves: one result per request, in their order."""
        found: dict[int, Score] = {}
        read: dict[int, tuple[Ids, list[Ids]]] = {}
        for number, request in enumerate(requests):
            try:
                read[number] = self._read(request)
            except ConfigError as error:
                found[number] = Score(error=str(error))
        lengths = {
            number: len(prompt) + max(map(len, texts), default=0)
            for number, (prompt, texts) in read.items()
        }

        def judge(batch: list[int]) -> list[Score]:
            chosen = [requests[number] for number in batch]
            return self._score_batch(chosen, [read[number] for number in batch])

        for batch in self._batches(requests, lengths):
            scores = in_halves(batch, judge, lambda error: Score(error=error))
            found.update(zip(batch, scores, strict=True))
        return [found[number] for number in range(len(requests))]

    def _score_batch(
        self, requests: Sequence[ScoreRequest], read: Sequence[tuple[Ids, list[Ids]]]
    ) -> list[Score]:
        """Score a batch in which all score continuations, or all score prompts."""
        k, names = requests[0].logprobs, [request.adapter for request in requests]
        prompts = [prompt for prompt, _ in read]
        use = self._adapters.use
        if requests[0].continuations is None:
            columns = score_prompts(self._forward, prompts, k, names, use)
            return [
                self._score_of(request, prompt, [(found, prompt[1:], self._text(prompt[1:]))])
                for request, prompt, found in zip(requests, prompts, columns, strict=True)
            ]
        texts = [texts for _, texts in read]
        columns = score_continuations(self._forward, prompts, texts, k, names, use, self._budget)
        rest = iter(columns)
        return [
            self._score_of(
                request,
                prompt,
                [
                    (next(rest), ids, text)
                    for ids, text in zip(own, request.continuations or (), strict=True)
                ],
            )
            for request, prompt, own in zip(requests, prompts, texts, strict=True)
        ]

    def _score_of(
        self, request: ScoreRequest, prompt: Ids, texts: Sequence[tuple[Columns, Ids, str]]
    ) -> Score:
        about: dict[str, Any] = {
            "vocab_size": self._vocab_size,
            "fingerprint": self._about(request.adapter),
        }
        scored: list[Scored] = []
        for columns, ids, text in texts:
            found = scored_text(columns, ids, text, self._tokens, **about)
            if isinstance(found, str):
                return Score(prompt_tokens=len(prompt), error=found)
            scored.append(found)
        return Score(tuple(scored), len(prompt))

    def _text(self, ids: Ids) -> str:
        return self._tokens.decode(ids)

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

    def _read(self, request: ScoreRequest) -> tuple[Ids, list[Ids]]:
        """Tokens of the prompt and of its continuations.

        Raises:
            ConfigError: The request cannot be answered.
        """
        if request.continuations is None:
            prompt = self._prompt(request, 0)
            if len(prompt) < 2:
                raise ConfigError(
                    "the prompt is a single token, and nothing comes before it to score it by; "
                    "give a longer text."
                )
            return prompt, []
        texts = self._tokens.continuations([encodable(text) for text in request.continuations])
        for place, ids in enumerate(texts):
            if not ids:
                raise ConfigError(f"continuation {place} has no token in this model's vocabulary.")
        return self._prompt(request, max(map(len, texts))), texts

    def _about(self, adapter: str | None) -> dict[str, Any]:
        """What a record depends on."""
        known = {} if adapter is None else {"adapter_hash": self._adapters.hash_of(adapter)}
        return {**self._fingerprint, "adapter": adapter, **known}

    def _batches(self, requests: Sequence[Request], lengths: Mapping[int, int]) -> list[list[int]]:
        """Numbers of requests that go through the model together."""
        kinds: dict[Any, list[int]] = {}
        for number in lengths:
            request = requests[number]
            scores_prompt = isinstance(request, ScoreRequest) and request.continuations is None
            kind = (self._adapters.group(request.adapter), request.logprobs, scores_prompt)
            kinds.setdefault(kind, []).append(number)
        most_rows = max(1, LOGITS_AT_ONCE // self._vocab_size)
        return [
            [numbers[place] for place in batch]
            for numbers in kinds.values()
            for batch in batches([lengths[n] for n in numbers], self._budget, most_rows)
        ]
