"""From scores to ranks and to top lists, one block of histories at a time.

A block is ``[b, items]`` float32, column ``j`` scoring item code ``j + 1``. Items that may not be
recommended (seen ones) are set to -inf beforehand; every other score is finite or +inf, and NaN is
refused. The rank of a target is 1 + the number of candidates scored higher + half the number of
other candidates scored the same, so that a model which scores everything alike gets the rank of a
random order's mean, not the first place. An excluded target has rank infinity: it cannot be hit.

Everything works through the block a few rows at a time, so that comparisons stay in the cache;
the cost is that of reading the block a handful of times. :func:`rank_cases` scores and ranks block
after block and never holds more than one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.data.splits import Cases
from llmrec.errors import ConfigError, DataError, shorten
from llmrec.evaluation.metrics.ranking import TargetRanks

Scores = npt.NDArray[np.float32]

LOWEST = np.finfo(np.float32).min
"""The score of a candidate that a model knows nothing about: below all others, above excluded."""

BLOCK = 512
"""How many histories are scored at once; one block of scores is all that is ever held."""

_PREFIX = 1024  # columns in which the lowest codes among equal scores are looked for first
_CHUNK = 1 << 18  # scores compared at once: 1 MiB, which fits the L2 cache together with its masks


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a model makes of all cases.

    Attributes:
        ranks: Ranks of all targets, sorted within each case.
        flat_ranks: ``[targets]`` the same ranks in the order of the cases' targets.
        top: ``[cases, k]`` int32 codes of the best items, best first, 0 where there are fewer.
        top_scores: ``[cases, k]`` float32 scores, -inf where there are fewer items.
        scoring: Seconds spent in the model.
        ranking: Seconds spent on ranks and lists.
    """

    ranks: TargetRanks
    flat_ranks: npt.NDArray[np.float64]
    top: npt.NDArray[np.int32]
    top_scores: Scores
    scoring: float
    ranking: float


def rank_cases(
    score_catalog: Callable[[Histories], Scores],
    cases: Cases,
    k: int = 10,
    filter_seen: bool = True,
    history_length: int | None = None,
    block: int = BLOCK,
) -> Ranking:
    """Rank the targets of all cases within the full catalogue.

    Args:
        score_catalog: Histories to ``[n, items]`` scores, column ``j`` for code ``j + 1`` of the
            cases' vocabulary. -inf is read as "below all others". The array is not written to.
        cases: The cases; ``k`` items are listed for each.
        k: Length of the lists.
        filter_seen: Exclude the items of the whole input history.
        history_length: The model is given only so many newest events; None gives all.
        block: Histories scored at once.

    Raises:
        DataError: The scores are NaN or have another shape.
        ConfigError: ``k`` is larger than the catalogue.
    """
    items = len(cases.histories.vocabulary)
    require_k(k, items)
    buffer = np.empty((min(block, len(cases)), items), dtype=np.float32)
    top = np.zeros((len(cases), k), dtype=np.int32)
    top_scores = np.zeros((len(cases), k), dtype=np.float32)
    ranks = np.empty(cases.targets.size)
    scoring, begin = 0.0, perf_counter()
    for start, stop in _blocks(len(cases), block):
        histories = cases.histories.block(start, stop)
        given = histories if history_length is None else histories.last(history_length)
        before = perf_counter()
        scores = _checked(score_catalog(given), buffer[: stop - start], histories.user_ids)
        scoring += perf_counter() - before
        if filter_seen:
            exclude(scores, histories.items, histories.offsets)
        bounds = cases.target_offsets[start : stop + 1]
        span = slice(bounds[0], bounds[-1])
        ranks[span] = target_ranks(scores, cases.targets[span], bounds - bounds[0])
        top[start:stop], top_scores[start:stop] = top_items(scores, k)
    ranking = perf_counter() - begin - scoring
    targets = TargetRanks(ranks, cases.target_offsets)
    return Ranking(targets, ranks, top, top_scores, scoring, ranking)


def require_numbers(scores: Scores, user_ids: pl.Series) -> None:
    """Refuse a block in which a score is NaN.

    Args:
        scores: ``[b, items]``.
        user_ids: ``[b]`` the users, for the message.

    Raises:
        DataError: A score is NaN; the message names the users.
    """
    broken = np.isnan(scores.max(axis=1))  # the maximum of a row with a NaN is NaN
    if broken.any():
        users = user_ids.filter(pl.Series(broken))
        raise DataError(
            f"the model's scores for user {shorten(users)} contain NaN; nothing can be ranked. "
            "Check the training log for a loss that is not finite."
        )


def exclude(scores: Scores, items: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> None:
    """Set the scores of each row's listed items to -inf, in place.

    Args:
        scores: ``[b, items]``.
        items: Flat item codes, 1-based.
        offsets: ``[b + 1]``; row ``i`` excludes ``items[offsets[i]:offsets[i + 1]]``.
    """
    scores[row_of_each(offsets), items - 1] = -np.inf


def target_ranks(
    scores: Scores, targets: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Rank every target among its row's candidates.

    Args:
        scores: ``[b, items]``, excluded items -inf.
        targets: Flat item codes, 1-based.
        offsets: ``[b + 1]``; row ``i`` has the targets ``targets[offsets[i]:offsets[i + 1]]``.

    Returns:
        ``[targets]`` ranks from 1, with halves where scores tie; infinity for excluded targets.

    >>> scores = np.array([[3.0, 1.0, 1.0, 1.0, -np.inf]], dtype=np.float32)
    >>> target_ranks(scores, np.array([1, 2, 5], dtype=np.int32), np.array([0, 3])).tolist()
    [1.0, 3.0, inf]
    """
    owner = row_of_each(offsets)
    one_each = bool((np.diff(offsets) == 1).all())
    step = max(1, _CHUNK // max(1, scores.shape[1]))
    ranks = np.empty(targets.size)
    for start in range(0, targets.size, step):
        part = slice(start, min(start + step, targets.size))
        rows = scores[part] if one_each else scores[owner[part]]
        own = rows[np.arange(rows.shape[0]), targets[part] - 1][:, None]
        higher = _count(rows > own)
        others = _count(rows == own) - 1
        ranks[part] = np.where(own[:, 0] == -np.inf, np.inf, 1 + higher + others / 2)
    return ranks


def top_items(scores: Scores, k: int) -> tuple[npt.NDArray[np.int32], Scores]:
    """Choose the ``k`` best items of every row; among equal scores the lower code comes first.

    Args:
        scores: ``[b, items]`` without NaN, excluded items -inf.
        k: Length of the lists, at most the number of items.

    Returns:
        ``[b, k]`` item codes and ``[b, k]`` scores, best first. Rows with fewer than ``k``
        candidates end in code 0 and score -inf.

    Raises:
        ConfigError: ``k`` is below 1 or above the number of items.

    >>> codes, _ = top_items(np.array([[0.1, 0.7, 0.7, -np.inf]], dtype=np.float32), 4)
    >>> codes.tolist()
    [[2, 3, 1, 0]]
    """
    rows, items = scores.shape
    require_k(k, items)
    row, column = _best(scores, k)
    values = scores[row, column]
    order = np.lexsort((-values, row))  # stable: equal scores keep the order of their codes
    row, column, values = row[order], column[order], values[order]
    position = np.arange(row.size) - np.searchsorted(row, np.arange(rows))[row]
    kept = position < k
    codes = np.zeros((rows, k), dtype=np.int32)
    best = np.full((rows, k), -np.inf, dtype=np.float32)
    codes[row[kept], position[kept]] = column[kept] + 1
    best[row[kept], position[kept]] = values[kept]
    return codes, best


def require_k(k: int, items: int) -> None:
    """Refuse a list length that the catalogue cannot fill.

    Raises:
        ConfigError: ``k`` is below 1 or above ``items``.
    """
    if not 1 <= k <= items:
        raise ConfigError(
            f"k={k} must lie between 1 and the size of the catalogue, {items:,} items."
        )


def require_shape(scores: Scores, expected: tuple[int, ...]) -> None:
    """Refuse scores that do not hold one column per item.

    Raises:
        DataError: The shape is not the expected one.
    """
    if np.shape(scores) != expected:
        raise DataError(
            f"score_catalog gave an array of shape {np.shape(scores)} for {expected[0]} histories; "
            f"expected {expected}, one column per item of the model's vocabulary."
        )


def _blocks(n: int, block: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, block):
        yield start, min(start + block, n)


def _checked(given: Scores, out: Scores, users: pl.Series) -> Scores:
    """Copy a model's scores, which may be its own memory, into ``out``; -inf becomes LOWEST."""
    require_shape(given, out.shape)
    np.maximum(given, LOWEST, out=out, casting="same_kind")
    require_numbers(out, users)
    return out


def _count(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Number of true values per row; counting packed bits beats summing booleans."""
    counts = np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)
    return np.asarray(counts, dtype=np.int64)


def _best(scores: Scores, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns of a small superset of the ``k`` best of every row, in row-major order.

    The ``k``-th largest of the maxima of disjoint groups is a lower bound of the ``k``-th largest
    value, and with several times more groups than ``k`` it is a tight one.
    """
    rows, items = scores.shape
    groups = max(128, 8 * k)
    size = items // groups
    if size < 2:
        exact = np.partition(scores, items - k, axis=1)[:, items - k]
        return _where(_tie_mask(scores, np.maximum(exact, LOWEST), k))
    maxima = scores[:, : size * groups].reshape(rows, size, groups).max(axis=1)
    bound = np.maximum(np.partition(maxima, groups - k, axis=1)[:, groups - k], LOWEST)
    chosen = scores >= bound[:, None]
    crowded = np.flatnonzero(_count(chosen) > 8 * k + 64)  # many scores equal to the bound
    if crowded.size:
        chosen[crowded] = _tie_mask(scores[crowded], bound[crowded], k)
    return _where(chosen)


def _tie_mask(scores: Scores, bound: Scores, k: int) -> npt.NDArray[np.bool_]:
    """All scores above a lower bound of the ``k``-th best, filled up to ``k`` with equal ones.

    If fewer than ``k`` scores exceed the bound, the ``k``-th best equals it, and the lowest codes
    among the scores equal to it complete the list.
    """
    higher = scores > bound[:, None]
    free = k - _count(higher)
    tied = scores == bound[:, None]
    enough = bool((_count(tied[:, :_PREFIX]) >= free).all())
    width = _PREFIX if enough else tied.shape[1]  # counting along whole rows is slow
    tied[:, width:] = False
    tied[:, :width] &= np.cumsum(tied[:, :width], axis=1, dtype=np.int32) <= free[:, None]
    return np.asarray(higher | tied)


def _where(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    flat = np.flatnonzero(mask)  # much faster on few hits than the two-dimensional nonzero
    row, column = np.divmod(flat, mask.shape[1])
    return row, column
