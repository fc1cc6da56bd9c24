"""Sources of batches for the training loop: histories with sessions, or whole sequences."""

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, position_of_each, row_of_each, span_indices
from llmrec.data.windows import window_rows
from llmrec.errors import DataError
from llmrec.recommenders.onerec.generator.network import SessionBatch
from llmrec.recommenders.onerec.generator.sessions import SessionSpans

Int64Array = npt.NDArray[np.int64]


class SessionRows:
    """One row per session: its history, cut to the newest items, and the session itself.

    Args:
        histories: Events.
        spans: The sessions.
        history: Newest items of the history that are read.
        levels: Codes of a semantic ID.
    """

    def __init__(
        self, histories: Histories, spans: SessionSpans, history: int, levels: int
    ) -> None:
        self._items, self._spans, self._levels = histories.items, spans, levels
        self._first = np.maximum(spans.first, spans.start - history)

    def __len__(self) -> int:
        return self._first.size

    @property
    def row_lengths(self) -> Int64Array:
        """``[rows]`` items of the histories."""
        return self._spans.start - self._first

    def batch(self, rows: Int64Array, generator: np.random.Generator) -> SessionBatch:
        """Collate rows in the order given."""
        first, start = self._first[rows], self._spans.start[rows]
        history = padded(self._items, first, start - first)
        session = padded(self._items, start, self._spans.length[rows])
        return SessionBatch(history, session, session > 0, self._levels)


class SequenceRows:
    """One row per window of a user's events; every item but the user's first carries loss once.

    Args:
        histories: Events; users with one event give no row.
        longest: Most items before the last one of a window.
        levels: Codes of a semantic ID.

    Raises:
        DataError: No user has two events.
    """

    def __init__(self, histories: Histories, longest: int, levels: int) -> None:
        kept = np.flatnonzero(histories.lengths >= 2)
        if not kept.size:
            raise DataError("no training history has two events, so there is nothing to predict.")
        self._items, self._levels = histories.items, levels
        self._starts, lengths, self._learnt = window_rows(
            histories.offsets[kept], histories.lengths[kept] - 1, longest
        )
        self._lengths = lengths + 1

    def __len__(self) -> int:
        return self._starts.size

    @property
    def row_lengths(self) -> Int64Array:
        """``[rows]`` items of the windows."""
        return self._lengths

    def batch(self, rows: Int64Array, generator: np.random.Generator) -> SessionBatch:
        """Collate rows in the order given."""
        lengths = self._lengths[rows]
        session = padded(self._items, self._starts[rows], lengths)
        place = np.arange(session.shape[1])
        learn = (place < lengths[:, None]) & (place >= (lengths - self._learnt[rows])[:, None])
        history = torch.zeros(len(rows), 0, dtype=torch.int64)
        return SessionBatch(history, session, torch.from_numpy(learn), self._levels)


def padded(
    items: npt.NDArray[np.int32], starts: npt.ArrayLike, lengths: npt.ArrayLike
) -> torch.Tensor:
    """Spans of a flat array as ``[spans, longest]`` int64, 0 after each one's end.

    >>> padded(np.array([4, 5, 6], np.int32), [0, 2], [2, 1]).tolist()
    [[4, 5], [6, 0]]
    """
    offsets = offsets_of(lengths)
    longest = int(np.diff(offsets).max(initial=0))
    grid = np.zeros((offsets.size - 1, longest), dtype=np.int64)
    grid[row_of_each(offsets), position_of_each(offsets)] = items[span_indices(starts, lengths)]
    return torch.from_numpy(grid)
