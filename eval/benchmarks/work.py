"""Operations and bytes that training and ranking with SASRec need, by formula.

Counted are multiply-adds of matrix products (two operations each) and the traffic that no program
can avoid. Softmax, norms, dropout and activation functions are left out of the operations, so a
time computed from them is a lower bound. Nothing here is measured.

With ``d`` the width, ``f`` the feed-forward width, ``V`` the items, ``L_r`` the input length of
row ``r``, ``P = sum L_r`` positions and ``T`` scored positions, one forward pass takes

    blocks * (P * 2 (4 d^2 + 2 d f) + 4 d A) + T * 2 d V

where ``A`` counts the pairs of positions that attend: ``sum L_r (L_r + 1) / 2`` for causal
attention, ``sum L_r^2`` where the full square is formed. A backward pass takes twice that.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Adam reads weight, gradient and two moments and writes weight and moments: 7 float32 values.
_ADAM_BYTES = 28
# Tensors of width d per position and block (two norms, q, k, v, mixed, projected, hidden, output,
# sum), each written and read once forward and read once backward.
_BLOCK_TENSORS, _PASSES = 10, 3


@dataclass(frozen=True)
class Shape:
    """Size of a model.

    Attributes:
        items: Items that are scored.
        dimension: Width ``d``.
        feed_forward: Width ``f`` inside the feed-forward layer.
        blocks: Transformer blocks.
        length: Longest input.
    """

    items: int
    dimension: int = 64
    feed_forward: int = 64
    blocks: int = 2
    length: int = 50

    @property
    def weights(self) -> int:
        """Number of weights: item and position vectors and the blocks with biases and norms."""
        d, f = self.dimension, self.feed_forward
        block = 4 * d * d + 2 * d * f + 9 * d + f
        return (self.items + 1 + self.length) * d + self.blocks * block + 2 * d


def forward_flops(
    shape: Shape, row_lengths: npt.ArrayLike, scored: int, causal: bool = True
) -> float:
    """Operations of one forward pass.

    Args:
        shape: The model.
        row_lengths: ``[rows]`` positions that are computed per row, padding included.
        scored: Positions at which all items are scored.
        causal: Attention is computed for earlier positions only.
    """
    lengths = np.asarray(row_lengths, dtype=np.float64)
    d, f = shape.dimension, shape.feed_forward
    pairs = (lengths * (lengths + 1) / 2 if causal else lengths**2).sum()
    linear = lengths.sum() * 2 * (4 * d * d + 2 * d * f)
    return float(shape.blocks * (linear + 4 * d * pairs) + scored * 2 * d * shape.items)


def training_flops(
    shape: Shape, row_lengths: npt.ArrayLike, scored: int, causal: bool = True
) -> float:
    """Operations of an epoch: forward and backward, three forward passes' worth."""
    return 3 * forward_flops(shape, row_lengths, scored, causal)


def training_bytes(shape: Shape, row_lengths: npt.ArrayLike, steps: int) -> float:
    """Memory traffic of an epoch that chunking cannot avoid: Adam and the blocks' activations.

    Logits are not in it: a loss computed in chunks keeps them in the cache. See
    :func:`logit_bytes` for what they cost otherwise.
    """
    positions = float(np.asarray(row_lengths).sum())
    activations = 4 * shape.dimension * positions * shape.blocks * _BLOCK_TENSORS * _PASSES
    return float(_ADAM_BYTES * shape.weights * steps + activations)


def logit_bytes(shape: Shape, scored: int) -> float:
    """Traffic of an epoch's float32 logits if they all go through memory.

    Five passes: written, read and written by the softmax, read by two gradient products.
    """
    return 5.0 * 4 * scored * shape.items


def ranking_flops(shape: Shape, row_lengths: npt.ArrayLike) -> float:
    """Operations of encoding every history and scoring every item once per user."""
    return forward_flops(shape, row_lengths, scored=int(np.asarray(row_lengths).size))


def ranking_bytes(shape: Shape, users: int) -> float:
    """Traffic of the float32 scores, written once and read once to choose the best."""
    return 2.0 * 4 * users * shape.items


def seconds_at_ceiling(
    flops: float, traffic: float, flops_per_second: float, bytes_per_second: float
) -> float:
    """Roofline: the time of the slower of arithmetic and memory, each at its measured ceiling."""
    return max(flops / flops_per_second, traffic / bytes_per_second)
