"""Titles and descriptions, made from the words of an item's topics.

A series has one title, its parts are numbered. A description speaks of the main topic twice and of
the companion topic once, so that text similarity carries what the topic mixture says.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.simulator.items import Int, Items
from llmrec.data.simulator.words import TOPICS

_PER_LIST = 12
_FORMS = 4


def describe(items: Items, rng: np.random.Generator) -> pl.DataFrame:
    """Return ``title``, ``category`` and ``description``, one row per item."""
    topics = TOPICS[: items.mixtures.shape[1]]
    categories = np.array([topic.category for topic in topics])
    return pl.DataFrame(
        {
            "title": _titles(items, rng),
            "category": categories[items.topic],
            "description": _descriptions(items, rng),
        }
    )


def _titles(items: Items, rng: np.random.Generator) -> pl.Series:
    """``Quiet Harbour Mysteries: Part 2``; unlike series of a topic have unlike titles."""
    topic_of = np.zeros(int(items.series.max()) + 1, dtype=np.int64)
    topic_of[items.series] = items.topic
    combinations = _PER_LIST * _PER_LIST * _FORMS
    edition, number = np.divmod(_rank_within(topic_of), combinations)
    shuffles = np.stack([rng.permutation(combinations) for _ in range(items.mixtures.shape[1])])
    number = shuffles[topic_of, number]
    name = pl.DataFrame(
        {
            "adjective": _words("adjectives", topic_of, number % _PER_LIST),
            "noun": _words("nouns", topic_of, number // _PER_LIST % _PER_LIST),
            "form": _words("forms", topic_of, number // _PER_LIST**2),
            "edition": [f" ({e + 1})" if e else "" for e in edition.tolist()],
        }
    ).select(pl.format("{} {} {}{}", "adjective", "noun", "form", "edition").alias("name"))
    parts = pl.DataFrame({"name": name["name"].gather(items.series), "part": items.part})
    return parts.select(pl.format("{}: Part {}", "name", "part"))["name"]


def _descriptions(items: Items, rng: np.random.Generator) -> pl.Series:
    n = len(items)
    first = rng.integers(0, _PER_LIST, n)
    second = (first + rng.integers(1, _PER_LIST, n)) % _PER_LIST
    frame = pl.DataFrame(
        {
            "adjective": np.char.lower(
                _words("adjectives", items.topic, rng.integers(0, _PER_LIST, n))
            ),
            "noun": np.char.lower(_words("nouns", items.topic, rng.integers(0, _PER_LIST, n))),
            "first": _words("themes", items.topic, first),
            "second": _words("themes", items.topic, second),
            "other": _words("themes", items.companion, rng.integers(0, _PER_LIST, n)),
        }
    )
    sentence = "The {} {}: {} and {}, with a touch of {}."
    return frame.select(
        pl.format(sentence, "adjective", "noun", "first", "second", "other").alias("description")
    )["description"]


def _words(kind: str, topic: Int, number: Int) -> npt.NDArray[np.str_]:
    table = np.array([getattr(entry, kind) for entry in TOPICS])
    return np.asarray(table[topic, number])


def _rank_within(group: Int) -> Int:
    """Running number of every element among the earlier ones of its group."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group[order], side="left")
    rank = np.empty(group.size, dtype=np.int64)
    rank[order] = np.arange(group.size) - starts
    return rank
