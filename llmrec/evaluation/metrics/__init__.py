"""Metrics by name: ``ndcg@10``, ``coverage@10``, ``auc``.

Three families: ``ranking`` metrics come from the ranks of the targets, ``list`` metrics from what
was recommended, ``pair`` metrics from judged user-item pairs. With one target per case
``hit_rate@k`` and ``recall@k`` are the same number.
"""

from dataclasses import dataclass
from typing import Literal

from llmrec.errors import ConfigError, nearest_name

Family = Literal["ranking", "list", "pair"]

FAMILIES: dict[str, Family] = {
    "hit_rate": "ranking",
    "recall": "ranking",
    "precision": "ranking",
    "ndcg": "ranking",
    "mrr": "ranking",
    "map": "ranking",
    "coverage": "list",
    "novelty": "list",
    "intra_list_diversity": "list",
    "auc": "pair",
    "gauc": "pair",
    "uauc": "pair",
    "logloss": "pair",
    "accuracy": "pair",
    "ece": "pair",
}


@dataclass(frozen=True)
class Metric:
    """A metric as a task names it.

    Attributes:
        name: The full name, ``ndcg@10``.
        base: What is measured, ``ndcg``.
        k: Length of the list, None for pair metrics.
        family: What it is computed from.
    """

    name: str
    base: str
    k: int | None
    family: Family


def parse_metric(text: str) -> Metric:
    """Read a metric's name.

    Raises:
        ConfigError: The metric is unknown, or its ``@k`` is missing, superfluous or not a
            positive number.

    >>> parse_metric("ndcg@10").k
    10
    """
    base, at, cut = text.partition("@")
    if base not in FAMILIES:
        raise ConfigError(f"unknown metric {text!r}{nearest_name(base, FAMILIES)}.")
    family = FAMILIES[base]
    if family == "pair":
        if at:
            raise ConfigError(f"metric {text!r}: {base} judges pairs and takes no @k.")
        return Metric(base, base, None, family)
    if not (cut.isascii() and cut.isdigit() and int(cut) > 0):
        raise ConfigError(f"metric {text!r} needs a positive list length, for instance {base}@10.")
    return Metric(f"{base}@{int(cut)}", base, int(cut), family)
