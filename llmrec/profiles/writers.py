"""Who writes profiles: the seam between requests and texts.

A writer turns requests into texts of the same number and order. The one here fills a template; a
language model is another one. Writers keep nothing between calls and store nothing.
"""

from collections.abc import Sequence
from typing import Protocol

from llmrec.errors import ConfigError, LlmrecError
from llmrec.profiles.requests import ProfileRequest
from llmrec.templates import Template


class WriterError(LlmrecError):
    """A writer could not write one of the texts.

    Args:
        sentence: What went wrong.
        texts: What was written before it, in the order of the requests; it is kept.
    """

    def __init__(self, sentence: str = "", texts: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.texts = list(texts)


class ProfileWriter(Protocol):
    """Writes texts from requests.

    Attributes:
        fingerprint: Changes whenever the same request could give another text: hash of template,
            model and decoding.
        template_fingerprint: Fingerprint of the template the requests are put into.
    """

    @property
    def fingerprint(self) -> str:
        """See above."""

    @property
    def template_fingerprint(self) -> str:
        """See above."""

    def write(self, requests: Sequence[ProfileRequest]) -> list[str]:
        """Write one text per request, in their order.

        Raises:
            WriterError: A text could not be written; it carries the texts before that one, so
                that whoever asked knows which request it was and keeps what is there.
        """


class TemplateWriter:
    """Fills a template; the filled template is the profile.

    Args:
        template: Its variables must be among those of the requests.
    """

    def __init__(self, template: Template) -> None:
        self._template = template

    @property
    def fingerprint(self) -> str:
        """The template's fingerprint, marked as written without a model."""
        return f"template-{self._template.fingerprint}"

    @property
    def template_fingerprint(self) -> str:
        """The template's fingerprint."""
        return self._template.fingerprint

    def write(self, requests: Sequence[ProfileRequest]) -> list[str]:
        """Fill the template once per request, about 20 microseconds each.

        Raises:
            WriterError: The template cannot be filled from a request.
        """
        texts: list[str] = []
        for request in requests:
            try:
                texts.append(filled(self._template, request))
            except ConfigError as error:
                raise WriterError(str(error), texts) from error
        return texts


def filled(template: Template, request: ProfileRequest) -> str:
    """Fill a template with those variables of a request that it declares.

    Raises:
        ConfigError: The request lacks one of them; the message names it.
    """
    known = request.variables
    return template.render(**{name: known[name] for name in template.variables if name in known})
