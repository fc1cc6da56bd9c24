"""Profiles written by a language model.

The model itself is not known here: whoever makes a writer hands over a function from prompts to
answers. What a prompt asks for decides how its answer is read: a paragraph as it stands, or the
fields of a JSON object. An answer that cannot be read is an error that names whom it is about;
texts before it are kept.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llmrec.data.hashing import hash_json
from llmrec.errors import ConfigError, DataError
from llmrec.profiles.requests import ProfileRequest
from llmrec.profiles.writers import WriterError, filled
from llmrec.templates import Template

FIELDS = ("summary", "likely_users")
"""What an item's profile has to say, in this order."""

_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


class Answer(NamedTuple):
    """What a model wrote, or why it wrote nothing."""

    text: str
    error: str | None = None


Ask = Callable[[Sequence[str], Sequence[str]], Sequence[Answer]]
"""From prompts, and the ids of those they are about, to one answer each."""

Read = Callable[[str], str]
Fill = Callable[[Template, Mapping[str, Any]], str]


def plain_fill(template: Template, variables: Mapping[str, Any]) -> str:
    """Fill a template with values as they are."""
    return template.render(**variables)


class ModelWriter:
    """Asks a language model; a :class:`~llmrec.profiles.writers.ProfileWriter`.

    Args:
        template: The prompt; its variables must be among those of the requests.
        ask: Asks the model.
        identity: What the model's answers depend on: its weights and how they are decoded.
        read: From an answer to the text that is kept.
        fill: Fills the prompt, breaking up what the model would read as a change of speaker.
        before: A template whose filled text comes before every answer, such as the plain profile.
        instead: A template whose filled text is taken where the model wrote nothing.

    Attributes:
        empty: How many answers had nothing in them so far.
    """

    def __init__(
        self,
        template: Template,
        ask: Ask,
        identity: Mapping[str, str],
        read: Read = str.strip,
        fill: Fill = plain_fill,
        before: Template | None = None,
        instead: Template | None = None,
    ) -> None:
        self.empty = 0
        self._template, self._ask, self._read, self._fill = template, ask, read, fill
        self._identity = dict(identity)
        self._before, self._instead = before, instead

    @property
    def fingerprint(self) -> str:
        """Hash of the templates, the model and its decoding."""
        others = [each and each.fingerprint for each in (self._before, self._instead)]
        return f"model-{hash_json([self.template_fingerprint, self._identity, others])[:16]}"

    @property
    def template_fingerprint(self) -> str:
        """The prompt's fingerprint."""
        return self._template.fingerprint

    def write(self, requests: Sequence[ProfileRequest]) -> list[str]:
        """Ask about all requests together.

        Raises:
            WriterError: A prompt cannot be filled, a request failed, or an answer cannot be read.
        """
        try:
            prompts = [self.prompt(request) for request in requests]
        except ConfigError as error:
            raise WriterError(str(error)) from error
        texts: list[str] = []
        answers = self._ask(prompts, [str(request.subject) for request in requests])
        for request, answer in zip(requests, answers, strict=True):
            try:
                texts.append(self._text(request, answer))
            except DataError as error:
                raise WriterError(str(error), texts) from error
        return texts

    def prompt(self, request: ProfileRequest) -> str:
        """The prompt of a request.

        Raises:
            ConfigError: The template needs what the request does not have.
        """
        known = request.variables
        names = self._template.variables
        return self._fill(self._template, {name: known[name] for name in names if name in known})

    def _text(self, request: ProfileRequest, answer: Answer) -> str:
        if answer.error is not None:
            raise DataError(answer.error)
        text = self._read(answer.text) if answer.text.strip() else ""
        self.empty += not text
        if not text:
            if self._instead is None:
                raise DataError("the model's answer is empty.")
            return filled(self._instead, request)
        return text if self._before is None else f"{filled(self._before, request)}\n{text}"


def read_item_answer(answer: str) -> str:
    r"""The profile of an item from an answer in JSON; text around the object is passed over.

    Raises:
        DataError: There is no object, or a field is missing or no text.

    >>> read_item_answer('Sure: {"summary": "A pen.", "likely_users": "Writers."}')
    'A pen.\nFor: Writers.'
    """
    match = _OBJECT.search(answer)
    try:
        found = json.loads(match[0]) if match else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"the model's answer holds no JSON object: {answer.strip()[:80]!r}.")
    for field in FIELDS:
        if not isinstance(found.get(field), str) or not found[field].strip():
            raise DataError(f"the model's answer has no text in the field {field!r}.")
    summary, users = (" ".join(found[field].split()) for field in FIELDS)
    return f"{summary}\nFor: {users}"
