"""From columns to what the network reads, without a loop over records.

Four normalisers (Section 3 of the paper describes ``full``; the others are ours):

- ``topk``: ``(x - mu) / sigma`` with mean and unbiased deviation of the values received.
- ``full``: with those of the log-probabilities of the whole vocabulary, as the source gives them.
- ``full_approx``: the same, estimated as if the ``V - K`` missing tokens shared the tail evenly.
- ``none``: log-probabilities, cut at the floor.

The actual token's log-probability is treated like the values beside it. Missing values are 0 after
normalising; a row of equal values is all 0. No input gives NaN.
"""

from dataclasses import dataclass

import numpy as np

from llmrec.errors import DataError
from llmrec.inference.signature import FLOOR
from llmrec.signatures.los_net.columns import BoolArray, Columns, FloatArray, IntArray
from llmrec.signatures.los_net.config import Normaliser

CHANNELS = (
    "mean",
    "deviation",
    "tail_logmass",
    "best_logprob",
    "best_probability",
    "log_not_best",
    "margin",
    "entropy",
    "actual_logprob",
    "share_received",
    "rank_censored",
    "actual_missing",
)
"""The extra channels, in their order; the last :data:`FLAGS` are 0 or 1 and stay so."""

FLAGS = 2

_LEAST_DEVIATION = 1e-4
_LARGEST = 30.0  # deviations from the mean; an actual token far below a flat row is cut here


@dataclass(frozen=True)
class Features:
    """What the network reads at ``T`` positions.

    Attributes:
        values: ``[T, K]`` float32 normalised log-probabilities.
        actual: ``[T]`` float32 the same of the token really there; 0 where not available.
        rank: ``[T]`` int64 its rank; K where censored.
        rank_scaled: ``[T]`` float32 ``2 (0.5 - rank / V)``; 1 where V is unknown.
        channels: ``[T, len(CHANNELS)]`` float32 as measured.
    """

    values: FloatArray
    actual: FloatArray
    rank: IntArray
    rank_scaled: FloatArray
    channels: FloatArray


def build_features(columns: Columns, normaliser: Normaliser) -> Features:
    """Normalise columns and add the channels.

    Raises:
        DataError: ``full`` is asked for and the source gave no mean and deviation, or
            ``full_approx`` and it did not say how wide the vocabulary is.
    """
    mean, deviation, normal = topk_moments(columns.logprobs, columns.valid)
    received = (mean, deviation)
    if normaliser != "topk":
        mean, deviation = _other_moments(columns, normaliser)
        normal = columns.logprobs - mean[:, None]
        normal[~columns.valid] = 0
    scale = np.maximum(deviation, np.float32(_LEAST_DEVIATION))
    limit = np.float32(-FLOOR if normaliser == "none" else _LARGEST)
    normal /= scale[:, None]
    np.clip(normal, -limit, limit, out=normal)
    missing = np.isnan(columns.actual)
    known = np.where(missing, mean, np.maximum(columns.actual, FLOOR))
    count = columns.valid.sum(axis=1)
    rank = np.where(columns.censored, count, columns.rank)
    return Features(
        normal,
        np.clip((known - mean) / scale, -limit, limit).astype(np.float32),
        rank.astype(np.int64),
        _scaled_rank(rank, columns.vocab_size),
        _channels(columns, missing, count, received),
    )


def topk_moments(
    logprobs: FloatArray, valid: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean and unbiased deviation of the valid values of each row, and how far each value is off.

    All are 0 where nothing is valid.

    >>> values, valid = np.array([[-1.0, -3.0, -100.0]]), np.array([[True, True, False]])
    >>> mean, deviation, off = topk_moments(values, valid)
    >>> float(mean[0]), round(float(deviation[0]), 3), off.tolist()
    (-2.0, 1.414, [[1.0, -1.0, 0.0]])
    """
    whole = bool(valid.all())
    count = valid.sum(axis=1, dtype=np.float32)
    total = (logprobs if whole else np.where(valid, logprobs, np.float32(0))).sum(axis=1)
    mean = (total / np.maximum(count, 1)).astype(np.float32)
    spread = logprobs - mean[:, None]
    if not whole:
        spread[~valid] = 0
    variance = np.einsum("tk,tk->t", spread, spread) / np.maximum(count - 1, 1)
    return mean, np.sqrt(variance).astype(np.float32), spread


def _other_moments(columns: Columns, normaliser: Normaliser) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of every row that are not those of the values received, ``[T]`` each."""
    if normaliser == "none":
        zero = np.zeros(len(columns.logprobs), dtype=np.float32)
        return zero, zero + np.float32(1)
    if normaliser == "full_approx":
        return _approximate_moments(columns)
    absent = np.isnan(columns.row_mean) | np.isnan(columns.row_std)
    if absent.any():
        record = int(np.searchsorted(columns.offsets, np.argmax(absent), side="right")) - 1
        raise DataError(
            f"normaliser full needs the mean and deviation over the vocabulary, and record "
            f"{record} has none: its source sent the best values only. Train with "
            "normaliser=topk, or score with normaliser='full_approx'."
        )
    return columns.row_mean, columns.row_std


def _approximate_moments(columns: Columns) -> tuple[FloatArray, FloatArray]:
    """Moments over the vocabulary with the tail spread evenly over the tokens not received."""
    if (columns.vocab_size == 0).any():
        raise DataError(
            "normaliser full_approx needs the size of the vocabulary, and a record has none; "
            "give vocab_size when the records are read."
        )
    valid = columns.valid
    count = valid.sum(axis=1)
    left = np.maximum(columns.vocab_size - count, 0)
    with np.errstate(divide="ignore"):
        each = np.maximum(columns.tail - np.log(np.maximum(left, 1)), FLOOR)
    total = np.where(valid, columns.logprobs, 0).sum(axis=1, dtype=np.float64) + left * each
    mean = total / np.maximum(columns.vocab_size, 1)
    spread = np.where(valid, np.square(columns.logprobs - mean[:, None]), 0).sum(axis=1)
    spread = spread + left * np.square(each - mean)
    deviation = np.sqrt(spread / np.maximum(columns.vocab_size - 1, 1))
    return mean.astype(np.float32), deviation.astype(np.float32)


def _scaled_rank(rank: IntArray, vocab_size: IntArray) -> FloatArray:
    share = np.where(vocab_size > 0, rank / np.maximum(vocab_size, 1), 0.0)
    return np.asarray(2 * (0.5 - np.minimum(share, 1.0)), dtype=np.float32)


def _channels(
    columns: Columns,
    missing: BoolArray,
    count: IntArray,
    moments: tuple[FloatArray, FloatArray],
) -> FloatArray:
    values, valid = columns.logprobs, columns.valid
    best = np.where(valid[:, 0], values[:, 0], np.float32(0))
    probability = np.exp(best)
    # one value alone has no runner-up: what is left stands for it
    second = columns.tail
    if values.shape[1] > 1:
        second = np.where(valid[:, 1], values[:, 1], second)
    # values at the floor add nothing: exp(-100) is 0 as far as float32 is concerned
    entropy = -np.einsum("tk,tk->t", np.exp(values), values) - np.exp(columns.tail) * columns.tail
    found = {
        "mean": moments[0],
        "deviation": moments[1],
        "tail_logmass": columns.tail,
        "best_logprob": best,
        "best_probability": probability,
        "log_not_best": np.log(np.maximum(-np.expm1(best), np.float32(1e-12))),
        "margin": best - second,
        "entropy": entropy,
        "actual_logprob": np.where(missing, np.float32(0), np.maximum(columns.actual, FLOOR)),
        "share_received": count / valid.shape[1],
        "rank_censored": columns.censored,
        "actual_missing": missing,
    }
    channels = np.empty((len(values), len(CHANNELS)), dtype=np.float32)
    for place, name in enumerate(CHANNELS):
        channels[:, place] = found[name]
    return channels
