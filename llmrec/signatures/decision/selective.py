"""Answer where it is safe: a bound on errors among what is answered, with a stated certainty.

Thresholds are walked from strict to loose; a threshold is accepted while the errors among the items
it answers are few enough to rule out, with probability ``1 - delta``, that their rate is above
``alpha``; the walk ends at the first that is not (fixed-sequence testing: Wiens 2003; Angelopoulos
et al. 2021, "Learn then Test"). The test is the binomial tail, so it is exact for finite samples.

A walk that stumbles over a few errors among the surest items misses everything after them; more
than one start helps. Every start has an equal part of ``delta``, and a walk that reaches the next
start brings its part along (the fallback procedure of Wiens 2003; Wiens and Dmitrienko 2005):
together they break the promise with probability ``delta`` at most.

Assumed: calibration items and later ones are exchangeable (same questions, model, server,
settings), and items are independent. Where questions repeat, give groups: one item of each is used.
The walk over calibration scores is the walk over all real thresholds, since the statistic changes
nowhere else. A start is a share of the items, a rank and no fixed threshold: exact where the error
rate does not fall as the threshold rises through the start. Give ``thresholds`` chosen beforehand
to need no such assumption.
"""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from llmrec.errors import ArtifactError, ConfigError
from llmrec.signatures.decision.labelled import Values, checked_pairs, one_per_group

STARTS = (0.2,)
"""Chosen on answer letters that are not tested (``eval/conformal_starts.py``)."""


@dataclass(frozen=True)
class SelectiveAnswering:
    """A threshold and what is promised about it; a :class:`~llmrec.contracts.Guarantee`.

    Attributes:
        threshold: Answer where the risk is at most this; None where nothing can be certified.
        alpha: Largest error rate among what is answered.
        delta: Probability, over calibration samples, that the promise is broken.
        n: Items of the calibration, one per group.
        answered: Of them, how many the threshold answers.
        errors: Of those, how many are wrong.
        needed: Items with which certifying is possible at all, if none is wrong.
        unit: What an item is: ``"items"``, or ``"groups"`` where one item of each was drawn.
    """

    threshold: float | None
    alpha: float
    delta: float
    n: int
    answered: int
    errors: int
    needed: int
    unit: Literal["items", "groups"] = "items"

    @property
    def coverage(self) -> float:
        """Share of the calibration items that the threshold answers."""
        return self.answered / self.n

    @property
    def sentence(self) -> str:
        """The promise, or why there is none."""
        if self.threshold is None:
            few = self.n < self.needed
            why = (
                f"{self.n} calibration {self.unit} are too few, at least {self.needed} are needed"
                if few
                else "already the least risky items have too many errors to rule that out"
            )
            return (
                f"Cannot certify an error rate of at most {self.alpha:g} with certainty "
                f"{1 - self.delta:g}: {why}."
            )
        return (
            f"With certainty {1 - self.delta:g}, at most {self.alpha:.1%} of the answers with risk "
            f"up to {self.threshold:.4g} are wrong ({self.errors} of {self.answered} in "
            f"calibration, coverage {self.coverage:.1%}), for {self.unit} exchangeable with those."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, the sentence included."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"coverage": self.coverage, "sentence": self.sentence}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SelectiveAnswering":
        """Inverse of :meth:`to_json`.

        Raises:
            ArtifactError: A value is missing.
        """
        try:
            return cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except KeyError as error:
            raise ArtifactError(f"a saved promise is damaged: it has no {error}.") from None


def certify(
    risks: npt.ArrayLike,
    labels: npt.ArrayLike,
    alpha: float,
    delta: float = 0.05,
    *,
    groups: Sequence[Hashable] | None = None,
    starts: Sequence[float] = STARTS,
    thresholds: npt.ArrayLike | None = None,
    seed: int = 0,
) -> SelectiveAnswering:
    """The loosest threshold up to which the error rate is certified.

    Args:
        risks: ``[n]`` of calibration items, higher for more risk.
        labels: ``[n]`` 0, or 1 for a wrong answer.
        alpha: Error budget: the largest error rate among what is answered.
        delta: Probability of breaking it.
        groups: What belongs together (one question asked in several ways): one item of each group
            is drawn, and the promise is about an item of a new group.
        starts: Shares of the items at which walks begin, rising. A smaller first one may certify
            fewer items that a larger one would miss, and is stopped more easily by a single error;
            more of them leave less of ``delta`` to each. The first alone counts where there are too
            few items for a part of ``delta``.
        thresholds: Fixed beforehand, from strict to loose, instead of the calibration risks.
        seed: Of the draw from groups.

    Raises:
        ConfigError: ``alpha``, ``delta``, ``starts`` or ``thresholds`` are out of range.
        DataError: There is no item, or labels do not fit the risks.
    """
    _check_share("alpha", alpha)
    _check_share("delta", delta)
    given, found = checked_pairs(labels, risks, both=False)
    kept = one_per_group(groups, found.size, seed)
    given, found = given[kept], found[kept]
    needed = items_needed(alpha, delta)
    unit: Literal["items", "groups"] = "items" if kept.size == np.size(labels) else "groups"
    _check_starts(starts)
    levels = np.unique(found) if thresholds is None else _checked_thresholds(thresholds)
    answered, errors = _counts(given, found, levels)
    begins = [0]
    if thresholds is None:
        least = _starting_items(starts, alpha, delta, found.size)
        begins = np.searchsorted(answered, least).tolist()
    last = _walk(bdtr(errors, answered.astype(np.int64), alpha), begins, delta)
    if last is None:
        return SelectiveAnswering(None, alpha, delta, found.size, 0, 0, needed, unit)
    return SelectiveAnswering(
        float(levels[last]),
        alpha,
        delta,
        found.size,
        int(answered[last]),
        int(errors[last]),
        needed,
        unit,
    )


def items_needed(alpha: float, delta: float) -> int:
    """Answers without any error that certify ``alpha``: the least n with (1 - alpha)^n <= delta.

    >>> items_needed(0.05, 0.05)
    59
    """
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def _starting_items(starts: Sequence[float], alpha: float, delta: float, n: int) -> list[int]:
    """Answered items from which each walk begins, as many as its part of ``delta`` needs."""
    needed = items_needed(alpha, delta / len(starts))
    if n < needed:  # decided without a look at the labels
        starts, needed = starts[:1], items_needed(alpha, delta)
    return [max(needed, math.ceil(start * n)) for start in starts]


def _walk(tails: Values, begins: Sequence[int], delta: float) -> int | None:
    """The last threshold that is accepted; None if none is.

    Args:
        tails: Probability of so few errors, at every threshold, if their rate were too large.
        begins: Thresholds at which walks begin, rising.
        delta: Shared by the walks alike.
    """
    level, last = 0.0, None
    for begin, end in itertools.pairwise([*begins, tails.size]):
        level += delta / len(begins)
        steps = int(np.argmin(np.append(tails[begin:end] <= level, False)))
        if steps:
            last = begin + steps - 1
        if steps < end - begin:
            level = 0.0  # what a broken walk had is spent
    return last


def _counts(labels: Values, risks: Values, levels: Values) -> tuple[Values, Values]:
    """Items with a risk of at most each level, and wrong ones among them."""
    order = np.argsort(risks, kind="stable")
    answered = np.searchsorted(risks[order], levels, side="right")
    wrong = np.append(0.0, np.cumsum(labels[order]))
    return answered.astype(np.float64), wrong[answered]


def _checked_thresholds(thresholds: npt.ArrayLike) -> Values:
    levels = np.asarray(thresholds, dtype=np.float64)
    if levels.ndim != 1 or not levels.size or not (np.diff(levels) > 0).all():
        raise ConfigError("thresholds must rise, from strict to loose, and there must be one.")
    return levels


def _check_starts(starts: Sequence[float]) -> None:
    rising = all(one < other for one, other in itertools.pairwise(starts))
    if not starts or not rising or not all(0 < start < 1 for start in starts):
        raise ConfigError(
            f"starts are {list(starts)}; expected rising shares between 0 and 1, at least one."
        )


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{name} is {value}; expected a share between 0 and 1, like 0.05.")
