"""Questions with a yes or no for an answer, as a ranker asks them.

A question is the shipped template ``yes_no_question``: what is known about the user up to a moment,
and one item. Whether the user will *like* it is answered by the user's own rating, and what is
known are the same questions about earlier items with their answers; so a document of many events
teaches an answer at every one, each after the ones before it. Whether the user will *choose* it is
Yes for what came next, and No for as many items drawn by popularity that the user has no training
event with; what is known are the titles chosen before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from llmrec.templates import Template, load_template
from llmrec.tiny_lm.events import Events, HeldOut

Action = Literal["like", "choose"]

TEMPLATE = "yes_no_question"
YES, NO = " Yes", " No"
"""Answers as they continue a question."""

ASKED = "?"
"""How every question ends."""

LONGEST_HISTORY = 16
"""Most events that are told before a question of ours; prompts may tell more."""

_MOST_EVENTS = 40
_MOST_CHOICES = 12
_WITHOUT_HISTORY = 0.25
Rng = np.random.Generator


@dataclass(frozen=True)
class Question:
    """A question and its answer.

    Attributes:
        prompt: The question, to be continued with :data:`YES` or :data:`NO`.
        yes: The answer.
        item: Item code in question.
    """

    prompt: str
    yes: bool
    item: int


@dataclass
class Asker:
    """Writes questions about the users of some training events.

    Args:
        events: The training events.
        rng: Of negatives.
    """

    events: Events
    rng: Rng
    _template: Template = field(init=False)
    _cumulated: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self._template = load_template(TEMPLATE)
        counts = np.bincount(
            self.events.histories.items, minlength=len(self.events.facts.titles) + 1
        )
        shares = (counts[1:] + 0.1) ** 0.75  # the exponent of word2vec's negatives
        self._cumulated = np.cumsum(shares / shares.sum())

    def prompt(self, row: int, start: int, stop: int, action: Action, item: int) -> str:
        """A question after events ``start`` to ``stop`` of a row.

        Args:
            row: Of the training histories.
            start: First event that is told.
            stop: End of the events that are told.
            action: What is asked.
            item: Item code in question.
        """
        histories, liked = self.events.histories, self.events.liked
        first = int(histories.offsets[row])
        told = slice(first + start, first + stop)
        titles = self.events.titles(histories.items[told])
        likes = liked is not None and action == "like"
        marks = liked[told].tolist() if liked is not None else []
        return self._template.render(
            opinions=list(zip(titles, marks, strict=True)) if likes else [],
            chosen=[] if likes else titles,
            action=action,
            title=self.events.facts.titles[item - 1],
        )

    def unchosen(self, row: int, count: int) -> list[int]:
        """Item codes drawn by popularity among those the user has no training event with."""
        own = set(self.events.histories[row].tolist())
        found: list[int] = []
        for _ in range(20):
            drawn = np.searchsorted(self._cumulated, self.rng.random(2 * count + 4)) + 1
            found += [code for code in drawn.tolist() if code not in own]
            if len(found) >= count:
                break
        return found[:count]


def question_documents(events: Events, like_share: float, rng: Rng) -> Iterator[str]:
    """Endless documents, each some questions about one user.

    Args:
        events: The training events.
        like_share: How often the questions are about liking, where that is known.
        rng: Of everything that is drawn.
    """
    asker = Asker(events, rng)
    histories = events.histories
    while histories.items.size:
        # users by their events: every event is asked about equally often
        event = int(rng.integers(histories.items.size))
        row = int(np.searchsorted(histories.offsets, event, side="right") - 1)
        at = event - int(histories.offsets[row])
        if events.liked is not None and rng.random() < like_share:
            yield _likes(asker, row, at)
        else:
            yield _choices(asker, row, at)


def held_out_questions(
    events: Events, held_out: HeldOut, action: Action, seed: int = 0
) -> list[Question]:
    """Questions about held-out events after their users' newest training events.

    ``"like"`` asks about each of them, ``"choose"`` also about one drawn item each.
    """
    asker = Asker(events, np.random.default_rng(seed))
    lengths = events.histories.lengths
    found = []
    for number, (row, item) in enumerate(
        zip(held_out.rows.tolist(), held_out.items.tolist(), strict=True)
    ):
        stop = int(lengths[row])
        start = max(0, stop - LONGEST_HISTORY)
        asked = [(item, True)]
        if action == "like":
            assert held_out.liked is not None
            asked = [(item, bool(held_out.liked[number]))]
        else:
            asked += [(code, False) for code in asker.unchosen(row, 1) if code != item]
        for code, yes in asked:
            found.append(Question(asker.prompt(row, start, stop, action, code), yes, code))
    return found


def _likes(asker: Asker, row: int, at: int) -> str:
    """Questions about some events of a user in a row, each with its answer."""
    events = asker.events
    assert events.liked is not None
    items = events.histories[row]
    # as many begin before the event as after it, so that the ends of a history are not rare
    start = max(0, at - int(asker.rng.integers(_MOST_EVENTS)))
    last = min(len(items), start + 1 + int(asker.rng.integers(_MOST_EVENTS))) - 1
    answer = YES if events.liked[int(events.histories.offsets[row]) + last] else NO
    return asker.prompt(row, start, last, "like", int(items[last])) + answer


def _choices(asker: Asker, row: int, at: int) -> str:
    """Questions about what came next and about drawn items, after one history."""
    rng, events = asker.rng, asker.events
    known = 0 if rng.random() < _WITHOUT_HISTORY else int(rng.integers(1, LONGEST_HISTORY + 1))
    count = int(rng.integers(1, _MOST_CHOICES + 1))
    items = events.histories[row][at : at + count].tolist()
    drawn = asker.unchosen(row, len(items))
    answers = [True] * len(items) + [False] * len(drawn)
    order = rng.permutation(len(answers))[:count]
    parts = []
    for number, place in enumerate(order.tolist()):
        start = max(0, at - known) if number == 0 else at
        prompt = asker.prompt(row, start, at, "choose", [*items, *drawn][place])
        parts.append(prompt + (YES if answers[place] else NO))
    return "\n".join(parts)
