"""A record as a row of numbers of one length, for logistic regression and boosting."""

from collections.abc import Sequence

import numpy as np

from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.baselines.positions import (
    Positions,
    Values,
    lowest_mean,
    mean_over,
    moments_of_values,
    positions_of,
    quantiles_of,
    standardised,
)

_BEST = 10
_SHARES = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])


def summarise(records: Sequence[SignatureRecord]) -> tuple[Values, list[str]]:
    """Numbers of every record and their names.

    For every channel of :func:`_channels`: mean, deviation, quantiles, first and last value. Then
    the mean of each of the ten best values and of the probability that is left, and the length.

    Returns:
        ``[n, m]`` float64, 0 where a record does not say; and ``m`` names.
    """
    positions = positions_of(list(records))
    offsets = positions.offsets
    found: dict[str, Values] = {}
    for name, values in _channels(positions).items():
        mean = mean_over(values, offsets)
        found[f"{name} mean"] = mean
        squares = mean_over(np.square(values), offsets) - np.square(mean)
        found[f"{name} deviation"] = np.sqrt(np.maximum(squares, 0.0))
        quantiles = quantiles_of(values, offsets, _SHARES)
        found |= {f"{name} at {s:g}": q for s, q in zip(_SHARES, quantiles.T, strict=True)}
        found[f"{name} lowest fifth"] = lowest_mean(values, offsets, 0.2)
        found[f"{name} first"] = _at(values, offsets, first=True)
        found[f"{name} last"] = _at(values, offsets, first=False)
    columns = positions.columns
    for place in range(min(_BEST, columns.logprobs.shape[1])):
        value = np.where(columns.valid[:, place], columns.logprobs[:, place], np.nan)
        found[f"value {place}"] = mean_over(value.astype(np.float64), offsets)
    length = np.diff(offsets).astype(np.float64)
    found |= {"length": length, "log length": np.log1p(length)}
    return np.nan_to_num(np.stack(list(found.values()), axis=1)), list(found)


def _channels(positions: Positions) -> dict[str, Values]:
    columns = positions.columns
    rank = np.where(columns.censored, columns.valid.sum(axis=1), columns.rank)
    left = np.maximum(-np.expm1(np.minimum(positions.best, 0.0)), 1e-12)
    return {
        "logprob": positions.logprob,
        "probability": np.exp(positions.logprob),
        "log not best": np.log(left),
        "margin": positions.margin,
        "entropy": positions.entropy,
        "tail": positions.tail,
        "rank": np.log1p(rank.astype(np.float64)),
        "z": standardised(positions, *moments_of_values(positions)),
    }


def _at(values: Values, offsets: np.ndarray, first: bool) -> Values:
    """The value at the first or the last position; NaN where there is no position."""
    if not values.size:
        return np.full(offsets.size - 1, np.nan)
    place = offsets[:-1] if first else offsets[1:] - 1
    return np.where(np.diff(offsets) > 0, values[np.clip(place, 0, values.size - 1)], np.nan)
