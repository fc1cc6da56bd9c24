"""The training events as flat rows: what anchors, neighbours and banks are numbered by.

Row ``r`` is one event of one user and stands for the sequence that ends there. Its target is the
user's next training event; a user's newest event has none.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each, span_indices
from llmrec.recommenders.sasrec.encoder import PackedRows

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingEvents:
    """All training events, users one after another.

    Attributes:
        items: ``[events]`` int64 item codes.
        users: ``[events]`` int64 which history each event belongs to.
        starts: ``[events]`` int64 the row of the first event of the same user.
        ends: ``[events]`` int64 one past the row of the last event of the same user.
        targets: ``[events]`` int64 code of the user's next event, 0 where there is none.
    """

    items: Int64Array
    users: Int64Array
    starts: Int64Array
    ends: Int64Array
    targets: Int64Array

    @classmethod
    def of(cls, train: Histories) -> "TrainingEvents":
        """The events of training histories."""
        items = train.items.astype(np.int64)
        users = row_of_each(train.offsets)
        ends = train.offsets[1:][users]
        targets = np.zeros_like(items)
        has_next = np.flatnonzero(np.arange(items.size) + 1 < ends)
        targets[has_next] = items[has_next + 1]
        return cls(items, users, train.offsets[:-1][users], ends, targets)

    def __len__(self) -> int:
        return self.items.size

    @property
    def first_rows(self) -> Int64Array:
        """``[users with events]`` the row of each user's first event, ascending."""
        return np.flatnonzero(self.starts == np.arange(len(self)))

    def sequences(self, rows: Int64Array, max_length: int) -> tuple[Tensor, PackedRows]:
        """Items and layout of the sequences that end at ``rows``, at most ``max_length`` long."""
        first = np.maximum(self.starts[rows], rows + 1 - max_length)
        lengths = rows + 1 - first
        return torch.from_numpy(self.items[span_indices(first, lengths)]), PackedRows(lengths)
