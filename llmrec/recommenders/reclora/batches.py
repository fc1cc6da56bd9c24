"""Training rows as batches: prompts, what gates read, and answers, in buckets by length."""

import numpy as np
import numpy.typing as npt
import torch

from llmrec.recommenders.reclora.network import Bucket, PromptBatch
from llmrec.recommenders.reclora.token_rows import TokenRows, buckets

Int64 = npt.NDArray[np.int64]


class PromptRows:
    """A :class:`~llmrec.training.batches.BatchSource`.

    Args:
        beginnings: ``[n]`` beginnings of prompts.
        ends: Ends of prompts by item code minus 1.
        items: ``[n]`` item codes.
        gates: ``[n, d]`` what gates read, or ``[1, gates, K]`` weights that all share.
        labels: ``[n]`` 1 for yes.
        most_tokens: Most tokens of a bucket, padding included.
        bare: The one beginning that tells no history.
        history_dropout: Share of rows, drawn anew in every batch, that begin with it.
    """

    def __init__(
        self,
        beginnings: TokenRows,
        ends: TokenRows,
        items: npt.NDArray[np.int32],
        gates: npt.NDArray[np.float32],
        labels: npt.NDArray[np.float32],
        most_tokens: int,
        bare: TokenRows,
        history_dropout: float = 0.0,
    ) -> None:
        self._beginnings, self._ends, self._items = beginnings, ends, items
        self._bare, self._history_dropout = bare, history_dropout
        self._gates, self._labels, self._most_tokens = gates, labels, most_tokens

    def __len__(self) -> int:
        return self._items.size

    def batch(self, rows: Int64, generator: np.random.Generator) -> PromptBatch:
        """The prompts of some rows."""
        beginnings = self._beginnings.take(rows)
        if self._history_dropout:
            untold = generator.random(rows.size) < self._history_dropout
            beginnings = beginnings.replaced(untold, self._bare)
        prompts = beginnings.followed_by(self._ends.take(self._items[rows] - 1))
        found = []
        for group in buckets(prompts.lengths, self._most_tokens):
            ids, there = prompts.take(group).left_padded()
            chosen = rows[group]
            gates = self._gates if self._gates.ndim == 3 else self._gates[chosen]
            found.append(
                Bucket(
                    torch.from_numpy(ids),
                    torch.from_numpy(there),
                    torch.from_numpy(gates),
                    torch.from_numpy(self._labels[chosen]),
                )
            )
        return PromptBatch(found)
