"""Logistic regression: on summary statistics, and on the words of the text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmrec.errors import DataError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.signatures.baselines.base import Arrays, Baseline, Labels, Records, Values
from llmrec.signatures.baselines.summary import summarise

_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
_WORD_STRENGTHS = (0.1, 1.0, 10.0)
_BUCKETS = 2**16


class Logistic(Baseline):
    """Logistic regression on the statistics of ``summary``, its strength chosen on validation."""

    name = "logistic"

    def _fit(self, records: Records, labels: Labels, held: Records, held_labels: Labels) -> None:
        rows, _ = summarise(records)
        self._middle, self._spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-9)
        self._weights, self._intercept = _best_fit(
            self._standard(rows),
            labels,
            self._standard(summarise(held)[0]),
            held_labels,
            _STRENGTHS,
        )

    def _standard(self, rows: Values) -> Values:
        return np.asarray(np.clip((rows - self._middle) / self._spread, -10.0, 10.0))

    def _logits(self, records: Records) -> Values:
        return np.asarray(self._standard(summarise(records)[0]) @ self._weights + self._intercept)

    def _state(self) -> tuple[dict[str, Any], Arrays]:
        arrays = {"middle": self._middle, "spread": self._spread, "weights": self._weights}
        return {"intercept": self._intercept}, arrays

    def _restore(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        self._intercept = float(values["intercept"])
        self._middle, self._spread = arrays["middle"], arrays["spread"]
        self._weights = arrays["weights"]


class BagOfWords(Baseline):
    """Words and pairs of words of the text alone: what can be told without the model.

    The blind control: where it does well on members, members and non-members differ in topic or
    date, and no figure of a detector means what it seems to.
    """

    name = "bag_of_words"

    def _fit(self, records: Records, labels: Labels, held: Records, held_labels: Labels) -> None:
        self._weights, self._intercept = _best_fit(
            _words(records), labels, _words(held), held_labels, _WORD_STRENGTHS
        )

    def _logits(self, records: Records) -> Values:
        return np.asarray(_words(records) @ self._weights + self._intercept)

    def _state(self) -> tuple[dict[str, Any], Arrays]:
        return {"intercept": self._intercept}, {"weights": self._weights}

    def _restore(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        self._intercept, self._weights = float(values["intercept"]), arrays["weights"]


def _words(records: Records) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [_text(record, place) for place, record in enumerate(records)]
    # it refuses to read nothing, so an empty text is read and dropped
    return HashingVectorizer(ngram_range=(1, 2), n_features=_BUCKETS).transform([*texts, ""])[:-1]


def _text(record: Any, place: int) -> str:
    if record.text is not None:
        return str(record.text)
    if record.tokens is not None:
        return "".join(record.tokens)
    raise DataError(f"bag_of_words needs the text of every record, and record {place} has none.")


def _best_fit(
    rows: Any, labels: Labels, held: Any, held_labels: Labels, strengths: Sequence[float]
) -> tuple[Values, float]:
    """Weights and intercept of the strength with the largest AUC on the rows held out."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # products of small matrices gain nothing from threads, and lose much beside another job
    with threadpool_limits(1):
        fits = [LogisticRegression(C=c, max_iter=300).fit(rows, labels) for c in strengths]
    judged = [auc(held_labels, fit.decision_function(held)) for fit in fits]
    best = fits[int(np.argmax(judged))]
    return best.coef_[0], float(best.intercept_[0])
