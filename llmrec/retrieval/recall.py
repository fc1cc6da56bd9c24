"""How many of the true neighbours an approximate index finds, measured on a sample of its rows.

A sampled row is its own best answer in any index, which says nothing, so it is left out. A found
row counts if its true score is not below that of the k-th true neighbour: which of several equal
rows is found does not matter.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import torch

from llmrec.contracts import NeighborIndex
from llmrec.errors import DataError
from llmrec.retrieval.blocked import top_products

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

_ROUNDING = 1e-5


@dataclass(frozen=True)
class RecallSample:
    """Sampled rows with the score that a true neighbour must have.

    Attributes:
        vectors: ``[n, dim]`` all rows.
        own: ``[m]`` the sampled rows.
        least: ``[m]`` score of the k-th true neighbour.
        k: Neighbours that are counted.
    """

    vectors: "FloatArray"
    own: npt.NDArray[np.int64]
    least: "FloatArray"
    k: int

    @classmethod
    def draw(cls, vectors: "FloatArray", k: int, sample: int, seed: int = 0) -> Self:
        """Draw rows that have a direction and find their true neighbours.

        Args:
            vectors: ``[n, dim]`` finite float32.
            k: Neighbours to count; fewer where there are fewer rows.
            sample: How many rows to draw.
            seed: Seed of the draw.

        Raises:
            DataError: Fewer than two rows have a direction.
        """
        rows = np.flatnonzero(vectors.any(axis=1))
        if rows.size < 2:
            raise DataError(f"{rows.size} rows have a direction; recall needs at least two.")
        rng = np.random.default_rng(seed)
        own = np.sort(rng.choice(rows, min(sample, rows.size), replace=False))
        k = min(k, rows.size - 1)
        kept = vectors if rows.size == len(vectors) else vectors[rows]
        scores, found = top_products(torch.from_numpy(vectors[own]), torch.from_numpy(kept), k + 1)
        is_own = rows[found.numpy()] == own[:, None]
        # where the row itself is not among its best (equal rows), the last one makes room
        is_own[:, -1] |= ~is_own.any(axis=1)
        others = scores.numpy()[~is_own].reshape(len(own), k)
        return cls(vectors, own, others[:, -1], k)

    def recall(self, index: NeighborIndex) -> float:
        """Share of true neighbours that an index over the same rows finds, from 0 to 1."""
        queries = self.vectors[self.own]
        _, rows = index.search(queries, self.k + 1)
        valid = (rows >= 0) & (rows != self.own[:, None])
        scores = np.einsum("qd,qkd->qk", queries, self.vectors[np.maximum(rows, 0)])
        right = valid & (scores >= self.least[:, None] - _ROUNDING)
        hits = np.minimum(right.sum(axis=1), self.k)
        return float(hits.mean() / self.k)
