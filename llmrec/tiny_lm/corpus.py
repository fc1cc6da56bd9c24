"""The texts an embedded language model is trained on, and those it is judged on.

Four kinds of documents: items of the catalogue, pieces of training histories, questions with
answers (:mod:`llmrec.tiny_lm.questions`), and text files. Users are never named. What stands in a
title like a token that begins or ends a text is broken up.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec.data.histories import Histories
from llmrec.data.splits import Split
from llmrec.errors import DataError
from llmrec.inference.prompts import neutralised
from llmrec.tiny_lm.config import Corpus
from llmrec.tiny_lm.events import Events, HeldOut, training_events
from llmrec.tiny_lm.questions import Rng, question_documents

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
HISTORY = "History of a user, oldest first:"

_EVENTS_OF_A_PIECE = (3, 40)


@dataclass(frozen=True)
class Documents:
    """Training texts in the order they are read.

    Attributes:
        texts: The documents, mixed.
        counts: Documents of every kind.
        characters: Characters of every kind.
    """

    texts: list[str]
    counts: dict[str, int]
    characters: dict[str, int]


def training_documents(
    split: Split, corpus: Corpus, texts: Sequence[Path] = ()
) -> tuple[Documents, Events]:
    """Write the documents of a data set's catalogue and its training events.

    Args:
        split: The split; only its training part is read.
        corpus: How much of what.
        texts: Further text files, UTF-8; one document each.

    Raises:
        DataError: A text file cannot be read, or nothing is left to train on.
        ConfigError: All or none of the training events would be likes.
    """
    rng = np.random.default_rng(corpus.seed)
    events = training_events(split, corpus.liked_from)
    sources: dict[str, tuple[Callable[[], Iterable[str]], int]] = {
        "catalog": (lambda: _items(events, rng), corpus.catalog),
        "histories": (lambda: _pieces(events, rng), corpus.histories),
        "questions": (
            lambda: question_documents(events, corpus.like_share, rng),
            corpus.questions,
        ),
        "texts": (lambda: map(_read, texts), corpus.texts),
    }
    kinds = {name: _up_to(source(), most) for name, (source, most) in sources.items()}
    found = [_safe(text) for chosen in kinds.values() for text in chosen]
    if not found:
        raise DataError("there is no text to train on; raise the bounds of corpus.")
    order = rng.permutation(len(found))
    documents = Documents(
        [found[place] for place in order],
        {name: len(chosen) for name, chosen in kinds.items()},
        {name: sum(map(len, chosen)) for name, chosen in kinds.items()},
    )
    return documents, events


def event_lines(titles: Iterable[str], ratings: Sequence[float] | None) -> list[str]:
    """A line per event: the title, and the rating where there is one."""
    if ratings is None:
        return list(titles)
    return [f"{title}: {rating:g}" for title, rating in zip(titles, ratings, strict=True)]


def held_out_texts(events: Events, held_out: HeldOut) -> list[tuple[str, str]]:
    """Per held-out event the history before it, and the line that tells it."""
    histories = events.histories
    ratings = None if held_out.ratings is None else held_out.ratings.tolist()
    lines = event_lines(events.titles(held_out.items), ratings)
    newest = histories.last(_EVENTS_OF_A_PIECE[1] // 2)
    found = []
    for row, line in zip(held_out.rows.tolist(), lines, strict=True):
        span = slice(int(newest.offsets[row]), int(newest.offsets[row + 1]))
        told = "\n".join(_lines(events, newest, span))
        found.append((_safe(f"{HISTORY}\n{told}\n"), _safe(line)))
    return found


def _items(events: Events, rng: Rng) -> Iterator[str]:
    facts = events.facts
    for place in rng.permutation(len(facts.titles)).tolist():
        lines = [facts.titles[place]]
        if facts.brands[place]:
            lines.append(f"Brand: {facts.brands[place]}")
        if facts.categories[place]:
            lines.append(f"Category: {', '.join(facts.categories[place])}")
        if facts.descriptions[place]:
            lines.append(facts.descriptions[place])
        yield "\n".join(lines)


def _pieces(events: Events, rng: Rng) -> Iterator[str]:
    """Every training event once, in pieces of its user's history; pieces in random order."""
    histories = events.histories
    spans = []
    for first, last in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
        start = int(first)
        while start < last:
            stop = min(int(last), start + int(rng.integers(*_EVENTS_OF_A_PIECE)))
            spans.append(slice(start, stop))
            start = stop
    for place in rng.permutation(len(spans)).tolist():
        yield "\n".join([HISTORY, *_lines(events, histories, spans[place])])


def _lines(events: Events, histories: Histories, span: slice) -> list[str]:
    ratings = None if histories.ratings is None else histories.ratings[span].tolist()
    return event_lines(events.titles(histories.items[span]), ratings)


def _up_to(texts: Iterable[str], most: int) -> list[str]:
    """Texts until ``most`` characters are there; the last one is cut."""
    found: list[str] = []
    if most <= 0:
        return found
    for text in texts:
        found.append(text[:most])
        most -= len(text)
        if most <= 0:
            break
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"text file {path} is not UTF-8 (byte {error.start}).") from None
    except OSError as error:
        raise DataError(f"text file {path} cannot be read: {error.strerror}.") from None


def _safe(text: str) -> str:
    clean = text.encode(errors="replace").decode()
    return neutralised(clean, (BOS, EOS, PAD)) if "<" in clean else clean
