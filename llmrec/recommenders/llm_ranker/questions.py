"""What is asked about a user: prompts from histories and titles.

A prompt tells the newest events of a history and asks about one item or a list. What it tells of a
user comes first and does not depend on the item, so that it is read once: a question is a prefix,
and per item what follows it. Titles are hostile text: one line each, chat markers broken up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.errors import ConfigError
from llmrec.inference.prompts import fill, neutralised
from llmrec.profiles.facts import tidy
from llmrec.templates import Template

_BLANK = "\ue000\ue001\ue000"
"""Stands for the item's title while a prompt is cut; these characters mean nothing."""

_TOLD = ("opinions", "chosen", "action")

Wrap = Callable[[str], str]


@dataclass(frozen=True)
class Question:
    """A prompt up to the item in question, and what follows.

    Attributes:
        prefix: The same for every item.
        tail: What follows, with a blank for the title.
    """

    prefix: str
    tail: str

    def about(self, title: str) -> str:
        """What follows the prefix when the question is about this title."""
        return self.tail.replace(_BLANK, title)


class Questioner:
    """Writes prompts.

    Args:
        template: With the variables ``opinions``, ``chosen``, ``action``, and ``title`` or
            ``candidates``.
        titles: Of all items; item code ``c`` is at ``c - 1``.
        action: What is asked: ``"like"`` or ``"choose"``.
        liked_from: A rating from here on is a like.
        length: Newest events that are told.
        wrap: Puts a filled template into a chat format.

    Raises:
        ConfigError: The template has other variables.
    """

    def __init__(
        self,
        template: Template,
        titles: Sequence[str],
        action: str,
        liked_from: float,
        length: int,
        wrap: Wrap = lambda text: text,
    ) -> None:
        asked = set(template.variables) - set(_TOLD)
        if asked not in ({"title"}, {"candidates"}) or not set(_TOLD) <= set(template.variables):
            raise ConfigError(
                f"template {template.name} cannot be used for ranking: its variables are "
                f"{', '.join(template.variables)}; expected {', '.join(_TOLD)}, and title for "
                "questions about one item or candidates for a list."
            )
        self.asks_about = asked.pop()
        self.titles = [neutralised(tidy(title)) for title in titles]
        self._template, self._action, self._wrap = template, action, wrap
        self._liked_from, self._length = liked_from, length

    def one(self, histories: Histories, row: int) -> Question:
        """The question about single items after a history."""
        told = self._told(histories, row)
        text = self._wrap(fill(self._template, {**told, "title": _BLANK}))
        at = text.find(_BLANK)
        if at < 0:
            raise ConfigError(
                f"template {self._template.name} changes the title it is given, so prompts cannot "
                "share what comes before it; write {{ title }} as it stands."
            )
        # tokenizers put a blank in front of a word into the word's token
        at -= text[at - 1 : at] == " "
        return Question(text[:at], text[at:])

    def many(self, histories: Histories, row: int, codes: npt.NDArray[np.int32]) -> str:
        """The prompt that asks for an order of items after a history."""
        told = self._told(histories, row)
        candidates = [self.titles[code - 1] for code in codes.tolist()]
        return self._wrap(fill(self._template, {**told, "candidates": candidates}))

    def _told(self, histories: Histories, row: int) -> dict[str, Any]:
        """The newest events: opinions where liking is asked about and known, else titles."""
        last = int(histories.offsets[row + 1])
        span = slice(max(int(histories.offsets[row]), last - self._length), last)
        titles = [self.titles[code - 1] for code in histories.items[span].tolist()]
        liked = self._liked(histories, span) if self._action == "like" else [None] * len(titles)
        pairs = list(zip(titles, liked, strict=True))
        return {
            "opinions": [(title, known) for title, known in pairs if known is not None],
            "chosen": [title for title, known in pairs if known is None],
            "action": self._action,
        }

    def _liked(self, histories: Histories, span: slice) -> list[bool | None]:
        if histories.labels is not None:
            return [None if label < 0 else label > 0 for label in histories.labels[span].tolist()]
        if histories.ratings is not None:
            ratings = histories.ratings[span].tolist()
            return [None if np.isnan(r) else r >= self._liked_from for r in ratings]
        return [None] * (span.stop - span.start)
