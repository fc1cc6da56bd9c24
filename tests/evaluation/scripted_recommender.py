"""A recommender whose answers are written out, and small data to ask it about."""

import numpy as np
import polars as pl

from llmrec.data import Dataset, Interactions, leave_one_out


class Scripted:
    """Scores a history by a function of its item codes; remembers what it was given."""

    def __init__(self, vocabulary, rule, seen=()):
        self.vocabulary = vocabulary
        self.seen = list(seen)
        self.rule = rule
        self.given = []

    def score_catalog(self, histories):
        self.given.append(histories)
        rows = [self.rule(histories[i]) for i in range(len(histories))]
        return np.array(rows, dtype=np.float32).reshape(len(histories), len(self.vocabulary))


class Judge(Scripted):
    """Also gives probabilities for pairs."""

    def score_pairs(self, histories, items):
        return np.array([self.rule(histories[i])[c - 1] for i, c in enumerate(items)])


def popularity(histories, seen=None):
    """Counts of the events in the histories."""
    counts = np.bincount(histories.items, minlength=len(histories.vocabulary) + 1)[1:]
    return Scripted(
        histories.vocabulary, lambda row: counts, [histories.origin] if seen is None else seen
    )


def constant(vocabulary):
    return Scripted(vocabulary, lambda row: np.zeros(len(vocabulary)))


def noise(vocabulary, seed):
    """Scores that depend on the history and a seed only."""

    def rule(row):
        return np.random.default_rng([seed, *map(int, row)]).standard_normal(len(vocabulary))

    return Scripted(vocabulary, rule)


def random_dataset(users=40, items=30, events=8, seed=0, clock=True, label=False, name="toy"):
    """Every user has ``events`` distinct items; item 1 is the rarest."""
    rng = np.random.default_rng(seed)
    chance = np.arange(1, items + 1) / np.arange(1, items + 1).sum()
    rows = [
        (f"u{u:03d}", f"i{i:03d}")
        for u in range(users)
        for i in rng.choice(items, events, replace=False, p=chance)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    if clock:
        frame = frame.with_columns(timestamp=pl.Series(rng.permutation(len(rows)) + 1000))
    if label:
        frame = frame.with_columns(label=pl.Series(rng.integers(0, 2, len(rows)), dtype=pl.Int8))
    return Dataset(name, Interactions(frame))


def toy_split(**options):
    return leave_one_out(random_dataset(**options))
