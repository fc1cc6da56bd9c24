"""From scores to probabilities: temperature, Platt's sigmoid, isotonic regression.

A score is any real number, higher for more risk; for a model that gives probabilities it is their
log-odds (:func:`log_odds`). Fit on items that were used for nothing else. All three keep the order
of the items (isotonic may make neighbours equal), so curves and AUC stay; a calibration that would
turn the order round is refused, since labels are then upside down.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from llmrec.errors import ArtifactError, ConfigError, DataError, nearest_name
from llmrec.evaluation.metrics.pairs import logloss_per_pair
from llmrec.signatures.decision.labelled import (
    Values,
    checked_pairs,
    checked_risks,
    group_codes,
)

Method = Literal["temperature", "platt", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)

LEAST_FOR_STEPS = 1000
"""Items from which on isotonic regression is worth trying."""

_LEAST = 1e-6  # probabilities nearer to 0 and 1 than this have the same log-odds
_FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """A fitted map from scores to probabilities.

    Attributes:
        method: How it was made.
        slope: Of the sigmoid; 1 / temperature.
        intercept: Of the sigmoid; 0 for a temperature.
        knots: Scores between which isotonic regression interpolates.
        levels: Probabilities at the knots.
        n: Items it was fitted on.
    """

    method: Method
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = field(default=(), repr=False)
    levels: tuple[float, ...] = field(default=(), repr=False)
    n: int = 0

    def __call__(self, scores: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Probabilities of risk: ``[n]`` float32.

        Raises:
            DataError: A score is NaN, or there is none.
        """
        found = checked_risks(scores)
        if self.method == "isotonic":
            return np.interp(found, self.knots, self.levels).astype(np.float32)
        return np.asarray(expit(self.slope * found + self.intercept), dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibration":
        """Inverse of :meth:`to_json`.

        Raises:
            ArtifactError: A value is missing or of another kind.
        """
        try:
            found = cls(
                values["method"],
                float(values["slope"]),
                float(values["intercept"]),
                tuple(map(float, values["knots"])),
                tuple(map(float, values["levels"])),
                int(values["n"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"a saved calibration is damaged: {error!r}.") from None
        if found.method not in METHODS or len(found.knots) != len(found.levels):
            raise ArtifactError(f"a saved calibration is damaged: method {found.method!r}.")
        return found


def log_odds(probabilities: npt.ArrayLike) -> Values:
    """Scores of a model that gives probabilities; those at 0 and 1 stay finite.

    >>> log_odds([0.5]).tolist()
    [0.0]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("log-odds need probabilities between 0 and 1; give scores as they are.")
    p = np.clip(p, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def fit_calibration(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    method: Method = "platt",
    weights: npt.ArrayLike | None = None,
) -> Calibration:
    """Fit one of :data:`METHODS`.

    ``temperature`` divides log-odds by one number (Guo et al. 2017), ``platt`` shifts them too
    (Platt 1999, with his smoothed targets), ``isotonic`` fits any rising curve (Zadrozny and Elkan
    2002) and wants a thousand items or so.

    Args:
        scores: Real numbers, higher for more risk.
        labels: 0, or 1 for what went wrong.
        method: One of :data:`METHODS`.
        weights: ``[n]`` how much an item counts, such as :func:`group_weights` says; None counts
            all alike.

    Raises:
        DataError: Labels are of one class or upside down, or labels or weights do not fit the
            scores.
        ConfigError: There is no such method.
    """
    given, found = checked_pairs(labels, scores)
    if method not in METHODS:
        raise ConfigError(f"unknown calibration {method!r}{nearest_name(method, METHODS)}.")
    each = _checked_weights(weights, given.size)
    fit: Mapping[Method, Callable[[Values, Values, Values], Calibration]] = {
        "temperature": _temperature,
        "platt": _platt,
        "isotonic": _isotonic,
    }
    return fit[method](found, given, each)


def choose_calibration(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    weights: npt.ArrayLike | None = None,
) -> Calibration:
    """The method with the least log-loss in five folds that tear no group, fitted on everything.

    ``weights`` are those of :func:`fit_calibration`, and weigh the loss, too.

    Isotonic regression takes part from 1,000 items on: with fewer it makes steps of noise, in which
    unlike items get one probability.

    Raises:
        DataError: As for :func:`fit_calibration`.
    """
    given, found = checked_pairs(labels, scores)
    codes = group_codes(groups, given.size)
    folds = np.random.default_rng([seed, 13]).permutation(codes.max() + 1)[codes] % _FOLDS
    each = _checked_weights(weights, given.size)
    tried = METHODS if given.size >= LEAST_FOR_STEPS else METHODS[:2]
    losses = {method: _held_out_loss(found, given, each, folds, method) for method in tried}
    return fit_calibration(found, given, min(tried, key=lambda method: losses[method]), each)


def group_weights(groups: Sequence[Hashable]) -> Values:
    """``[n]`` weights of items with which all groups count alike; their mean is 1.

    Where groups differ in how often a score is right, a few large ones would otherwise decide what
    is said about groups still to come.

    >>> group_weights(["a", "a", "b"]).tolist()
    [0.75, 0.75, 1.5]
    """
    codes = group_codes(groups, len(groups))
    sizes = np.bincount(codes)
    return np.asarray(len(groups) / (sizes.size * sizes[codes]), dtype=np.float64)


def _checked_weights(weights: npt.ArrayLike | None, n: int) -> Values:
    """Weights whose mean is 1."""
    if weights is None:
        return np.ones(n)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n,) or not (given > 0).all() or not np.isfinite(given).all():
        raise DataError(f"{n} items need {n} weights above 0, as many as there are items.")
    return np.asarray(given / given.mean(), dtype=np.float64)


def _held_out_loss(
    scores: Values, labels: Values, weights: Values, folds: Any, method: Method
) -> float:
    held = np.full(labels.size, np.nan)
    for fold in np.unique(folds):
        inside = folds == fold
        rest = labels[~inside]
        if not rest.size or rest.min() == rest.max():
            return float("inf")  # too few items to compare by: the first method is taken
        try:
            fitted = fit_calibration(scores[~inside], rest, method, weights[~inside])
            held[inside] = fitted(scores[inside])
        except DataError:
            return float("inf")
    return float(np.average(logloss_per_pair(labels, held), weights=weights))


def _temperature(scores: Values, labels: Values, weights: Values) -> Calibration:
    slope, _ = _sigmoid(scores, labels, weights, with_intercept=False)
    return Calibration("temperature", slope, 0.0, n=labels.size)


def _platt(scores: Values, labels: Values, weights: Values) -> Calibration:
    wrong, right = (weights * labels).sum(), (weights * (1 - labels)).sum()
    smoothed = np.where(labels == 1, (wrong + 1) / (wrong + 2), 1 / (right + 2))
    # the fit is better conditioned on scores of one scale
    middle, spread = float(scores.mean()), float(scores.std()) or 1.0
    slope, intercept = _sigmoid((scores - middle) / spread, smoothed, weights, with_intercept=True)
    return Calibration("platt", slope / spread, intercept - slope * middle / spread, n=labels.size)


def _isotonic(scores: Values, labels: Values, weights: Values) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    empty = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    fitted = empty.fit(scores, labels, sample_weight=weights)
    levels = fitted.y_thresholds_
    if levels[-1] - levels[0] < 1e-9 and scores.min() < scores.max():
        raise _upside_down()
    # n items cannot show that something never happens
    least = 1 / (labels.size + 2)
    clipped = np.clip(levels, least, 1 - least)
    knots = tuple(float(value) for value in fitted.X_thresholds_)
    return Calibration("isotonic", 1.0, 0.0, knots, tuple(map(float, clipped)), labels.size)


def _sigmoid(
    scores: Values, targets: Values, weights: Values, with_intercept: bool
) -> tuple[float, float]:
    """Slope and intercept with the least log-loss; the loss is convex in both."""

    def loss(line: Values) -> tuple[float, Values]:
        z = line[0] * scores + (line[1] if with_intercept else 0.0)
        off = weights * (expit(z) - targets) / targets.size
        gradient = np.array([(off * scores).sum(), off.sum()])
        value = (weights * (np.logaddexp(0.0, z) - targets * z)).mean()
        return float(value), gradient[: line.size]

    start = np.array([1.0, 0.0][: 2 if with_intercept else 1])
    # wholly separated items would take the slope to infinity
    bounds = [(-1e3, 1e3), (-1e3, 1e3)][: start.size]
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 500}
    found = minimize(
        loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options
    ).x.tolist()
    if found[0] <= 0 and scores.min() < scores.max():
        raise _upside_down()
    return found[0], found[1] if with_intercept else 0.0


def _upside_down() -> DataError:
    return DataError(
        "risk falls as the score rises, so no rising curve fits: the labels are most likely upside "
        "down (1 must mean wrong), or high scores mean good."
    )
