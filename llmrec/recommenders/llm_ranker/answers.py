"""Reading the order that a language model wrote, and counting how well that went.

An answer is legal if it puts every candidate somewhere, each once, and names nothing else. From
any other answer the candidates that can be made out are taken in the order they appear; the rest
follow in the order they had.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class ReadOrder:
    """What an answer says about the order of ``n`` candidates.

    Attributes:
        places: All candidates, counted from 0, in their new order.
        named: How many of them the answer put there.
        legal: Whether the answer is one.
    """

    places: tuple[int, ...]
    named: int
    legal: bool


@dataclass
class AnswerCounts:
    """How many lists were asked about, and what came back.

    Attributes:
        asked: Answers read so far.
        legal: Those that order all candidates and nothing else.
        partial: Those from which some order could be read.
        unreadable: Those that name no candidate.
        failed: Requests without an answer.
    """

    asked: int = 0
    legal: int = 0
    partial: int = 0
    unreadable: int = 0
    failed: int = 0

    @property
    def share_legal(self) -> float | None:
        """Legal answers among all that were asked; None before the first."""
        return self.legal / self.asked if self.asked else None

    def count(self, read: ReadOrder | None) -> None:
        """Count an answer; None stands for a failed request."""
        self.asked += 1
        if read is None:
            self.failed += 1
        elif read.legal:
            self.legal += 1
        elif read.named:
            self.partial += 1
        else:
            self.unreadable += 1


def read_order(answer: str, titles: Sequence[str]) -> ReadOrder:
    """Read the order of candidates from an answer.

    Titles count more than numbers: ``1. Heat`` names Heat, whatever its number was. Without any
    title, numbers are those of the candidates, counted from 1.

    Args:
        answer: What the model wrote.
        titles: The candidates in the order they were asked about.

    >>> read_order("[2] > [3] > [1]", ["Heat", "Alien", "Up"]).places
    (1, 2, 0)
    >>> read_order("1. Up, 2. Heat, because ...", ["Heat", "Alien", "Up"]).places
    (2, 0, 1)
    """
    found = _titles_in(answer, titles)
    others = 0
    if not found:
        numbers = [int(text) - 1 for text in _NUMBER.findall(answer) if len(text) < 9]
        found = [place for place in numbers if 0 <= place < len(titles)]
        others = len(numbers) - len(found)
    named = list(dict.fromkeys(found))
    legal = len(named) == len(titles) == len(found) and not others
    rest = [place for place in range(len(titles)) if place not in set(named)]
    return ReadOrder((*named, *rest), len(named), legal)


def _titles_in(answer: str, titles: Sequence[str]) -> list[int]:
    """Places of the titles that stand in an answer, in the order they do.

    Longer titles are looked for first, and what was found is not looked at again, so that *Alien*
    is not found in *Aliens*. Titles without a letter may be numbers of the list and are left out.
    """
    text = answer.casefold()
    found: list[tuple[int, int]] = []
    for place in sorted(range(len(titles)), key=lambda place: -len(titles[place])):
        title = titles[place].casefold()
        if not any(sign.isalpha() for sign in title):
            continue
        pattern = rf"(?<!\w){re.escape(title)}(?!\w)"
        match = re.search(pattern, text)
        if match:
            found.append((match.start(), place))
            text = text[: match.start()] + "\0" * len(match[0]) + text[match.end() :]
    return [place for _, place in sorted(found)]
