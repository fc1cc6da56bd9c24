"""Residual k-means: every level clusters what the levels before it left over.

``r_1`` is the vector, ``s_l`` the cluster of ``r_l``, and ``r_(l+1) = r_l - c`` with the centroid
``c`` of that cluster (OneRec, arXiv 2502.18965, section 3.1). One loop serves all forms; they
differ in how rows are assigned to clusters. k-means does not look at scale, so residuals are not
scaled. No code is left unused: a cluster without rows takes over the row farthest from its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.tokenizer.balance import Assign, Capacity, Sequential, nearest

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray
    from llmrec.recommenders.onerec.tokenizer.config import Balance

_BLOCK = 16_384
_START_ROWS = 16_384  # most rows that starting points are drawn from
_LARGEST_TABLE = 2**31  # costs of a balanced form: 8 GiB
_SETTLED = 1e-3  # share of rows that may still move when the rounds end


@dataclass(frozen=True)
class Level:
    """One level of a fitted residual k-means.

    Attributes:
        centroids: ``[k, d]``.
        codes: ``[n]`` int64.
        rounds: Rounds that were run.
    """

    centroids: Tensor
    codes: Tensor
    rounds: int


def residual_kmeans(
    values: "FloatArray",
    levels: int,
    codes: int,
    balance: "Balance" = "capacity",
    rounds: int = 30,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> list[Level]:
    """Fit codebooks and give every row its codes.

    Args:
        values: ``[n, d]`` vectors.
        levels: Levels.
        codes: Clusters per level.
        balance: See :class:`~llmrec.recommenders.onerec.tokenizer.config.TokenizerConfig`.
        rounds: Most rounds per level.
        seed: Seed of starting points and orders.
        device: Where to compute.
        progress: Called with a line when a level is done.

    Raises:
        DataError: There are fewer rows than codes, or too few different ones.
        ConfigError: A balanced form would need more than 8 GiB.
    """
    n = len(values)
    if n < codes:
        raise DataError(
            f"{n} items are to be tokenised, fewer than the {codes} codes of a level; choose at "
            f"most {n} codes."
        )
    if balance != "none" and n * codes > _LARGEST_TABLE:
        raise ConfigError(
            f"balance {balance!r} keeps a number per item and code, {n} x {codes} are too many; "
            "choose balance 'none', or fewer codes."
        )
    residual = torch.from_numpy(np.array(values, dtype=np.float32)).to(device)
    found = []
    for level in range(levels):
        generator = np.random.default_rng([seed, level])
        fitted = _fit_level(residual, codes, make_assign(balance, generator), rounds, generator)
        residual = residual - fitted.centroids[fitted.codes]
        found.append(fitted)
        if progress is not None:
            progress(f"level {level + 1} of {levels}: {fitted.rounds} rounds")
    return found


def make_assign(balance: "Balance", generator: np.random.Generator) -> Assign:
    """The assignment of a form of balance."""
    if balance == "capacity":
        return Capacity()
    if balance == "none":
        return nearest
    return Sequential(generator if balance == "sequential_shuffled" else None)


def squared_distances(values: Tensor, centroids: Tensor) -> Tensor:
    """``[n, k]`` squared distances less the rows' own squared lengths."""
    return torch.addmm((centroids**2).sum(1), values, centroids.T, alpha=-2)


def nearest_codes(values: Tensor, centroids: Tensor) -> Tensor:
    """``[n]`` the nearest centroid of every row; of equal ones the first."""
    blocks = [
        squared_distances(block, centroids).argmin(1) for block in torch.split(values, _BLOCK)
    ]
    return torch.cat(blocks)


def _fit_level(
    values: Tensor, k: int, assign: Assign, rounds: int, generator: np.random.Generator
) -> Level:
    centroids = _starting_points(values, k, generator)
    plain = assign is nearest
    codes = torch.full((len(values),), -1, dtype=torch.int64, device=values.device)
    done, moved = 0, 1.0
    while done < rounds and moved > _SETTLED:
        if plain:  # needs no table of all costs
            chosen = nearest_codes(values, centroids)
            chosen = _with_unused_revived(values, centroids, chosen, k)
        else:
            chosen = assign(squared_distances(values, centroids))
        moved = float((chosen != codes).float().mean())
        codes = chosen
        centroids = _means(values, codes, k)
        done += 1
    return Level(centroids, codes, done)


def _starting_points(values: Tensor, k: int, generator: np.random.Generator) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii 2007) on a sample of the rows."""
    n = len(values)
    sample = np.sort(generator.choice(n, min(n, max(k, min(16 * k, _START_ROWS))), replace=False))
    rows = values[torch.from_numpy(sample).to(values.device)]
    lengths = (rows**2).sum(1)
    chosen = [int(generator.integers(len(rows)))]
    distance = torch.full_like(lengths, torch.inf)
    for _ in range(k - 1):
        last = rows[chosen[-1]]
        distance = torch.minimum(distance, (lengths - 2 * (rows @ last) + last @ last).clamp_(0))
        distance[chosen[-1]] = 0
        total = distance.double().cumsum(0).cpu().numpy()
        if total[-1] > 0:
            place = int(np.searchsorted(total, generator.random() * total[-1], side="right"))
        else:  # only copies of chosen rows are left
            place = int(generator.integers(len(rows)))
        chosen.append(min(place, len(rows) - 1))
    return rows[chosen].clone()


def _with_unused_revived(values: Tensor, centroids: Tensor, codes: Tensor, k: int) -> Tensor:
    """Hand unused clusters the rows farthest from their centroid, never a cluster's last row."""
    counts = torch.bincount(codes, minlength=k)
    unused = (counts == 0).nonzero().view(-1)
    if not unused.numel():
        return codes
    distance = ((values - centroids[codes]) ** 2).sum(1)
    order = distance.argsort(descending=True, stable=True)
    codes = codes.clone()
    for row in order.tolist():
        if not unused.numel() or distance[row] <= 0:
            break
        if counts[codes[row]] > 1:
            counts[codes[row]] -= 1
            codes[row], unused = unused[0], unused[1:]
    if unused.numel():
        raise DataError(
            f"there are fewer different vectors than the {k} codes of a level: {unused.numel()} "
            "codes find no item. Choose fewer codes or levels, or balance 'capacity'."
        )
    return codes


def _means(values: Tensor, codes: Tensor, k: int) -> Tensor:
    sums = values.new_zeros(k, values.shape[1]).index_add_(0, codes, values)
    return sums / torch.bincount(codes, minlength=k).clamp_(min=1)[:, None]
