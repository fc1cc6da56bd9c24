"""Which cluster every row belongs to, given its cost with each: nearest, or of equal size.

The balanced forms give every cluster ``n // k`` rows or one more. The sequential one is that of the
OneRec paper (arXiv 2502.18965, section 3.1): clusters take their nearest free rows one after
another, so the last are left with what nobody wanted. The capacity form solves for all clusters at
once: prices make crowded clusters dearer until loads are nearly equal (entropic optimal transport;
Cuturi 2013), then rows propose to their cheapest open cluster, and a cluster with too many
proposals keeps those that would lose most elsewhere.
"""

from typing import Protocol

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_EXACT = 512  # rows up to which the assignment is solved exactly
_SAMPLE = 4096  # rows from which the spread of costs is taken
_BLOCK = 512
_FAINT = -60.0  # exponents below it count as this: subnormal numbers are slow
_COARSE, _FINE = 1.0, 0.01  # temperatures, as a share of the spread of a row's costs
_FIRST_STEPS, _STEPS = 60, 6


class Assign(Protocol):
    """Gives every row a cluster; it may remember something from one round to the next."""

    def __call__(self, costs: Tensor) -> Tensor:
        """Costs ``[n, k]`` float32 to clusters ``[n]`` int64."""
        ...


def nearest(costs: Tensor) -> Tensor:
    """The cheapest cluster of every row; of equal ones the first."""
    return costs.argmin(1)


class Sequential:
    """Clusters take their nearest free rows one after another.

    Args:
        generator: Draws another order every round; None serves them in the order of their numbers.
    """

    def __init__(self, generator: np.random.Generator | None = None) -> None:
        self._generator = generator

    def __call__(self, costs: Tensor) -> Tensor:
        """See :class:`Assign`."""
        n, k = costs.shape
        order = np.arange(k) if self._generator is None else self._generator.permutation(k)
        sizes = np.full(k, n // k)
        sizes[order[: n % k]] += 1
        by_cluster = np.ascontiguousarray(costs.T.cpu().numpy())
        free = np.arange(n)
        codes = np.empty(n, dtype=np.int64)
        for cluster in order:
            size = sizes[cluster]
            if size < free.size:
                taken = np.argpartition(by_cluster[cluster, free], size - 1)[:size]
            else:
                taken = np.arange(free.size)
            codes[free[taken]] = cluster
            free = np.delete(free, taken)
        return torch.from_numpy(codes).to(costs.device)


class Capacity:
    """All clusters at once, at nearly the least total cost; prices carry over between rounds."""

    def __init__(self) -> None:
        self._prices: Tensor | None = None

    def __call__(self, costs: Tensor) -> Tensor:
        """See :class:`Assign`."""
        n, k = costs.shape
        if n <= _EXACT:
            return _exact(costs)
        spread = float(costs[:: max(1, n // _SAMPLE)].std(1).mean()) or 1.0
        if self._prices is None:
            prices = costs.new_zeros(k)
            temperatures = np.geomspace(_COARSE, _FINE, _FIRST_STEPS)
        else:
            prices, temperatures = self._prices, np.full(_STEPS, _FINE)
        load = costs.new_full((k,), n / k)
        for temperature in temperatures * spread:
            load = _soft_load(costs, prices, float(temperature))
            prices = prices + float(temperature) * (load * k / n).clamp_(min=1e-6).log()
        self._prices = prices - prices.mean()
        room = torch.full((k,), n // k, dtype=torch.int64, device=costs.device)
        room[load.argsort(descending=True, stable=True)[: n % k]] += 1
        return _propose(costs + self._prices, room)


def _exact(costs: Tensor) -> Tensor:
    """The cheapest assignment; the ``n % k`` larger clusters are chosen with it.

    Every cluster has ``n // k`` places that must be filled and one that may be: as many optional
    places as stay empty are taken by rows of no cost that fit nowhere else.
    """
    n, k = costs.shape
    values = costs.double().cpu().numpy()
    extra = k - n % k if n % k else 0
    places = np.repeat(np.arange(k), n // k + (1 if extra else 0))
    table = np.zeros((n + extra, places.size))
    table[:n] = values[:, places]
    if extra:
        optional = np.zeros(places.size, dtype=np.bool_)
        optional[:: n // k + 1] = True
        table[n:, ~optional] = 2 * np.abs(values).max() * n + 1  # must be filled by a real row
    rows, columns = linear_sum_assignment(table)
    codes = np.empty(n, dtype=np.int64)
    codes[rows[rows < n]] = places[columns[rows < n]]
    return torch.from_numpy(codes).to(costs.device)


def _soft_load(costs: Tensor, prices: Tensor, temperature: float) -> Tensor:
    """``[k]`` rows per cluster when rows choose by softmax; in blocks that fit the cache."""
    load = torch.zeros_like(prices)
    for block in torch.split(costs, _BLOCK):
        chance = (block + prices).mul_(-1 / temperature)
        chance.sub_(chance.amax(1, keepdim=True)).clamp_(min=_FAINT).exp_()
        load += (1 / chance.sum(1)) @ chance
    return load


def _propose(costs: Tensor, room: Tensor) -> Tensor:
    """Fill ``room`` rows into every cluster: rounds of proposals by the rows left over."""
    codes = torch.empty(len(costs), dtype=torch.int64, device=costs.device)
    rows = torch.arange(len(costs), device=costs.device)
    while rows.numel():
        least, wanted = costs.min(1)
        costs.scatter_(1, wanted[:, None], torch.inf)  # for a look at the second choice
        loss = costs.amin(1) - least
        costs.scatter_(1, wanted[:, None], least[:, None])
        order = loss.argsort(descending=True, stable=True)
        order = order[wanted[order].argsort(stable=True)]
        counts = torch.bincount(wanted, minlength=room.numel())
        place = torch.arange(rows.numel(), device=rows.device)
        place -= (counts.cumsum(0) - counts)[wanted[order]]
        taken = torch.zeros_like(rows, dtype=torch.bool)
        taken[order] = place < room[wanted[order]]
        codes[rows[taken]] = wanted[taken]
        room = room - torch.bincount(wanted[taken], minlength=room.numel())
        rows, costs = rows[~taken], costs[~taken]
        costs[:, room == 0] = torch.inf
    return codes
