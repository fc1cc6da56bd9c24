"""What a set of neighbours looks like: filled, equal texts, scores, hubs.

In many dimensions a few rows tend to be everybody's neighbours (hubness; Radovanovic et al. 2010).
Such rows carry no information about the query, so the report says how far that goes. It knows
nothing of users, targets or texts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError
from llmrec.retrieval.neighbors import Neighbors

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_EQUAL = 1 - 1e-5  # cosine from which two unit vectors count as equal


def neighbor_report(
    neighbors: Neighbors,
    n_rows: int,
    labels: Sequence[object] | None = None,
    top: int = 10,
) -> dict[str, Any]:
    """Describe neighbours, as JSON values.

    Args:
        neighbors: The neighbours, with cosines as scores.
        n_rows: Rows of the index they were found in.
        labels: Name of every row for the list of hubs; None uses row numbers.
        top: How many hubs to list.

    Returns:
        ``queries``, ``k``, ``filled`` (share of slots in use), ``without_neighbors`` (share of
        queries), ``duplicates`` (share of used slots whose vector equals the query's), ``score``
        (quantiles over used slots, and the mean by slot), ``hubness`` (skewness of how often rows
        are chosen, share never chosen, share of choices that go to the most chosen 1 % of rows,
        the hubs).

    Raises:
        DataError: Labels do not fit, or a neighbour is outside of the index.
    """
    used = neighbors.used
    rows = neighbors.rows[used]
    if rows.size and rows.max() >= n_rows:
        raise DataError(f"a neighbour is row {rows.max()} of an index of {n_rows} rows.")
    if labels is not None and len(labels) != n_rows:
        raise DataError(f"{len(labels)} labels for {n_rows} rows.")
    scores = neighbors.scores[used].astype(np.float64)
    return {
        "queries": len(neighbors),
        "k": neighbors.k,
        "rows": n_rows,
        "filled": _mean(used),
        "without_neighbors": _mean(~used.any(axis=1)),
        "duplicates": _mean(scores >= _EQUAL),
        "score": {
            "quantiles": _quantiles(scores),
            "mean_by_slot": [
                _mean(neighbors.scores[used[:, slot], slot]) for slot in range(neighbors.k)
            ],
        },
        "hubness": _hubness(np.bincount(rows, minlength=n_rows), labels, top),
    }


def _hubness(
    chosen: npt.NDArray[np.int64], labels: Sequence[object] | None, top: int
) -> dict[str, Any]:
    """Shape of the k-occurrences: how often each row is chosen."""
    total = int(chosen.sum())
    order = np.argsort(-chosen, kind="stable")
    hubs = [int(row) for row in order[:top] if chosen[row]]
    deviation = chosen - chosen.mean() if chosen.size else np.zeros(0)
    spread = float(np.sqrt(np.mean(deviation**2))) if chosen.size else 0.0
    percent = order[: max(1, chosen.size // 100)]
    return {
        "skewness": float(np.mean(deviation**3)) / spread**3 if spread else 0.0,
        "never_chosen": _mean(chosen == 0),
        "to_top_percent": float(chosen[percent].sum()) / total if total else None,
        "most_chosen": int(chosen.max(initial=0)),
        "hubs": [
            {"row": row, "label": _label(row, labels), "chosen": int(chosen[row])} for row in hubs
        ],
    }


def _label(row: int, labels: Sequence[object] | None) -> str:
    return str(row if labels is None else labels[row])


def _quantiles(scores: npt.NDArray[np.float64]) -> dict[str, float] | None:
    if not scores.size:
        return None
    values = np.quantile(scores, _QUANTILES)
    return {f"p{round(100 * q)}": float(v) for q, v in zip(_QUANTILES, values, strict=True)}


def _mean(values: npt.ArrayLike) -> float | None:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else None
