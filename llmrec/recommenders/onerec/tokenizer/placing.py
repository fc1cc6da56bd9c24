"""Codes for items that have none yet, beside items whose codes are settled."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llmrec.recommenders.onerec.tokenizer.codebooks import Codebooks, FloatArray
from llmrec.recommenders.onerec.tokenizer.collisions import (
    Int32Array,
    Int64Array,
    extra_digit,
    reassign,
)
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig


def place_items(
    codes: Int32Array,
    settled: npt.NDArray[np.bool_],
    codebooks: Codebooks,
    values: FloatArray,
    popularity: Int64Array,
    config: TokenizerConfig,
    sizes: Sequence[int],
) -> Int32Array:
    """Encode the items that are not ``settled`` and resolve their collisions; the others stay.

    Args:
        codes: ``[items, levels]``; rows of items that are not settled are not read.
        settled: ``[items]`` items whose codes stay.
        codebooks: What encodes the rest.
        values: ``[items, d]`` vectors.
        popularity: ``[items]`` training events.
        config: Settings, for the rule.
        sizes: Codes per level, an extra digit included.

    Raises:
        DataError: The rule has no room for an item.
    """
    if settled.all():
        return codes
    found = codes.copy()
    found[~settled, : len(codebooks.centroids)] = codebooks.encode(values[~settled])
    return resolve_collisions(found, settled, codebooks, values, popularity, config, sizes)


def resolve_collisions(
    codes: Int32Array,
    settled: npt.NDArray[np.bool_],
    codebooks: Codebooks,
    values: FloatArray,
    popularity: Int64Array,
    config: TokenizerConfig,
    sizes: Sequence[int],
) -> Int32Array:
    """Apply the collision rule to items that are not ``settled``; arguments as above.

    Returns:
        ``[items, len(sizes)]``. Settled items come first in every order; among the others the
        settings' keeper decides, then the distance to the centroid, then the row.
    """
    depth = len(codebooks.centroids)
    if config.collisions == "allow":
        return codes
    gap = (codebooks.residuals(values, codes, depth) ** 2).sum(1)
    first = -popularity if config.keeper == "popularity" else np.zeros_like(popularity)
    order = np.lexsort((np.arange(len(codes)), gap, first, ~settled))
    priority = np.empty(order.size, dtype=np.int64)
    priority[order] = np.arange(order.size)
    if config.collisions == "reassign":
        return reassign(codes, codebooks.latent(values), codebooks.centroids, priority)
    digits = np.where(settled, codes[:, -1], -1).astype(np.int64)
    return extra_digit(codes[:, :depth], digits, priority, sizes[-1])
