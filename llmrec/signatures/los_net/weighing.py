"""How much a learnt score counts beside a plain one that needs no labels, decided by few labels.

Both become normal scores by their rank among the labelled records, so that neither scale matters,
and a logistic regression adds them up; the learnt one's weight is shrunk towards 0, where the order
is that of the plain score. The shrinkage is the strongest whose loss in folds is within one
standard error of the least (Breiman et al. 1984, Section 3.4.3): without evidence the plain score
alone remains.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, ndtri
from scipy.stats import rankdata

from llmrec.errors import ArtifactError
from llmrec.signatures.decision.labelled import checked_pairs, checked_risks

Values = npt.NDArray[np.float64]

PENALTIES = (float("inf"), 100.0, 30.0, 10.0, 3.0, 1.0)
"""Of the learnt score's squared weight, from the strongest; infinity leaves it out."""

_OWN_PENALTY = 1.0  # of the plain score's weight, in the same unit: records
_FOLDS = 10
_LEAST_SLOPE = 1e-3  # the plain score never counts against itself


@dataclass(frozen=True)
class NormalScores:
    """A rising curve from scores to what a normal variable has at the same rank.

    Attributes:
        knots: Distinct scores, rising.
        levels: Normal scores there; equal scores have the mean rank.
    """

    knots: Values = field(repr=False)
    levels: Values = field(repr=False)

    @classmethod
    def of(cls, scores: Values) -> Self:
        """The curve on which some scores have a normal distribution."""
        knots, first = np.unique(scores, return_index=True)
        return cls(knots, ndtri((rankdata(scores)[first] - 0.5) / scores.size))

    def __call__(self, scores: Values) -> Values:
        """Normal scores; outside the knots the curve goes on as a line, so no order is lost."""
        inside = np.interp(scores, self.knots, self.levels)
        reach = float(self.knots[-1] - self.knots[0])
        slope = float(self.levels[-1] - self.levels[0]) / reach if reach > 0 else 1.0
        beyond = scores - np.clip(scores, self.knots[0], self.knots[-1])
        return np.asarray(inside + slope * beyond, dtype=np.float64)


@dataclass(frozen=True)
class Weighing:
    """Log-odds of risk from a plain and a learnt score.

    Attributes:
        plain: Curve of the plain score.
        learnt: Curve of the learnt one.
        intercept: Log-odds where both are 0.
        slope: Of the plain score, above 0.
        weight: Of the learnt one, at least 0.
        penalty: What the weight was shrunk with.
    """

    plain: NormalScores
    learnt: NormalScores
    intercept: float
    slope: float
    weight: float
    penalty: float

    def __call__(self, plain: npt.ArrayLike, learnt: npt.ArrayLike) -> Values:
        """Log-odds: ``[n]``.

        Raises:
            DataError: A score is NaN, or there is none.
        """
        one, other = checked_risks(plain), checked_risks(learnt)
        found = self.intercept + self.slope * self.plain(one)
        if self.weight:
            found = found + self.weight * self.learnt(other)
        return np.asarray(found, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "plain": [self.plain.knots.tolist(), self.plain.levels.tolist()],
            "learnt": [self.learnt.knots.tolist(), self.learnt.levels.tolist()],
            "intercept": self.intercept,
            "slope": self.slope,
            "weight": self.weight,
            "penalty": None if np.isinf(self.penalty) else self.penalty,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`.

        Raises:
            ArtifactError: A value is missing or of another kind.
        """
        try:
            curves = [
                NormalScores(*(np.asarray(row, dtype=np.float64) for row in values[name]))
                for name in ("plain", "learnt")
            ]
            line = [float(values[name]) for name in ("intercept", "slope", "weight")]
            penalty = float("inf") if values["penalty"] is None else float(values["penalty"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"a saved weighing of scores is damaged: {error!r}.") from None
        return cls(curves[0], curves[1], line[0], line[1], line[2], penalty)


def weigh(
    plain: npt.ArrayLike, learnt: npt.ArrayLike, labels: npt.ArrayLike, seed: int = 0
) -> Weighing:
    """Find the weights of two scores from labelled records.

    Args:
        plain: ``[n]`` higher for more risk; needs no labels.
        learnt: ``[n]`` higher for more risk, of models that have not learnt from the record.
        labels: ``[n]`` 1 for risk.
        seed: Of the folds.

    Raises:
        DataError: Labels are of one class, or scores and labels do not fit each other.
    """
    given, one = checked_pairs(labels, plain)
    _, other = checked_pairs(labels, learnt)
    curves = NormalScores.of(one), NormalScores.of(other)
    rows = np.stack([np.ones(one.size), curves[0](one), curves[1](other)], axis=1)
    folds = np.random.default_rng([seed, 37]).permutation(one.size) % min(_FOLDS, one.size)
    losses = np.stack([_held_out(rows, given, folds, penalty) for penalty in PENALTIES])
    penalty = PENALTIES[_strongest(losses)]
    intercept, slope, weight = _fit(rows, given, penalty).tolist()
    return Weighing(*curves, intercept, slope, weight, penalty)


def _strongest(losses: Values) -> int:
    """The first row of ``[penalties, n]`` losses whose mean is within an error of the least."""
    apart = losses - losses[losses.mean(axis=1).argmin()]
    errors = apart.std(axis=1) / np.sqrt(apart.shape[1])
    return int(np.argmax(apart.mean(axis=1) <= errors))


def _held_out(rows: Values, labels: Values, folds: npt.NDArray[Any], penalty: float) -> Values:
    found = np.empty(labels.size)
    for fold in np.unique(folds):
        inside = folds == fold
        odds = rows[inside] @ _fit(rows[~inside], labels[~inside], penalty)
        found[inside] = np.logaddexp(0.0, odds) - labels[inside] * odds
    return found


def _fit(rows: Values, labels: Values, penalty: float) -> Values:
    """Intercept, slope and weight with the least penalised loss, which is convex."""
    use = slice(None) if np.isfinite(penalty) else slice(2)
    some = rows[:, use]
    shrink = np.array([1e-3, _OWN_PENALTY, penalty])[use]
    bounds = [(None, None), (_LEAST_SLOPE, None), (0.0, None)][use]

    def loss(line: Values) -> tuple[float, Values]:
        odds = some @ line
        value = (np.logaddexp(0.0, odds) - labels * odds).sum() + (shrink * line**2).sum() / 2
        return float(value), some.T @ (expit(odds) - labels) + shrink * line

    start = np.array([0.0, 1.0, 0.0])[use]
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return np.append(found, 0.0)[:3]
