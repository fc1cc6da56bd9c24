"""What the training loop is fed: batches, and a source that makes them from row numbers."""

from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


class Batch(Protocol):
    """What a module's ``forward`` takes."""

    @property
    def n_targets(self) -> int:
        """Number of loss terms in the batch."""
        ...

    def to(self, device: "torch.device") -> Self:
        """The same batch on another device."""
        ...


class BatchSource(Protocol):
    """Training rows that can be fetched as batches in any order."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> Batch:
        """Collate rows; ``generator`` is for whatever is drawn per batch."""
        ...
