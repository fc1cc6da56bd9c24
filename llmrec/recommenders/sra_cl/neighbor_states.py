"""Where the states of other sequences come from: read from the bank, or encoded in the step.

Both work in two halves, as objectives do: what can be prepared without the network is prepared
while the batch is put together, so that a step on a GPU never waits for the host.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from llmrec.recommenders.sra_cl.bank import StateBank
from llmrec.recommenders.sra_cl.events import Int64Array, TrainingEvents
from llmrec.recommenders.sra_cl.objective import Drawn, Step


class NeighborStates(Protocol):
    """States of training events."""

    def prepare(self, rows: Int64Array) -> Drawn:
        """What a step needs to give the states of these events ``[n]``."""
        ...

    def read(self, step: Step, drawn: Drawn) -> Tensor:
        """``[n, d]`` their states."""
        ...


class BankStates:
    """States as the bank has them, without gradient.

    Args:
        bank: The bank.
    """

    def __init__(self, bank: StateBank) -> None:
        self._bank = bank

    def prepare(self, rows: Int64Array) -> Drawn:
        """The rows to read."""
        return {"rows": torch.from_numpy(rows)}

    def read(self, step: Step, drawn: Drawn) -> Tensor:
        """``[n, d]`` states without gradient."""
        return self._bank.read(drawn["rows"])


class EncodedStates:
    """States encoded in the step, with gradient; a sequence that is needed often is encoded once.

    Args:
        events: The training events.
        max_length: Longest sequence.
    """

    def __init__(self, events: TrainingEvents, max_length: int) -> None:
        self._events = events
        self._max_length = max_length

    def prepare(self, rows: Int64Array) -> Drawn:
        """The sequences that end at the rows."""
        unique, inverse = np.unique(rows, return_inverse=True)
        items, layout = self._events.sequences(unique, self._max_length)
        return {"items": items, "layout": layout, "place": torch.from_numpy(inverse.ravel())}

    def read(self, step: Step, drawn: Drawn) -> Tensor:
        """``[n, d]`` states with gradient."""
        layout = drawn["layout"]
        newest = step.encode(drawn["items"], layout).index_select(0, layout.last)
        return newest.index_select(0, drawn["place"])
