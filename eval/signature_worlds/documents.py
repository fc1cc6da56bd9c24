"""World (b): passages of one source, half of them taught a known number of times.

Articles are cut into passages; within every article a drawn half become members, so that topic and
date are the same on both sides. Where a member and a non-member share too many runs of words, the
non-member is dropped.
"""

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmrec.errors import DataError

_HEADING = re.compile(r"^ = [^=].*[^=] = $")
_SHINGLE = 8


@dataclass(frozen=True)
class Passage:
    """A piece of an article.

    Attributes:
        article: Title of the article, with the file's name.
        text: The passage.
        times: How often it is taught; 0 is never.
    """

    article: str
    text: str
    times: int = 0


def read_passages(paths: Sequence[Path], words: int) -> list[Passage]:
    """Passages of gzipped files in the form of WikiText.

    Paragraphs are cut into pieces of ``words`` words; what is shorter than half of that is dropped.

    Raises:
        DataError: No passage is long enough.
    """
    found = []
    for path in paths:
        article = path.name
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                if _HEADING.match(line.rstrip("\n")):
                    article = f"{path.name}: {line.strip(' =' + chr(10))}"
                    continue
                found += [Passage(article, text) for text in _pieces(line, words)]
    if not found:
        raise DataError(f"no paragraph has {words // 2} words; ask for shorter passages.")
    return found


def _pieces(line: str, words: int) -> list[str]:
    tokens = line.split()
    if not tokens or tokens[0] == "=":
        return []
    cut = [tokens[start : start + words] for start in range(0, len(tokens), words)]
    return [" ".join(piece) for piece in cut if len(piece) >= words // 2]


def teach_half(
    passages: Sequence[Passage], limit: int | None, times: Sequence[int], seed: int
) -> list[Passage]:
    """Passages in random order, half of every article's taught.

    Args:
        passages: All passages.
        limit: How many to use; None for all.
        times: How often a member is shown; each number equally often.
        seed: Of the order and of who is a member.
    """
    order = np.random.default_rng(seed).permutation(len(passages))[:limit].tolist()
    seen: dict[str, int] = {}
    taught, members = [], 0
    for place in order:
        turn = seen.setdefault(passages[place].article, len(seen) % 2)
        seen[passages[place].article] += 1
        count = 0
        if turn % 2 == 0:
            count = times[members % len(times)]
            members += 1
        taught.append(replace(passages[place], times=count))
    return taught


def without_near_duplicates(passages: Sequence[Passage], most: float = 0.1) -> list[Passage]:
    """Leave out non-members that share runs of eight words with members.

    Args:
        passages: Members and non-members.
        most: Largest share of a passage's runs that members may hold, too.
    """
    taught = {run for passage in passages if passage.times for run in _runs(passage.text)}
    kept = []
    for passage in passages:
        runs = _runs(passage.text)
        shared = sum(run in taught for run in runs)
        if passage.times or shared <= most * len(runs):
            kept.append(passage)
    return kept


def _runs(text: str) -> list[str]:
    words = text.casefold().split()
    return [" ".join(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1)]
