"""Small made-up histories on which a contract is checked.

Ids look like nobody else's, so that a test can search saved files for them, and their order is
neither that of their codes nor alphabetical.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from llmrec.data.histories import Histories, Origin
from llmrec.data.ragged import offsets_of
from llmrec.data.vocabulary import Vocabulary

IdKind = Literal["strings", "integers"]


@dataclass(frozen=True)
class World:
    """Users, items and what happened.

    Attributes:
        kind: Type of all ids.
        train: Training histories with times and an origin.
        users: User ids in the order of ``train``.
        items: Item ids in the order of their codes.
    """

    kind: IdKind
    train: Histories
    users: Sequence[Any]
    items: Sequence[Any]

    @property
    def unknown(self) -> Any:
        """An id that names neither a user nor an item."""
        return "nobody-knows" if self.kind == "strings" else 987_654_321

    @property
    def wrong_type(self) -> Any:
        """An id of the type that this world does not use."""
        return 3 if self.kind == "strings" else "three"

    def histories(self, events: Mapping[Any, Sequence[int]]) -> Histories:
        """Histories of anyone: user id to item *numbers*, from 0, oldest first."""
        rows = {user: [self.items[number] for number in row] for user, row in events.items()}
        return Histories.from_lists(rows, self.train.vocabulary)

    def strangers(self, lengths: Sequence[int] = (1, 4, 9, 2)) -> Histories:
        """Histories of users who are not in ``train``; their items wrap around the catalog."""
        names = [self._name("stranger", number) for number in range(len(lengths))]
        size = len(self.items)
        rows = [
            [(3 * start + 2 * step) % size for step in range(length)]
            for start, length in enumerate(lengths)
        ]
        return self.histories(dict(zip(names, rows, strict=True)))

    def _name(self, word: str, number: int) -> Any:
        return f"{word}-{number}" if self.kind == "strings" else 555_000 + number


def make_world(kind: IdKind, n_users: int = 14, n_items: int = 17, seed: int = 5) -> World:
    """Draw a world: 2 to 11 events per user, popular items more often.

    Args:
        kind: Type of all ids.
        n_users: Users with a history.
        n_items: Items; all of them occur.
        seed: Of the random generator.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 12, n_users)
    weights = 1.0 / np.arange(1, n_items + 1)
    codes = 1 + rng.choice(n_items, lengths.sum(), p=weights / weights.sum()).astype(np.int32)
    codes[rng.choice(codes.size, n_items, replace=False)] = np.arange(1, n_items + 1)
    users, items = _ids("person", kind, n_users, rng), _ids("thing", kind, n_items, rng)
    train = Histories(
        pl.Series("user_id", users),
        codes,
        offsets_of(lengths),
        Vocabulary(items),
        times=_rising_times(lengths, rng),
        origin=Origin(f"made-up-{seed}", "f" * 16, "5" * 16, "train", 1_700_000_000),
    )
    return World(kind, train, users, items)


def _ids(word: str, kind: IdKind, n: int, rng: np.random.Generator) -> list[Any]:
    base = 71_000_000 if word == "person" else 83_000_000
    numbers = (base + rng.permutation(n) * 7).tolist()
    return [f"{word}-{number}" for number in numbers] if kind == "strings" else numbers


def _rising_times(lengths: "np.typing.NDArray[Any]", rng: np.random.Generator) -> Any:
    steps = rng.integers(1, 100_000, lengths.sum())
    offsets = offsets_of(lengths)
    total = np.cumsum(steps)
    before = np.repeat(total[offsets[:-1]] - steps[offsets[:-1]], lengths)
    return 1_600_000_000 + total - before
