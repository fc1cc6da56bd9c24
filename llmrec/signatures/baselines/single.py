"""A single score as a risk: a sigmoid of it, rising or falling as the labels say."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmrec.evaluation.metrics.pairs import auc
from llmrec.signatures.baselines.base import Arrays, Baseline, Labels, Records, Values
from llmrec.signatures.baselines.scores import score_records
from llmrec.signatures.los_net.config import Policy, Task

_CUT = 50.0


class SingleScore(Baseline):
    """One of :data:`~llmrec.signatures.baselines.scores.SCORES`, turned the way it is right.

    Which way it is turned is learnt: more surprise usually means a wrong answer, but a method to be
    beaten gets the benefit of the labels.

    Args:
        name: Name of the score.
        task: As in :class:`~llmrec.signatures.baselines.base.Baseline`, like the others.
        seed: Likewise.
        fingerprint_policy: Likewise.
    """

    def __init__(
        self,
        name: str,
        task: Task = "correctness",
        seed: int = 0,
        fingerprint_policy: Policy = "tokenizer",
    ) -> None:
        super().__init__(task, seed, fingerprint_policy)
        self.name = name
        self._fill = self._middle = self._intercept = 0.0
        self._spread = self._slope = 1.0

    def _fit(self, records: Records, labels: Labels, held: Records, held_labels: Labels) -> None:
        from sklearn.linear_model import LogisticRegression

        scores = score_records(self.name, [*records, *held])
        every = np.concatenate([labels, held_labels])
        known = scores[~np.isnan(scores)]
        self._fill = float(np.median(known)) if known.size else 0.0
        scores = np.where(np.isnan(scores), self._fill, scores)
        self._middle, self._spread = float(scores.mean()), float(scores.std()) or 1.0
        z = self._standard(scores)
        fitted = LogisticRegression(C=1e4).fit(z[:, None], every)
        direction = 1.0 if auc(every, z) >= 0.5 else -1.0
        # the sigmoid may turn the other way where few odd scores outweigh the rest
        self._slope = direction * max(abs(float(fitted.coef_[0, 0])), 1e-3)
        self._intercept = float(fitted.intercept_[0])

    def _standard(self, scores: Values) -> Values:
        return np.asarray((scores - self._middle) / self._spread)

    def _logits(self, records: Records) -> Values:
        scores = score_records(self.name, records)
        z = self._standard(np.where(np.isnan(scores), self._fill, scores))
        return np.asarray(self._slope * np.clip(z, -_CUT, _CUT) + self._intercept)

    def _state(self) -> tuple[dict[str, Any], Arrays]:
        names = ("_fill", "_middle", "_spread", "_slope", "_intercept")
        return {name.strip("_"): getattr(self, name) for name in names}, {}

    def _restore(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        for name, value in values.items():
            setattr(self, f"_{name}", float(value))
