"""What one position says by itself, for all positions of many records at once.

Works on flat columns; nothing loops over records. A position at which the source did not say how
probable the token really there was, has NaN in what depends on it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import row_of_each
from llmrec.inference.signature import FLOOR, SignatureRecord
from llmrec.signatures.los_net.columns import Columns, columns_of

Values = npt.NDArray[np.float64]

_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Positions:
    """``T`` positions of ``n`` records.

    Attributes:
        columns: The columns they come from.
        logprob: ``[T]`` of the token really there; NaN where not known.
        best: ``[T]`` log-probability of the most probable token.
        margin: ``[T]`` best minus second best; the tail stands for a second one that is missing.
        entropy: ``[T]`` in nats, the tail taken as one token.
        tail: ``[T]`` probability beyond the values.
    """

    columns: Columns
    logprob: Values
    best: Values
    margin: Values
    entropy: Values
    tail: Values

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """``[n + 1]`` where records begin."""
        return self.columns.offsets


def positions_of(records: list[SignatureRecord]) -> Positions:
    """The positions of records of any width; values at the floor count as not received."""
    columns = columns_of(records, max((record.k for record in records), default=1))
    values, valid = columns.logprobs.astype(np.float64), columns.valid
    tail = columns.tail.astype(np.float64)
    best = np.where(valid[:, 0], values[:, 0], tail)
    second = tail
    if values.shape[1] > 1:
        second = np.where(valid[:, 1], values[:, 1], tail)
    inside = np.where(valid, np.exp(values) * values, 0.0).sum(axis=1)
    return Positions(
        columns,
        np.maximum(columns.actual.astype(np.float64), FLOOR),
        best,
        best - second,
        -inside - np.exp(tail) * tail,
        np.exp(tail),
    )


def standardised(positions: Positions, mean: Values, deviation: Values) -> Values:
    """``(log p - mean) / deviation`` at every position (Min-K%++); 0 where nothing varies."""
    varies = deviation > _LEAST_DEVIATION
    return np.asarray(
        np.where(varies, (positions.logprob - mean) / np.where(varies, deviation, 1.0), 0.0)
    )


def moments_of_values(positions: Positions) -> tuple[Values, Values]:
    """Mean and deviation of log-probabilities weighted by probability, from the values received.

    The tail counts as ``V - K`` tokens of equal probability; where V is not known, as one. Equal to
    the moments over the vocabulary where all of it was received.
    """
    columns = positions.columns
    values, valid = columns.logprobs.astype(np.float64), columns.valid
    count = valid.sum(axis=1)
    left = np.where(columns.vocab_size > 0, columns.vocab_size - count, 1)
    tail = positions.tail * (left > 0)
    with np.errstate(divide="ignore"):
        each = np.maximum(np.log(tail) - np.log(np.maximum(left, 1)), FLOOR)
    weights = np.where(valid, np.exp(values), 0.0)
    total = weights.sum(axis=1) + tail
    mean = ((weights * values).sum(axis=1) + tail * each) / total
    off = np.where(valid, np.square(values - mean[:, None]), 0.0)
    variance = ((weights * off).sum(axis=1) + tail * np.square(each - mean)) / total
    return mean, np.sqrt(variance)


def mean_over(values: Values, offsets: npt.NDArray[np.int64]) -> Values:
    """Mean of every record's known values; NaN where there is none.

    >>> mean_over(np.array([1.0, 3.0, np.nan]), np.array([0, 2, 2, 3])).tolist()
    [2.0, nan, nan]
    """
    return sum_over(values, offsets, mean=True)


def sum_over(values: Values, offsets: npt.NDArray[np.int64], mean: bool = False) -> Values:
    """Sum of every record's known values; NaN where there is none."""
    n = offsets.size - 1
    known = ~np.isnan(values)
    rows = row_of_each(offsets)[known]
    total = np.bincount(rows, values[known], minlength=n)
    count = np.bincount(rows, minlength=n)
    found = total / np.maximum(count, 1) if mean else total
    return np.where(count > 0, found, np.nan)


def sorted_within(
    values: Values, offsets: npt.NDArray[np.int64]
) -> tuple[Values, npt.NDArray[np.int64]]:
    """Every record's known values in ascending order, and the offsets of what is left."""
    known = ~np.isnan(values)
    rows = row_of_each(offsets)[known]
    kept = values[known]
    order = np.lexsort((kept, rows))
    counts = np.bincount(rows, minlength=offsets.size - 1)
    return kept[order], np.append(0, np.cumsum(counts))


def quantiles_of(values: Values, offsets: npt.NDArray[np.int64], shares: Values) -> Values:
    """``[n, len(shares)]`` quantiles of every record's known values, the nearest value taken.

    0 is the least value and 1 the largest; NaN where a record has none.
    """
    ordered, bounds = sorted_within(values, offsets)
    counts = np.diff(bounds)
    place = bounds[:-1, None] + np.rint(shares * np.maximum(counts - 1, 0)[:, None]).astype(int)
    if not ordered.size:
        return np.full((counts.size, shares.size), np.nan)
    found = ordered[np.minimum(place, ordered.size - 1)]
    return np.where(counts[:, None] > 0, found, np.nan)


def lowest_mean(values: Values, offsets: npt.NDArray[np.int64], share: float) -> Values:
    """Mean of the lowest ``share`` of every record's known values, at least one of them."""
    ordered, bounds = sorted_within(values, offsets)
    counts = np.diff(bounds)
    take = np.where(counts > 0, np.maximum((counts * share).astype(int), 1), 0)
    place = np.arange(ordered.size) - np.repeat(bounds[:-1], counts)
    chosen = np.where(place < np.repeat(take, counts), ordered, np.nan)
    return mean_over(chosen, bounds)
