"""Which requests go through the model together, and how their tokens are laid out."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Result = TypeVar("Result")


def batches(lengths: Sequence[int], budget: int, most_rows: int) -> list[list[int]]:
    """Group rows of similar length, the longest first so that memory fails early or not at all.

    Args:
        lengths: Tokens per row.
        budget: Most tokens of a batch, padding included; a longer row is a batch of its own.
        most_rows: Most rows of a batch.

    Returns:
        Row numbers per batch; every row is in exactly one.

    >>> batches([3, 9, 4, 1], budget=10, most_rows=8)
    [[1], [2, 0], [3]]
    """
    found: list[list[int]] = []
    longest = 0
    for row in np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist():
        full = not found or len(found[-1]) >= most_rows or (len(found[-1]) + 1) * longest > budget
        if full:
            found.append([])
            longest = max(1, lengths[row])
        found[-1].append(row)
    return found


def in_halves(
    batch: list[int], run: Callable[[list[int]], list[Result]], failed: Callable[[str], Result]
) -> list[Result]:
    """Run a batch, and where memory is short its halves.

    Args:
        batch: Row numbers.
        run: Gives one result per row.
        failed: Makes the result of a row that alone is too much.
    """
    try:
        return run(batch)
    except torch.OutOfMemoryError:
        pass  # the tensors of the failed run are freed with its traceback, so go on outside
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(batch) == 1:
        return [failed("the device's memory is too small for this request alone; shorten it.")]
    middle = len(batch) // 2
    halves = (batch[:middle], batch[middle:])
    return [result for half in halves for result in in_halves(half, run, failed)]


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask ``[n, longest]``, the texts ending in the last column."""
    ids, mask = _padded([row[::-1] for row in rows])
    return ids.flip(1).to(device), mask.flip(1).to(device)


def right_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask ``[n, longest]``, the texts beginning in the first column."""
    ids, mask = _padded(rows)
    return ids.to(device), mask.to(device)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    sizes = torch.tensor([len(row) for row in rows])
    mask = torch.arange(int(sizes.max())) < sizes[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = torch.tensor([token for row in rows for token in row], dtype=torch.int64)
    return ids, mask.long()
