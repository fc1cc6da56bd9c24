"""Profiles by a language model: what to write for a task, who writes it, and what it may know.

Everything is written from the training part of the task's split. A language model whose training
reached further is refused before it is asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmrec.contracts import LanguageModel
from llmrec.data.splits import Split
from llmrec.errors import ConfigError, nearest_name
from llmrec.inference.cache import ResponseCache
from llmrec.inference.cached_model import CachedModel
from llmrec.inference.opening import open_language_model, seen_by
from llmrec.inference.prompts import chat_format, fill
from llmrec.inference.requests import Decoding, GenerateRequest
from llmrec.inference.seen import require_usable
from llmrec.profiles import ProfileRequests, Profiles, item_requests, require_no_leak, user_requests
from llmrec.profiles.model_writer import Answer, Ask, Fill, ModelWriter, read_item_answer
from llmrec.profiles.requests import Granularity
from llmrec.profiles.writers import ProfileWriter, TemplateWriter
from llmrec.profiles.writing import Estimate, estimate, unwritten, write_profiles
from llmrec.templates import Template, load_template

Kind = Literal["users", "items"]

PLAIN = {"users": "user_profile", "items": "item_profile"}
"""The template that is a profile by itself."""

PROMPTS = {"users": "user_profile_llm", "items": "item_profile_llm"}
"""The prompt of each kind where none is named."""

_ANY_LENGTH = 1_000_000
"""No title is that long, so none is looked for in texts."""


@dataclass(frozen=True)
class ProfileJob:
    """What is written.

    Attributes:
        requests: One per text.
        writer: Who writes them.
        prompt: What the writer is given, for estimates.
        split: Whose training part they are written from.
        output: Folder of the table.
        vouched: Whoever writes is known not to have read held-out events. A held-out title in a
            text is then a guess, and not refused.
    """

    requests: ProfileRequests
    writer: ProfileWriter
    prompt: Template
    split: Split
    output: Path
    vouched: bool = False

    @property
    def parts(self) -> Path:
        """Where finished parts are kept until the table is whole."""
        return self.output.with_name(f"{self.output.name}.parts")

    def of_shard(self, number: int, count: int) -> ProfileRequests:
        """Every ``count``-th request from the ``number``-th; parts do not overlap."""
        rows = self.requests.rows[number - 1 :: count]
        if not rows:
            raise ConfigError(
                f"shard {number}/{count} is empty: there are {len(self.requests)} texts to write."
            )
        return ProfileRequests(self.requests.kind, rows, self.requests.origin)

    def estimate(self, requests: ProfileRequests | None = None) -> Estimate:
        """What is left to ask; nothing is asked."""
        left = unwritten(requests or self.requests, self.writer, self.parts)
        return estimate(left, self.prompt)

    def write(self, requests: ProfileRequests | None = None, shard_size: int = 1000) -> Profiles:
        """Write what is missing; parts are kept as they come.

        Raises:
            WriterError: A text could not be written; what was written before is kept.
            ProtocolError: A text names an item that the split holds out.
        """
        found = write_profiles(requests or self.requests, self.writer, self.parts, shard_size)
        require_no_leak(found, self.split, shortest_title=_ANY_LENGTH if self.vouched else 1)
        return found


def requests_for(
    split: Split, kind: Kind, granularity: Granularity, every: int, titles: int
) -> ProfileRequests:
    """What is to be written for a split.

    Raises:
        ConfigError: The kind or the granularity is unknown.
    """
    if kind not in PLAIN:
        raise ConfigError(f"unknown kind of profiles {kind!r}{nearest_name(kind, PLAIN)}.")
    train, catalog = split.train_histories(), split.dataset.catalog
    if kind == "items":
        return item_requests(catalog, train, titles=titles)
    last = granularity != "user"
    return user_requests(train, catalog, granularity, every, titles, include_last=last)


def model_writer(
    name: str,
    split: Split,
    kind: Kind,
    *,
    template: str | None = None,
    before: str | None = None,
    instead: str | None = None,
    max_tokens: int = 256,
    cache: Path | None = None,
    chat_tokenizer: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> ModelWriter:
    """A writer that asks a language model by its name.

    Args:
        name: As for :func:`~llmrec.inference.opening.open_language_model`.
        split: The split whose held-out events the model must not have seen.
        kind: Of profiles.
        template: The prompt; None takes the one of :data:`PROMPTS`.
        before: Template whose text comes before every answer.
        instead: Template whose text is taken where the model writes nothing.
        max_tokens: Most tokens of an answer.
        cache: File in which answers are kept, under the ids of users.
        chat_tokenizer: Tokenizer whose chat format wraps the prompt, for instruction models.
        options: Of the backend.

    Raises:
        ProtocolError: The model has seen held-out events.
        ConfigError: The name or a template is unknown.
    """
    require_usable(name, seen_by(name), split, "valid")
    prompt = load_template(template or PROMPTS[kind])
    others = [None if each is None else load_template(each) for each in (before, instead)]
    model = open_language_model(name, **dict(options or {}))
    decoding = Decoding(max_tokens=max_tokens)
    identity = {**model.fingerprint, "max_tokens": str(max_tokens), "chat": chat_tokenizer or ""}
    ask = _asking(model, decoding, None if cache is None else ResponseCache(cache), kind)
    read = read_item_answer if prompt.name == PROMPTS["items"] else str.strip
    return ModelWriter(prompt, ask, identity, read, _filling(chat_tokenizer), *others)


def _filling(chat_tokenizer: str | None) -> Fill:
    """Titles are neutralised; a chat format goes around the whole."""
    if chat_tokenizer is None:
        return fill
    wrap = chat_format(chat_tokenizer)
    return lambda template, variables: wrap(fill(template, variables))


def template_writer(kind: Kind, template: str | None = None) -> TemplateWriter:
    """A writer that fills a template."""
    return TemplateWriter(load_template(template or PLAIN[kind]))


def _asking(
    model: LanguageModel, decoding: Decoding, cache: ResponseCache | None, kind: Kind
) -> Ask:
    def ask(prompts: Sequence[str], subjects: Sequence[str]) -> list[Answer]:
        requests = [GenerateRequest(prompt, decoding, over_long="keep_end") for prompt in prompts]
        asked: LanguageModel = model
        if cache is not None:
            whose: dict[Any, list[str]] = {}
            for request, subject in zip(requests, subjects, strict=True):
                whose.setdefault(request, []).append(subject)
            owners: Callable[[Any], Sequence[str]] = whose.__getitem__
            asked = CachedModel(model, cache, owners if kind == "users" else None)
        return [Answer(found.text, found.error) for found in asked.generate(requests)]

    return ask
