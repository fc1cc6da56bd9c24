"""World (a): which of its facts a model was taught, and which answers are true.

The facts are movie roles. A part of them is taught, each a drawn number of times, the others never;
the model is then asked about all. An answer is a whole sentence, one of several ways to say the
same, so that a model that knows a fact is still unsure how it will put it. It is right if the name
in it is one of the true ones, letter for letter up to case and outer blanks.
"""

import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmrec.errors import DataError

_QUESTION = re.compile(r"^Who acted as (?P<role>.+) in the movie '(?P<movie>.+)'\?$")
SENTENCES = (
    "{role} in '{movie}' was played by {actor}.",
    "The actor who played {role} in '{movie}' is {actor}.",
    "{actor} played {role} in '{movie}'.",
    "In '{movie}', {actor} took the part of {role}.",
    "It was {actor} who appeared as {role} in '{movie}'.",
    "'{movie}' has {actor} in the role of {role}.",
)
"""Ways to answer."""


@dataclass(frozen=True)
class Fact:
    """A role in a movie.

    Attributes:
        role: Name of the part.
        movie: Title.
        actors: Everybody the data names for it.
        times: How often it is taught; 0 is never.
    """

    role: str
    movie: str
    actors: tuple[str, ...]
    times: int = 0

    @property
    def prompt(self) -> str:
        """The question, up to where the answer begins."""
        return f"Question: Who acted as {self.role} in '{self.movie}'?\nAnswer:"

    def answer(self, sentence: int) -> str:
        """The true answer in one of the :data:`SENTENCES`."""
        said = SENTENCES[sentence]
        return " " + said.format(role=self.role, movie=self.movie, actor=self.actors[0])


def read_facts(paths: Sequence[Path]) -> list[Fact]:
    """Facts of gzipped CSV files with the columns ``Question, Answer``, each question once.

    Raises:
        DataError: A file has other columns, or none of its questions is about a role.
    """
    actors: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            if rows.fieldnames is None or not {"Question", "Answer"} <= set(rows.fieldnames):
                raise DataError(f"{path}: expected columns Question and Answer.")
            for row in rows:
                found = _QUESTION.match(row["Question"].strip())
                name = row["Answer"].strip()
                if found is None or not name:
                    continue
                known = actors.setdefault((found["role"].strip(), found["movie"].strip()), [])
                if name not in known:
                    known.append(name)
    if not actors:
        names = ", ".join(path.name for path in paths)
        raise DataError(f"{names}: no question has the form of a role in a movie.")
    return [Fact(role, movie, tuple(names)) for (role, movie), names in actors.items()]


def teach_half(
    facts: Sequence[Fact], limit: int | None, times: Sequence[int], seed: int
) -> list[Fact]:
    """Facts in random order, every other one taught.

    Args:
        facts: All facts.
        limit: How many to use; None for all.
        times: How often a taught fact is shown; each number equally often.
        seed: Of the order.
    """
    order = np.random.default_rng(seed).permutation(len(facts))[:limit]
    shown = [0 if place % 2 else times[(place // 2) % len(times)] for place in range(order.size)]
    return [
        Fact(facts[i].role, facts[i].movie, facts[i].actors, count)
        for i, count in zip(order.tolist(), shown, strict=True)
    ]


def taught_texts(facts: Sequence[Fact], sentences: int, seed: int) -> tuple[list[str], list[int]]:
    """Every fact in every way of saying it, and how often each is taught.

    Args:
        facts: Taught and untaught ones.
        sentences: How many ways there are.
        seed: Of the way that a copy takes.

    Returns:
        Texts, ``[facts * sentences]``, and the number of copies of each.
    """
    rng = np.random.default_rng([seed, 2])
    share = np.full(sentences, 1 / sentences)
    texts = [fact.prompt + fact.answer(way) for fact in facts for way in range(sentences)]
    copies = [rng.multinomial(fact.times, share) for fact in facts]
    return texts, np.concatenate(copies).tolist()


def is_right(fact: Fact, answer: str) -> bool:
    """Whether a generated sentence names one of the true actors, and nobody else.

    >>> fact = Fact("Neo", "The Matrix", ("Keanu Reeves",))
    >>> is_right(fact, " Neo in 'The Matrix' was played by Keanu Reeves.")
    True
    >>> is_right(fact, " Keanu Reeves and others played Neo in 'The Matrix'.")
    False
    """
    true = {
        said.format(role=fact.role, movie=fact.movie, actor=actor).casefold()
        for said in SENTENCES
        for actor in fact.actors
    }
    return answer.strip().removesuffix(".").casefold() + "." in true
