"""Means with intervals, over all cases and over groups of cases."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from llmrec.evaluation.outcome import Figure, Group
from llmrec.evaluation.significance import MANY_USERS, ratio_intervals
from llmrec.evaluation.slices import Slicing

Values = npt.NDArray[np.float64]

_GROUP_DRAWS = 1000  # there are many groups, and their intervals are wide anyway


def summarise(
    values: Mapping[str, Values],
    weights: Mapping[str, Values] | None = None,
    seed: int = 0,
    draws: int | None = None,
) -> dict[str, Figure]:
    """Average per-case values, with bootstrap intervals from shared resamples.

    Args:
        values: Metric to ``[cases]`` values; NaN where a case has none.
        weights: Metric to ``[cases]`` weights, for metrics that are weighted means.
        seed: Seed of the intervals.
        draws: Number of resamples; None as in :func:`ratio_intervals`.
    """
    names = list(values)
    if not names:
        return {}
    table = np.column_stack([values[name] for name in names])
    weight = np.column_stack([(weights or {}).get(name, np.ones(len(table))) for name in names])
    weight = np.where(np.isnan(table), 0.0, weight)
    table = np.where(np.isnan(table), 0.0, table) * weight
    ends = ratio_intervals(table, weight, seed, draws)
    below = weight.sum(axis=0)
    means = np.divide(table.sum(axis=0), below, out=np.full(len(names), np.nan), where=below > 0)
    counts = np.count_nonzero(weight, axis=0)
    return {name: Figure.of(means[i], ends[i], counts[i]) for i, name in enumerate(names)}


def summarise_slices(
    values: Mapping[str, Values], slicings: Mapping[str, Slicing], seed: int = 0
) -> dict[str, dict[str, Group]]:
    """Average per-case values over every group of every kind of slice."""
    found: dict[str, dict[str, Group]] = {}
    for kind, slicing in slicings.items():
        found[kind] = {}
        for number, label in enumerate(slicing.labels):
            rows = np.flatnonzero(slicing.group == number)
            chosen = {name: column[rows] for name, column in values.items()}
            draws = None if rows.size > MANY_USERS else _GROUP_DRAWS
            figures = summarise(chosen, seed=seed, draws=draws)
            found[kind][label] = Group(n=rows.size, metrics=figures)
    return found
