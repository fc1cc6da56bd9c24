"""Gradient boosting of trees on summary statistics: hard to beat where answers are short.

Trees are grown by scikit-learn and kept as plain arrays, so that a saved model is safetensors and
runs without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.evaluation.metrics.pairs import auc
from llmrec.signatures.baselines.base import Arrays, Baseline, Labels, Records, Values
from llmrec.signatures.baselines.summary import summarise

_ROUNDS = 200
_SETTINGS = (
    {"learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 40, "l2_regularization": 1.0},
    {"learning_rate": 0.05, "max_leaf_nodes": 31, "min_samples_leaf": 20, "l2_regularization": 1.0},
)
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Trees:
    """Nodes of ``T`` trees, padded to the largest: every array is ``[T, nodes]``.

    Attributes:
        feature: Column that a node looks at.
        threshold: Rows with a value up to it go left.
        left: Node to the left; a leaf points at itself.
        right: Node to the right; likewise.
        value: What a leaf adds to the log-odds.
        base: Log-odds before the first tree.
        depth: Steps from a root to its deepest leaf.
    """

    feature: npt.NDArray[np.int32]
    threshold: Values
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: Values
    base: float
    depth: int

    def logits(self, rows: Values) -> Values:
        """``[n]`` log-odds of ``[n, m]`` rows."""
        parts = [
            self._of(rows[start : start + _ROWS_AT_ONCE])
            for start in range(0, len(rows), _ROWS_AT_ONCE)
        ]
        return np.concatenate([np.empty(0), *parts])

    def _of(self, rows: Values) -> Values:
        tree = np.arange(len(self.value))
        node = np.zeros((len(rows), tree.size), dtype=np.int64)
        each = np.arange(len(rows))[:, None]
        for _ in range(self.depth):
            goes_left = rows[each, self.feature[tree, node]] <= self.threshold[tree, node]
            node = np.where(goes_left, self.left[tree, node], self.right[tree, node])
        return np.asarray(self.base + self.value[tree, node].sum(axis=1))


class Boosting(Baseline):
    """Boosted trees; their size and number are chosen on validation."""

    name = "boosting"
    uses_seed = True

    def _fit(self, records: Records, labels: Labels, held: Records, held_labels: Labels) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        rows, held_rows = summarise(records)[0], summarise(held)[0]
        best = (-1.0, None, 0)
        for settings in _SETTINGS:
            grown = HistGradientBoostingClassifier(
                max_iter=_ROUNDS, early_stopping=False, random_state=self.seed,
                max_features=0.3, **settings,
            ).fit(rows, labels)  # fmt: skip
            stages = list(grown.staged_decision_function(held_rows))
            found = [auc(held_labels, stage) for stage in stages]
            rounds = int(np.argmax(found)) + 1
            best = max(best, (found[rounds - 1], grown, rounds), key=lambda one: one[0])
        self._trees = trees_of(best[1], best[2])

    def _logits(self, records: Records) -> Values:
        return self._trees.logits(summarise(records)[0])

    def _state(self) -> tuple[dict[str, Any], Arrays]:
        arrays = {n: v for n, v in vars(self._trees).items() if isinstance(v, np.ndarray)}
        return {"base": self._trees.base, "depth": self._trees.depth}, arrays

    def _restore(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        self._trees = Trees(**arrays, base=float(values["base"]), depth=int(values["depth"]))


def trees_of(grown: Any, rounds: int) -> Trees:
    """The first ``rounds`` trees of a fitted ``HistGradientBoostingClassifier`` as arrays."""
    nodes = [one[0].nodes for one in grown._predictors[:rounds]]
    size = max(map(len, nodes))
    shape = (len(nodes), size)
    own = np.tile(np.arange(size, dtype=np.int32), (len(nodes), 1))
    feature, left, right = np.zeros(shape, dtype=np.int32), own.copy(), own.copy()
    threshold, value = np.zeros(shape), np.zeros(shape)
    for place, tree in enumerate(nodes):
        inner = np.flatnonzero(tree["is_leaf"] == 0)
        feature[place, inner] = tree["feature_idx"][inner]
        threshold[place, inner] = tree["num_threshold"][inner]
        left[place, inner], right[place, inner] = tree["left"][inner], tree["right"][inner]
        value[place, : len(tree)] = tree["value"]
    depth = max(int(tree["depth"].max()) for tree in nodes)
    base = float(np.ravel(grown._baseline_prediction)[0])
    return Trees(feature, threshold, left, right, value, base, depth)
