"""What users made of the sessions they had: labels for a reward model, from logged columns.

A tower's label is a rule over the events of a session: whether any of them has a mark, whether
their mean is high among sessions of the same length (long sessions would win otherwise), or how
much their mean is of the largest value. Items are labelled as sessions of one. Only events of the
training part are read.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.data.splits import Split
from llmrec.errors import DataError, nearest_name
from llmrec.recommenders.onerec.alignment.config import TowerRule
from llmrec.recommenders.onerec.alignment.reward import FeedbackBatch
from llmrec.recommenders.onerec.generator.rows import Int64Array, padded
from llmrec.recommenders.onerec.generator.sessions import SessionSpans

_TRAIN = 0


def event_values(split: Split, column: str) -> npt.NDArray[np.float64]:
    """A column of the training events, in the order of ``split.train_histories()``.

    Raises:
        DataError: There is no such column, or it holds no numbers, or one that is not finite.
    """
    frame = split.dataset.interactions.frame
    if column not in frame.columns:
        raise DataError(
            f"{split.dataset.name} has no column {column!r}{nearest_name(column, frame.columns)}."
        )
    kept = frame[column].filter(pl.Series(split.parts == _TRAIN))
    if not (kept.dtype.is_numeric() or kept.dtype == pl.Boolean):
        raise DataError(f"column {column!r} holds {kept.dtype}, not numbers.")
    values = kept.cast(pl.Float64).fill_null(0).to_numpy()
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        row = int(np.flatnonzero(split.parts == _TRAIN)[bad[0]])
        event = frame.row(row, named=True)
        raise DataError(
            f"column {column!r} of {split.dataset.name} holds {values[bad[0]]} in {bad.size} "
            f"training events, first in row {row} (user {event['user_id']!r}, item "
            f"{event['item_id']!r}); leave such cells empty, which counts as 0, or give a number."
        )
    return values


def session_labels(
    split: Split, spans: SessionSpans, rules: Sequence[TowerRule]
) -> npt.NDArray[np.float32]:
    """``[sessions, towers]`` 1 or 0, or of ``amount`` anything between.

    Raises:
        DataError: A column is missing, or a label is the same for all sessions.
    """
    columns = []
    for rule in rules:
        values = event_values(split, rule.column)
        total = np.concatenate([[0.0], np.cumsum(values)])
        sums = total[spans.start + spans.length] - total[spans.start]
        if rule.label == "any":
            marks = np.concatenate([[0], np.cumsum(values > 0)])
            label = marks[spans.start + spans.length] > marks[spans.start]
        elif rule.label == "amount":
            label = _amount(sums / spans.length, rule, float(values.max()))
        else:
            label = _high(sums / spans.length, spans.length, rule.top)
        if label.min() == label.max():
            raise DataError(
                f"tower {rule.name!r}: column {rule.column!r} gives every session the same label, "
                "so there is nothing to learn; use another rule or leave the tower out."
            )
        columns.append(label.astype(np.float32))
    return np.stack(columns, axis=1)


def item_labels(
    split: Split, spans: SessionSpans, rules: Sequence[TowerRule]
) -> npt.NDArray[np.float32]:
    """``[sessions, longest, towers]`` labels of every item, NaN after a session's end.

    Raises:
        DataError: As :func:`session_labels`.
    """
    found = session_labels(split, single_items(spans), rules)
    labels = np.full((spans.start.size, int(spans.length.max()), len(rules)), np.nan, np.float32)
    labels[np.arange(labels.shape[1]) < spans.length[:, None]] = found
    return labels


def single_items(spans: SessionSpans) -> SessionSpans:
    """Every item of the sessions as a session of its own, after all that came before it."""
    owner = np.repeat(np.arange(spans.start.size), spans.length)
    within = np.arange(owner.size) - np.repeat(np.cumsum(spans.length) - spans.length, spans.length)
    start = spans.start[owner] + within
    return SessionSpans(spans.first[owner], start, np.ones_like(start))


class FeedbackRows:
    """Sessions with labels, a source of batches.

    Args:
        histories: The training events.
        spans: The sessions.
        labels: ``[sessions, towers]``, or of items ``[sessions, longest, towers]``.
        history: Newest items of the history that are read.

    Attributes:
        n_items: Items of the vocabulary, whose codes begin at 1.
    """

    def __init__(
        self,
        histories: Histories,
        spans: SessionSpans,
        labels: npt.NDArray[np.float32],
        history: int,
    ) -> None:
        self._items, self._spans, self._labels = histories.items, spans, labels
        self.n_items = len(histories.vocabulary)
        self._first = np.maximum(spans.first, spans.start - history)

    def __len__(self) -> int:
        return self._first.size

    def batch(self, rows: Int64Array, generator: np.random.Generator) -> FeedbackBatch:
        """Collate rows in the order given."""
        first, start = self._first[rows], self._spans.start[rows]
        session, labels = padded(self._items, start, self._spans.length[rows]), self._labels[rows]
        if labels.ndim == 3:
            labels = labels[:, : session.shape[1]]
        history = padded(self._items, first, start - first)
        return FeedbackBatch(history, session, torch.from_numpy(labels))


def users_of(histories: Histories, spans: SessionSpans) -> Int64Array:
    """``[sessions]`` the history each session belongs to."""
    return row_of_each(histories.offsets)[spans.start]


def _amount(
    means: npt.NDArray[np.float64], rule: TowerRule, largest: float
) -> npt.NDArray[np.float64]:
    """Share of the largest value."""
    if means.min() < 0 or largest <= 0:
        raise DataError(
            f"tower {rule.name!r}: label amount needs values of 0 and more, and column "
            f"{rule.column!r} has others or zeros only; use high."
        )
    return means / largest


def _high(means: npt.NDArray[np.float64], lengths: Int64Array, top: float) -> npt.NDArray[np.bool_]:
    """Above the quantile ``1 - top`` of the sessions of the same length."""
    label = np.zeros(means.size, dtype=np.bool_)
    for length in np.unique(lengths):
        alike = lengths == length
        label[alike] = means[alike] > np.quantile(means[alike], 1 - top)
    return label
