"""The record of a model's output signature: top-K log-probabilities at every position.

One form for every source. Values are log-probabilities, sorted from the most probable down; what a
source did not give is marked, never made up. Ranks count from 0, the most probable token. How a
record is stored on disk is the business of ``llmrec.signatures``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError

Mode = Literal["raw_logprobs", "processed_logprobs", "unknown"]
Kind = Literal["input", "output"]

FLOOR = -100.0
"""The least log-probability in a record: padding, -inf, and the -9999 some servers send."""

_PER_POSITION = (
    "actual_logprob",
    "actual_rank",
    "rank_censored",
    "tail_logmass",
    "row_mean",
    "row_std",
    "weighted_mean",
    "weighted_std",
)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SignatureRecord:
    """Log-probabilities at ``N`` positions.

    Attributes:
        topk_logprobs: ``[N, K]`` float32, each row descending; :data:`FLOOR` where not valid.
        topk_valid: ``[N, K]`` whether a value was received.
        actual_logprob: ``[N]`` float32 of the token really there; NaN where not available.
        actual_rank: ``[N]`` int32, how many tokens are strictly more probable; where censored, a
            lower bound.
        rank_censored: ``[N]`` whether the rank is only known to be at least ``actual_rank``.
        tail_logmass: ``[N]`` float32, log of 1 minus the sum of the received probabilities, not
            below :data:`FLOOR`.
        vocab_size: Width of the logits, or None where the source does not say.
        mode: Whether the source changed logits (temperature, top-p) before taking logarithms.
        kind: ``"output"`` of a generated text, ``"input"`` of a given one.
        has_eos: Whether the last position is the end-of-text token.
        fingerprint: Model, tokenizer, server, versions, adapter: what the values depend on.
        topk_ids: ``[N, K]`` int32 token ids, -1 where not valid; None from sources of texts only.
        row_mean: ``[N]`` mean of log-probabilities over the vocabulary, or None.
        row_std: ``[N]`` their standard deviation (unbiased), or None.
        weighted_mean: ``[N]`` mean of log-probabilities weighted by probability: minus the entropy,
            or None.
        weighted_std: ``[N]`` their standard deviation under that weighting, or None.
        temperature: Of the sampling.
        top_p: Of the sampling.
        top_k: Of the sampling.
        tokens: ``[N]`` texts of the tokens, or None.
        text: The text they make up, or None.

    Raises:
        DataError: Shapes do not fit, a row is not descending, or a number is not finite.
    """

    topk_logprobs: FloatArray
    topk_valid: BoolArray
    actual_logprob: FloatArray
    actual_rank: IntArray
    rank_censored: BoolArray
    tail_logmass: FloatArray
    vocab_size: int | None
    mode: Mode
    kind: Kind
    has_eos: bool
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    topk_ids: IntArray | None = None
    row_mean: FloatArray | None = None
    row_std: FloatArray | None = None
    weighted_mean: FloatArray | None = None
    weighted_std: FloatArray | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    tokens: tuple[str, ...] | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)
        values = self.topk_logprobs
        if not np.isfinite(values).all() or not np.isfinite(self.tail_logmass).all():
            raise DataError("a signature holds NaN or infinity; values below the floor are cut.")
        if (np.diff(values, axis=1) > 0).any():
            row = int(np.argmax((np.diff(values, axis=1) > 0).any(axis=1)))
            raise DataError(f"position {row} of a signature is not sorted by log-probability.")

    def __len__(self) -> int:
        return len(self.topk_logprobs)

    @property
    def k(self) -> int:
        """Columns per position."""
        return int(self.topk_logprobs.shape[1])


@dataclass(frozen=True)
class Position:
    """What a source says about one position, as it comes.

    Attributes:
        logprobs: ``[m]`` values in any order; the actual token may be among them, also beyond the
            K that were asked for.
        ids: ``[m]`` token ids, or None.
        actual: Which of the values is the actual token's, or None where it is not among them.
        actual_logprob: Its value where it is not among them, or None where nothing is known.
        actual_rank: Its rank from 0 where the source tells it, or None to count.
    """

    logprobs: Sequence[float]
    ids: Sequence[int] | None = None
    actual: int | None = None
    actual_logprob: float | None = None
    actual_rank: int | None = None


def record_of_positions(
    positions: Sequence[Position],
    k: int,
    *,
    vocab_size: int | None,
    mode: Mode,
    kind: Kind,
    has_eos: bool,
    **about: Any,
) -> SignatureRecord:
    """Bring what a source sent into the form of a record.

    Rows may hold fewer than ``k`` values, ``k``, or ``k + 1`` with the actual token appended; they
    are sorted, cut to ``k`` and padded. A plain loop over positions.

    Args:
        positions: One entry per position.
        k: Columns of the record.
        vocab_size: Width of the logits, or None.
        mode: See :class:`SignatureRecord`, like the arguments after it.
        kind: Likewise.
        has_eos: Likewise.
        about: Further fields of the record.

    Raises:
        DataError: A value is NaN or above 0, or a position names an actual token it does not have.
    """
    n = len(positions)
    values = np.full((n, k), FLOOR, dtype=np.float32)
    valid = np.zeros((n, k), dtype=np.bool_)
    ids = np.full((n, k), -1, dtype=np.int32)
    actual = np.full(n, np.nan, dtype=np.float32)
    rank = np.full(n, k, dtype=np.int32)
    censored = np.ones(n, dtype=np.bool_)
    tail = np.full(n, FLOOR, dtype=np.float32)
    for row, position in enumerate(positions):
        found = _checked(position, row)
        order = np.argsort(-found, kind="stable")[:k]
        width = order.size
        values[row, :width], valid[row, :width] = found[order], True
        if position.ids is not None:
            ids[row, :width] = np.asarray(position.ids, dtype=np.int32)[order]
        tail[row] = tail_logmass(found[order])
        actual[row], rank[row], censored[row] = _actual(position, found, order, k)
    has_ids = n > 0 and all(position.ids is not None for position in positions)
    return SignatureRecord(
        values,
        valid,
        actual,
        rank,
        censored,
        tail,
        vocab_size,
        mode,
        kind,
        has_eos,
        topk_ids=ids if has_ids else None,
        **about,
    )


def tail_logmass(logprobs: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Log of the probability that is left: ``[..., K]`` to ``[...]``, not below :data:`FLOOR`.

    >>> round(float(tail_logmass(np.log(np.array([0.5, 0.25])))), 4)
    -1.3863
    """
    left = -np.expm1(np.logaddexp.reduce(logprobs.astype(np.float64), axis=-1))
    with np.errstate(divide="ignore"):
        found = np.log(np.maximum(left, 0.0))
    floored: npt.NDArray[np.float32] = np.maximum(found, FLOOR).astype(np.float32)
    return floored


def _checked(position: Position, row: int) -> npt.NDArray[np.float64]:
    found = np.asarray(position.logprobs, dtype=np.float64)
    if np.isnan(found).any() or (found > 1e-3).any():
        raise DataError(
            f"position {row}: {found[np.isnan(found) | (found > 1e-3)][0]} is no log-probability."
        )
    if position.actual is not None and not 0 <= position.actual < found.size:
        raise DataError(
            f"position {row}: the actual token is value {position.actual} of {found.size}."
        )
    clipped: npt.NDArray[np.float64] = np.clip(found, FLOOR, 0.0)
    return clipped


def _actual(
    position: Position,
    found: npt.NDArray[np.float64],
    order: npt.NDArray[np.intp],
    k: int,
) -> tuple[float, int, bool]:
    """Log-probability and rank of the actual token, and whether the rank is a lower bound."""
    if position.actual is not None:
        value = float(found[position.actual])
        above = int((found > value).sum())
        if position.actual_rank is not None:
            return value, position.actual_rank, False
        # beyond the k most probable, tokens that were not sent may lie between
        return value, above, position.actual not in order and above >= k
    if position.actual_logprob is None:
        return float("nan"), 0, True
    value = max(float(position.actual_logprob), FLOOR)
    above = int((found > value).sum())
    if position.actual_rank is not None:
        return value, position.actual_rank, False
    return value, above, above >= found.size


def _check_shapes(record: SignatureRecord) -> None:
    n, k = record.topk_logprobs.shape
    expected: dict[str, tuple[int, ...]] = {"topk_valid": (n, k), "topk_ids": (n, k)}
    expected |= dict.fromkeys(_PER_POSITION, (n,))
    for name, shape in expected.items():
        value = getattr(record, name)
        if value is not None and value.shape != shape:
            raise DataError(f"{name} of a signature has shape {value.shape}, expected {shape}.")
    if record.tokens is not None and len(record.tokens) != n:
        raise DataError(f"a signature of {n} positions names {len(record.tokens)} tokens.")
