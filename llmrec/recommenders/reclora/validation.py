"""What a training of experts and gates is judged by while it runs."""

from collections.abc import Mapping

import numpy as np

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases, LabelledCases
from llmrec.evaluation.monitoring import pair_metrics, ranking_metrics
from llmrec.recommenders.base import FloatArray
from llmrec.recommenders.reclora.ranker import Ranker
from llmrec.training.trainer import Validate


def validation_of(
    ranker: Ranker, judged: LabelledCases | None, valid: Cases | None
) -> Validate | None:
    """A function for the training loop, or None where there is nothing to judge by.

    Args:
        ranker: What is trained.
        judged: Judged pairs, if there are any.
        valid: Cases to rank the whole catalog for, where there are no judged pairs.
    """
    config = ranker.config
    if judged is not None:
        return _uncounted(ranker, _on_pairs(ranker, judged))
    if valid is None:
        return None
    cases = valid.take(_drawn(len(valid), config.validate_pairs))
    everything = np.arange(1, len(valid.histories.vocabulary) + 1, dtype=np.int32)

    def odds(some: Histories) -> FloatArray:
        return ranker.list_odds(some, np.tile(everything, (len(some), 1)))

    return _uncounted(ranker, lambda: ranking_metrics(odds, cases, [config.training.metric]))


def _uncounted(ranker: Ranker, validate: Validate) -> Validate:
    def judged() -> Mapping[str, float]:
        with ranker.uncounted():
            return validate()

    return judged


def _on_pairs(ranker: Ranker, cases: LabelledCases) -> Validate:
    rows = _drawn(len(cases), ranker.config.validate_pairs)
    histories = cases.histories.take(rows).with_vocabulary(ranker.ctr.vocabulary)
    items = ranker.ctr.vocabulary.encode(cases.histories.vocabulary.decode(cases.items[rows]))
    labels = cases.labels[rows]
    users = histories.user_ids.rank("dense").to_numpy() - 1
    prepared = ranker.prepare(histories, items)

    def validate() -> dict[str, float]:
        odds = ranker.pair_odds(prepared).astype(np.float64)
        found = 1 / (1 + np.exp(-odds))
        return pair_metrics(users, labels, found)

    return validate


def _drawn(n: int, most: int | None) -> "np.typing.NDArray[np.int64]":
    """All rows, or so many of them drawn with a fixed seed, in order."""
    if most is None or most >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))
