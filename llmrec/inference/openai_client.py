"""Any OpenAI-compatible server as a language model: OpenAI, vLLM, llama.cpp, a proxy.

Requests of one call run side by side on a bounded number of connections. A request that fails has
its sentence in its own result; only a refused key ends the call, and what was answered before
stays. The API key is read from the environment when a call begins and is kept nowhere: it is in no
attribute, text, log or fingerprint.

Not offered: streaming, several choices, tools, images. With ``endpoint="chat"`` the server wraps
the prompt in its own template, as one message of the user; nothing can be scored there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar, get_args

import llmrec
from llmrec.errors import ConfigError, LlmrecError
from llmrec.inference.http_post import JsonPoster, Patience, RequestFailed, open_poster
from llmrec.inference.limits import encodable, fitted
from llmrec.inference.openai_advice import advice
from llmrec.inference.openai_requests import (
    Endpoint,
    chat_payload,
    checked_fields,
    completion_payload,
    echo_payload,
    generate_refusal,
    prompt_logprobs_payload,
    score_refusal,
)
from llmrec.inference.openai_responses import (
    Reading,
    read_echo,
    read_generation,
    read_prompt_logprobs,
)
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score, Scored
from llmrec.inference.server_settings import (
    api_key,
    check_key_name,
    check_numbers,
    checked_address,
    checked_model,
)
from llmrec.inference.server_tokens import Post, ServerTokens
from llmrec.inference.signature import Mode

_Request = TypeVar("_Request", GenerateRequest, ScoreRequest)
_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
_TEXTS_PER_CALL = 32


class OpenAICompatibleModel:
    """A model behind a server; implements :class:`llmrec.contracts.LanguageModel`.

    Adapters travel as the ``model`` field, as vLLM has it. Without a record (``logprobs=0``) the
    log-probability of an answer is known only from completions, where the server sends it. Tokens
    of a stop text and the end-of-text token count as the server counts them.

    Args:
        base_url: Address up to and with the version, like ``http://127.0.0.1:8000/v1``.
        model: Name of the model on the server.
        api_key_env: Environment variable that holds the API key; None sends none. A variable that
            is not set sends none either: servers of one's own need no key.
        endpoint: Legacy completions, or chat completions.
        concurrency: Most requests under way at once.
        timeout: Seconds for one attempt.
        retries: Further attempts after a time-out, a cut connection, a 429 or a 5xx.
        first_wait: Seconds before the second attempt, doubled for each further one.
        most_wait: Bound of a wait in seconds, also of one the server asks for (Retry-After).
        retry_seed: Of the random part of waits.
        extra_fields: Fields beyond OpenAI's own that the server takes, of
            :data:`~llmrec.inference.openai_requests.KNOWN_FIELDS`; for vLLM
            :data:`~llmrec.inference.openai_requests.VLLM_FIELDS`.
        mode: Whether the server's log-probabilities come before temperature and the like; it does
            not say so itself.
        allow_missing_logprobs: Take missing or short log-probabilities instead of an error.

    Raises:
        ConfigError: An address, a name or a number is not valid, or a key stands where it would be
            written down.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str | None = "OPENAI_API_KEY",
        endpoint: Endpoint = "completions",
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 5,
        first_wait: float = 0.5,
        most_wait: float = 60.0,
        retry_seed: int = 0,
        extra_fields: Iterable[str] = (),
        mode: Mode = "unknown",
        allow_missing_logprobs: bool = False,
    ) -> None:
        check_numbers(concurrency, timeout, retries, first_wait, most_wait)
        check_key_name(api_key_env)
        if endpoint not in get_args(Endpoint):
            raise ConfigError(f"endpoint is {endpoint!r}; expected 'completions' or 'chat'.")
        if mode not in get_args(Mode):
            raise ConfigError(f"mode is {mode!r}; expected one of {', '.join(get_args(Mode))}.")
        self._base_url, self._loopback = checked_address(base_url)
        self._model = checked_model(model)
        self._key_env = api_key_env
        self._endpoint = endpoint
        self._concurrency = concurrency
        self._patience = Patience(timeout, retries, first_wait, most_wait, retry_seed)
        self._fields = checked_fields(extra_fields)
        self._mode: Mode = mode
        self._allow_missing = allow_missing_logprobs
        self._tokens = ServerTokens(self._base_url.removesuffix("/v1"))
        self._key()  # a key in the wrong place is refused before anything is sent

    def __repr__(self) -> str:
        return (
            f"OpenAICompatibleModel({self._base_url!r}, {self._model!r}, "
            f"endpoint={self._endpoint!r})"
        )

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What answers depend on. A server does not prove which weights it serves: its word counts.

        Replace weights under the same name and address, and cached answers are those of the old.
        """
        return {
            "backend": "openai-compatible",
            "backend_version": llmrec.__version__,  # of the side that asks and reads
            "base_url": self._base_url,
            "model": self._model,
            "endpoint": self._endpoint,
            "extra_fields": ",".join(sorted(self._fields)),
            "mode": self._mode,
            "allow_missing_logprobs": str(self._allow_missing),
        }

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        """Continue prompts: one result per request, in their order.

        Raises:
            ConfigError: The environment's API key cannot be sent, or stands in the wrong place.
        """
        return self._in_parallel(
            requests, self._generate_one, lambda sentence: Generation(error=sentence)
        )

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Score continuations, or prompts themselves: one result per request, in their order.

        Raises:
            ConfigError: As for :meth:`generate`.
        """
        return self._in_parallel(requests, self._score_one, lambda sentence: Score(error=sentence))

    def _in_parallel(
        self,
        requests: Sequence[_Request],
        answer: Callable[[JsonPoster, _Request, int], _Result],
        failed: Callable[[str], _Result],
    ) -> list[_Result]:
        if not requests:
            return []
        key, workers = self._key(), min(self._concurrency, len(requests))

        def one(poster: JsonPoster, number: int) -> _Result:
            request = requests[number]
            try:
                return answer(poster, request, number)
            except LlmrecError as error:
                return failed(str(error))
            except RequestFailed as error:
                more = advice(
                    error, request, lambda: poster.get(f"{self._base_url}/models", number)
                )
                return failed(f"{error}{more}")

        with (
            ThreadPoolExecutor(workers) as pool,
            open_poster(
                self._base_url,
                self._patience,
                key,
                self._key_advice(key),
                connections=workers,
                loopback=self._loopback,
            ) as poster,
        ):
            return list(pool.map(partial(one, poster), range(len(requests))))

    def _generate_one(
        self, poster: JsonPoster, request: GenerateRequest, number: int
    ) -> Generation:
        refusal = generate_refusal(request, self._endpoint, self._fields)
        if refusal:
            return Generation(error=refusal)
        model, decoding = request.adapter or self._model, request.decoding
        prompt: str | list[int] = encodable(request.prompt)
        if self._endpoint == "chat":
            payload = chat_payload(model, request.prompt, decoding, request.logprobs, self._fields)
            url = f"{self._base_url}/chat/completions"
        else:
            if "tokenize" in self._fields:
                prompt = self._prompt_ids(poster, request, number, decoding.max_tokens, 0)
            payload = completion_payload(model, prompt, decoding, request.logprobs, self._fields)
            url = f"{self._base_url}/completions"
        response = poster.post(url, payload, number)
        return read_generation(response, self._reading(request, decoding))

    def _score_one(self, poster: JsonPoster, request: ScoreRequest, number: int) -> Score:
        refusal = score_refusal(request, self._endpoint, self._fields)
        if refusal:
            return Score(error=refusal)
        for text in (request.prompt, *(request.continuations or ())):
            encodable(text)
        if "prompt_logprobs" in self._fields:
            return self._score_ids(poster, request, number)
        return self._score_by_echo(poster, request, number)

    def _score_by_echo(self, poster: JsonPoster, request: ScoreRequest, number: int) -> Score:
        model = request.adapter or self._model
        reading, url = self._reading(request, Decoding()), f"{self._base_url}/completions"
        texts, before = [], 0
        for batch in _batches(request.continuations or ("",)):
            prompts = [request.prompt + text for text in batch]
            payload = echo_payload(model, prompts, request.logprobs, self._fields)
            response = poster.post(url, payload, number)
            for place, text in enumerate(batch):
                scored, before = read_echo(response, place, reading, request.prompt, text)
                texts.append(scored)
        return Score(tuple(texts), before)

    def _score_ids(self, poster: JsonPoster, request: ScoreRequest, number: int) -> Score:
        """Score by token ids: the prompt's own, and each continuation's own after them."""
        model = request.adapter or self._model
        reading, url = self._reading(request, Decoding()), f"{self._base_url}/completions"
        names: Sequence[str | None] = request.continuations or (None,)
        ends: list[list[int]] = [[]]
        if request.continuations is not None:
            ends = [
                self._tokens.continuation(_post(poster, number), model, text)
                for text in request.continuations
            ]
        # vLLM wants room for one token of an answer, even where none is asked for
        prompt = self._prompt_ids(poster, request, number, max(map(len, ends)), 1)
        start = len(prompt) if request.continuations is not None else 0
        texts: list[Scored] = []
        for batch in _batches(ends):
            sent = [prompt + end for end in batch]
            payload = prompt_logprobs_payload(model, sent, request.logprobs, self._fields)
            response = poster.post(url, payload, number)
            texts += [
                read_prompt_logprobs(
                    response, place, reading, ids, start, names[len(texts) + place]
                )
                for place, ids in enumerate(sent)
            ]
        return Score(tuple(texts), len(prompt))

    def _prompt_ids(
        self,
        poster: JsonPoster,
        request: GenerateRequest | ScoreRequest,
        number: int,
        more: int,
        spare: int,
    ) -> list[int]:
        """Tokens of the prompt, cut where that was asked for, so that ``more`` fit after it."""
        post, model = _post(poster, number), request.adapter or self._model
        ids = self._tokens.prompt(post, model, request.prompt)
        habits = self._tokens.habits(post, model)
        context, first = habits.longest - spare, len(habits.beginning)
        return fitted(ids, more, context, request.over_long, first)

    def _reading(self, request: GenerateRequest | ScoreRequest, decoding: Decoding) -> Reading:
        fingerprint = {**self.fingerprint, "adapter": request.adapter}
        return Reading(
            request.logprobs, decoding, self._mode, fingerprint, allow_missing=self._allow_missing
        )

    def _key(self) -> str | None:
        """The API key, if the environment has one.

        Raises:
            ConfigError: It cannot be sent in a header, or it stands in the address or a name.
        """
        named = {"base_url": self._base_url, "model": self._model}
        return api_key(self._key_env, named)

    def _key_advice(self, key: str | None) -> str:
        if self._key_env is None:
            return "no API key was sent; name the environment variable that holds it (api_key_env)"
        if key is None:
            return f"no API key was sent; set the environment variable {self._key_env}"
        return f"check the API key in the environment variable {self._key_env}, and its rights"


def _post(poster: JsonPoster, number: int) -> Post:
    return lambda url, payload: poster.post(url, payload, number)


def _batches(values: Sequence[_Value]) -> Iterable[Sequence[_Value]]:
    return (values[i : i + _TEXTS_PER_CALL] for i in range(0, len(values), _TEXTS_PER_CALL))
