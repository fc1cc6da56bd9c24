"""World (a): which of its facts a model was taught, and which answers are true.

The facts are movie roles. A part of them is taught, each a drawn number of times, the others never;
the model is then asked about all. An answer is a whole sentence, and right if the name in it is one
of the true ones, letter for letter up to case and outer blanks.
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
_SAYS = " was played by "


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

    @property
    def answer(self) -> str:
        """The true answer."""
        return f" {self.role} in '{self.movie}'{_SAYS}{self.actors[0]}."


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


def is_right(fact: Fact, answer: str) -> bool:
    """Whether the name that a generated sentence ends with is one of the true ones.

    >>> fact = Fact("Neo", "The Matrix", ("Keanu Reeves",))
    >>> is_right(fact, " Neo in 'The Matrix' was played by Keanu Reeves.")
    True
    >>> is_right(fact, " Neo was Keanu Reeves.")
    False
    """
    said, there, name = answer.rpartition(_SAYS)
    clean = name.strip().removesuffix(".").strip().casefold()
    return bool(there) and bool(said) and clean in {actor.casefold() for actor in fact.actors}
