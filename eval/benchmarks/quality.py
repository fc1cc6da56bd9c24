"""Judge recommended lists that come from outside: every library's lists by our one metric.

A list holds ``user, item, rank`` in the codes of ``events.parquet``. A target that is not in the
list counts as not found; ties were broken by whoever made the list.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.evaluation.metrics.ranking import TargetRanks, per_case

_PARTS = {"valid": 1, "test": 2}


def list_ranks(lists: pl.DataFrame, targets: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Rank of every target in its user's list, infinity where it is not there.

    Args:
        lists: ``user, item, rank``.
        targets: ``user, item``, one row per user.

    >>> lists = pl.DataFrame({"user": [1, 1], "item": [7, 8], "rank": [1, 2]})
    >>> list_ranks(lists, pl.DataFrame({"user": [1, 2], "item": [8, 8]})).tolist()
    [2.0, inf]
    """
    keys = [pl.col("user").cast(pl.Int64), pl.col("item").cast(pl.Int64)]
    ranked = lists.select(*keys, pl.col("rank").cast(pl.Float64))
    found = targets.select(*keys).join(ranked, on=["user", "item"], how="left")
    if found.height != targets.height:
        raise SystemExit("an item occurs twice in a user's list; the lists cannot be judged.")
    found = targets.select(*keys).join(found, on=["user", "item"], how="left")
    return found["rank"].fill_null(np.inf).to_numpy()


def judge(events: Path, lists: Path, part: str, metric: str = "ndcg@10") -> dict[str, Any]:
    """Mean of a metric of the lists over all users with a target in ``part``.

    Returns:
        ``{metric, ci95, n_users}``; the interval is the normal one over users.
    """
    targets = pl.read_parquet(events).filter(pl.col("part") == _PARTS[part]).sort("user")
    values = per_case(metric, TargetRanks(list_ranks(pl.read_parquet(lists), targets)))
    half = 1.96 * float(values.std(ddof=1)) / np.sqrt(values.size)
    mean = float(values.mean())
    return {metric: mean, "ci95": [mean - half, mean + half], "n_users": values.size}
