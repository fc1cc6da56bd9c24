"""Candidate lists, seen items and result frames: the shared arithmetic of recommending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError, DataError

if TYPE_CHECKING:
    from llmrec.contracts import Candidates, OnUnknown


def candidate_codes(
    candidates: Candidates, n: int, vocabulary: Vocabulary, on_unknown: OnUnknown
) -> npt.NDArray[np.int32]:
    """Turn candidates into codes.

    Args:
        candidates: Item ids for everybody, or one list of item ids per history.
        n: Number of histories.
        vocabulary: The model's items.
        on_unknown: ``"error"``, or ``"skip"`` to give unknown items code 0.

    Returns:
        ``[n, C]`` int32; 0 fills shorter lists.

    Raises:
        DataError: There are lists, but not one per history, or no candidate at all.
        UnknownIdError: An item is unknown and ``on_unknown`` is ``"error"``.
    """
    unknown: Literal["error", "zero"] = "error" if on_unknown == "error" else "zero"
    listed = _listed(candidates)
    if not _is_nested(listed):
        shared = vocabulary.encode(listed, unknown)
        return np.broadcast_to(shared, (n, shared.size))
    if len(listed) != n:
        raise DataError(
            f"{len(listed)} candidate lists were given for {n} histories; "
            "give one list per history, or one list of ids for everybody."
        )
    rows = [vocabulary.encode(row, unknown) for row in listed]
    codes = np.zeros((n, max(row.size for row in rows)), dtype=np.int32)
    for number, row in enumerate(rows):
        codes[number, : row.size] = row
    return codes


def allowed_items(
    candidates: Candidates, vocabulary: Vocabulary, on_unknown: OnUnknown
) -> npt.NDArray[np.bool_]:
    """Turn candidates for everybody into a mask over the catalog.

    Returns:
        ``[items]`` bool, column ``j`` for code ``j + 1``.

    Raises:
        ConfigError: The candidates are lists of lists.
        DataError: There is no candidate.
        UnknownIdError: An item is unknown and ``on_unknown`` is ``"error"``.
    """
    listed = _listed(candidates)
    if _is_nested(listed):
        raise ConfigError(
            "recommend chooses from one list of candidates for everybody; "
            "use rank to order a list per history."
        )
    allowed = np.zeros(len(vocabulary) + 1, dtype=bool)
    allowed[candidate_codes(listed, 1, vocabulary, on_unknown)] = True
    return allowed[1:]


def chosen_items(
    candidates: Candidates | None, k: int, vocabulary: Vocabulary, on_unknown: OnUnknown
) -> npt.NDArray[np.bool_] | None:
    """:func:`allowed_items` where ``k`` items are to be chosen; None allows all.

    Raises:
        ConfigError: ``k`` is below 1 or above the number of items to choose from.
    """
    allowed = None if candidates is None else allowed_items(candidates, vocabulary, on_unknown)
    n_choices = len(vocabulary) if allowed is None else int(allowed.sum())
    if not 1 <= k <= n_choices:
        raise ConfigError(f"k={k} must lie between 1 and the {n_choices} items to choose from.")
    return allowed


def recommendation_frame(
    user_ids: pl.Series,
    codes: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    vocabulary: Vocabulary,
) -> pl.DataFrame:
    """Build ``user_id, item_id, score, rank`` from ``[n, k]`` codes; -inf scores are left out."""
    kept = np.isfinite(scores)
    rank = np.cumsum(kept, axis=1)[kept]
    rows = np.nonzero(kept)[0]
    return pl.DataFrame(
        {
            "user_id": user_ids.gather(rows),
            "item_id": vocabulary.decode(codes[kept]),
            "score": scores[kept],
            "rank": rank.astype(np.int32),
        }
    )


def _listed(candidates: Any) -> Any:
    """The candidates as something that can be read twice."""
    if not isinstance(candidates, pl.Series | np.ndarray):
        candidates = list(candidates)
    if not len(candidates):
        raise DataError("the list of candidates is empty.")
    return candidates


def _is_nested(candidates: Any) -> bool:
    if isinstance(candidates, pl.Series):
        return candidates.dtype == pl.List
    if isinstance(candidates, np.ndarray):
        return candidates.ndim == 2
    first = candidates[0]
    return isinstance(first, Sequence | np.ndarray | pl.Series) and not isinstance(first, str)
