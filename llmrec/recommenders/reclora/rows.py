"""Few2Many: which events the language model's part learns from (reclora.md 2.6).

The CTR model learns the events before a moment, experts and gates a fixed subset of those from
then on: what the gates read of a row was then never learnt from that row. A row is asked with
the events strictly before it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.ragged import position_of_each, row_of_each, smaller_before
from llmrec.errors import DataError
from llmrec.recommenders.ctr.pairs import labels_of

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """Histories, each with an item and the answer.

    Attributes:
        histories: ``[n]`` events strictly before the item's.
        items: ``[n]`` int32 item codes.
        labels: ``[n]`` float32, 1 for yes.
    """

    histories: Histories
    items: npt.NDArray[np.int32]
    labels: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return self.items.size


def is_judged(histories: Histories) -> bool:
    """Whether events say what users thought of them; else they only say what was chosen."""
    return histories.labels is not None or histories.ratings is not None


def late_rows(
    train: Histories,
    since: int | None,
    most: int,
    seed: int,
    negatives: int,
    liked_above: float,
) -> JudgedRows:
    """The rows that experts and gates learn from.

    Args:
        train: Training histories.
        since: Unix seconds from which on events are taken; None takes all.
        most: Rows that are kept, drawn evenly.
        seed: Of that draw and of the negatives.
        negatives: Items drawn per event where nothing tells what was liked.
        liked_above: Where events have ratings and no labels, those above this are liked.

    Raises:
        DataError: There is no such event.
    """
    labels = labels_of(train, liked_above)
    wanted = np.ones(train.items.size, dtype=bool) if labels is None else ~np.isnan(labels)
    if since is not None:
        assert train.times is not None
        wanted &= train.times >= since
    events = np.flatnonzero(wanted)
    if not events.size:
        raise DataError(
            "no training event with an answer is left for the language model's part; lower "
            "ctr_share."
        )
    rng = np.random.default_rng(seed)
    if events.size > most:
        events = np.sort(rng.choice(events, most, replace=False))
    before = (
        position_of_each(train.offsets)
        if train.times is None
        else smaller_before(train.times, train.offsets)
    )
    owners = row_of_each(train.offsets)[events]
    items = train.items[events]
    if labels is not None:
        return JudgedRows(train.prefixes(owners, before[events]), items, labels[events])
    drawn = _others(items, negatives, len(train.vocabulary), rng)
    again = np.repeat(np.arange(events.size), 1 + negatives)
    answers = np.zeros((events.size, 1 + negatives), dtype=np.float32)
    answers[:, 0] = 1
    asked = np.concatenate([items[:, None], drawn], axis=1)
    histories = train.prefixes(owners[again], before[events][again])
    return JudgedRows(histories, asked.ravel(), answers.ravel())


def _others(
    items: npt.NDArray[np.int32], count: int, n_items: int, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """``[n, count]`` items drawn evenly among all but each row's own."""
    drawn = rng.integers(1, max(2, n_items), (items.size, count))
    drawn += drawn >= items[:, None]
    return np.minimum(drawn, n_items).astype(np.int32)
