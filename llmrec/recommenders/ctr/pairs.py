"""Training rows of CTR models: judged pairs, each with the events strictly before it.

With labels or ratings every event is a pair. Without, every event is a liked pair and items drawn
at random, other than the event's own, are disliked ones.
"""

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.ragged import position_of_each, row_of_each, smaller_before
from llmrec.errors import DataError, UnknownIdError
from llmrec.recommenders.ctr.config import CTRConfig
from llmrec.recommenders.ctr.features import EventTable, Float32, Int64, PairBatch


def require_codes(codes: npt.NDArray[np.int32], n_items: int) -> None:
    """Refuse item codes that name nothing.

    Raises:
        UnknownIdError: One is not between 1 and the number of items.
    """
    if (wrong := codes[(codes < 1) | (codes > n_items)]).size:
        raise UnknownIdError(f"item code {wrong[0]} names no item; codes are 1 to {n_items}.")


class TrainingPairs:
    """A source of batches for the training loop.

    Args:
        histories: Training histories.
        table: The same histories as inputs.
        config: Settings.

    Raises:
        DataError: No event has a label.
    """

    def __init__(self, histories: Histories, table: EventTable, config: CTRConfig) -> None:
        self._table, self._negatives = table, config.negatives
        self._n_items = len(histories.vocabulary)
        labels = labels_of(histories, config.liked_above)
        everything = np.arange(histories.items.size)
        self._events = everything if labels is None else np.flatnonzero(~np.isnan(labels))
        if not self._events.size:
            raise DataError(
                "no training event has a label, so there is nothing to learn from; "
                "check column 'label'."
            )
        self._labels = None if labels is None else labels[self._events]
        self._owners = row_of_each(histories.offsets)[self._events]
        before = _events_before(histories)[self._events]
        self._ends = histories.offsets[self._owners] + before
        self._items = histories.items[self._events].astype(np.int64)

    def __len__(self) -> int:
        return self._events.size

    def batch(self, rows: Int64, generator: np.random.Generator) -> PairBatch:
        """Collate rows; negatives are drawn where there are no labels."""
        items, numbers = self._items[rows], np.arange(len(rows))
        if self._labels is not None:
            labels = self._labels[rows]
        else:
            drawn = generator.integers(1, self._n_items, (len(rows), self._negatives))
            drawn += drawn >= items[:, None]  # every item but the event's own, evenly
            labels = np.zeros(len(rows) * (1 + self._negatives), dtype=np.float32)
            labels[: len(rows)] = 1
            numbers = np.concatenate([numbers, np.repeat(numbers, self._negatives)])
            items = np.concatenate([items, np.minimum(drawn, self._n_items).ravel()])
        return self._table.batch(self._owners[rows], self._ends[rows], numbers, items, labels)


def labels_of(histories: Histories, liked_above: float) -> Float32 | None:
    """``[events]`` 1 liked, 0 not, NaN not said; None where nothing tells."""
    if histories.labels is not None:
        return np.where(histories.labels < 0, np.nan, histories.labels).astype(np.float32)
    if histories.ratings is not None:
        liked = (histories.ratings > liked_above).astype(np.float32)
        return np.where(np.isnan(histories.ratings), np.nan, liked).astype(np.float32)
    return None


def _events_before(histories: Histories) -> Int64:
    """``[events]`` how many events of the row are earlier; by position without a clock."""
    if histories.times is None:
        return position_of_each(histories.offsets)
    return smaller_before(histories.times, histories.offsets)


def early_part(histories: Histories, share: float) -> tuple[int | None, Histories]:
    """The oldest share of the events.

    Returns:
        The moment before which they lie (None: these are all), and the histories cut there;
        users without an early event are left out.

    Raises:
        DataError: The share is below 1 and there is no clock, or nothing is that early.
    """
    if share == 1:
        return None, histories
    if histories.times is None:
        raise DataError("train_share below 1 needs events with a clock; set it to 1.")
    until = int(np.quantile(histories.times, share, method="higher"))
    early = histories.before(until)
    if not len(early):
        raise DataError(f"no training event is earlier than {until}; raise train_share.")
    return until, early
