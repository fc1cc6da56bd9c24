"""Thresholds by cost, by false alarms, and by precision. What lies above one is flagged.

Cost and precision are read off the sample, with no allowance for its size; the false-alarm rate
holds for new items, on average over samples.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from llmrec.errors import ArtifactError, ConfigError
from llmrec.signatures.decision.labelled import Values, checked_pairs

Rule = Literal["cost", "false_alarms", "precision", "promise"]


@dataclass(frozen=True)
class Threshold:
    """A threshold, how it was chosen, and what it does on the sample.

    Attributes:
        value: Flag where the risk is above this; infinity flags nothing.
        rule: How it was chosen.
        target: The wanted rate or precision, the cost of a miss over that of a false alarm, or the
            error budget of a promise.
        flagged: Share of all items that are flagged.
        false_alarms: Share of right items that are flagged; None where there is none.
        caught: Share of wrong items that are flagged; None where there is none.
        precision: Share of flagged items that are wrong; None where none is flagged.
    """

    value: float
    rule: Rule
    target: float | None = None
    flagged: float | None = None
    false_alarms: float | None = None
    caught: float | None = None
    precision: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; infinity, which JSON does not have, is a text."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"value": self.value if math.isfinite(self.value) else str(self.value)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Threshold":
        """Inverse of :meth:`to_json`.

        Raises:
            ArtifactError: A value is missing or of another kind.
        """
        try:
            given = {name: values[name] for name in cls.__dataclass_fields__}
            return cls(**(given | {"value": float(given["value"])}))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"a saved threshold is damaged: {error!r}.") from None


def by_cost(
    risks: npt.ArrayLike, labels: npt.ArrayLike, missed: float, false_alarm: float
) -> Threshold:
    """The threshold with the least mean cost; of equal ones the one that flags least.

    Args:
        risks: ``[n]``, higher for more risk.
        labels: ``[n]`` 0, or 1 for what went wrong.
        missed: Cost of a wrong item that is not flagged.
        false_alarm: Cost of a right item that is flagged.

    Raises:
        ConfigError: A cost is negative, or both are 0.
        DataError: Labels are of one class, or do not fit the risks.
    """
    if missed < 0 or false_alarm < 0 or missed + false_alarm == 0:
        raise ConfigError(f"costs are {missed} and {false_alarm}; give two numbers from 0 up.")
    given, found = checked_pairs(labels, risks)
    levels, wrong_kept, right_kept = _kept(given, found)
    costs = missed * wrong_kept + false_alarm * (right_kept[-1] - right_kept)
    best = levels.size - 1 - int(np.argmin(costs[::-1]))
    target = missed / false_alarm if false_alarm else None
    return describe(float(levels[best]), "cost", target, given, found)


def by_false_alarms(risks: npt.ArrayLike, labels: npt.ArrayLike, rate: float) -> Threshold:
    """The strictest threshold that flags a right item with probability at most ``rate``.

    It is the ceil((n + 1)(1 - rate))-th smallest risk of the ``n`` right items, so that the rate
    holds for a new right item, exchangeable with those, and not only for the sample (Vovk et al.
    2005). Too few right items give infinity: nothing is flagged.

    Raises:
        ConfigError: ``rate`` is no share.
        DataError: Labels are of one class, or do not fit the risks.
    """
    require_share("rate", rate)
    given, found = checked_pairs(labels, risks)
    right = np.sort(found[given == 0])
    place = math.ceil((right.size + 1) * (1 - rate) - 1e-9)
    value = float(right[place - 1]) if place <= right.size else math.inf
    return describe(value, "false_alarms", rate, given, found)


def by_precision(risks: npt.ArrayLike, labels: npt.ArrayLike, precision: float) -> Threshold:
    """The threshold that flags most while at least a share ``precision`` of the flagged is wrong.

    Infinity where no threshold does.

    Raises:
        ConfigError: ``precision`` is no share.
        DataError: Labels are of one class, or do not fit the risks.
    """
    if not 0 < precision <= 1:
        raise ConfigError(f"precision is {precision}; expected a share above 0, up to 1.")
    given, found = checked_pairs(labels, risks)
    levels, wrong_kept, right_kept = _kept(given, found)
    wrong, right = wrong_kept[-1] - wrong_kept, right_kept[-1] - right_kept
    flagged = wrong + right
    precise = np.divide(wrong, flagged, out=np.zeros_like(wrong), where=flagged > 0)
    good = np.flatnonzero(precise >= precision - 1e-12)
    value = float(levels[good[0]]) if good.size else math.inf
    return describe(value, "precision", precision, given, found)


def describe(
    value: float, rule: Rule, target: float | None, labels: Values, risks: Values
) -> Threshold:
    """What a threshold does on a sample.

    Args:
        value: Flag where the risk is above this.
        rule: How it was chosen.
        target: What was wanted.
        labels: ``[n]`` 0, or 1 for what went wrong.
        risks: ``[n]``.
    """
    flagged = risks > value
    precision = float(labels[flagged].mean()) if flagged.any() else None
    return Threshold(
        value,
        rule,
        target,
        float(flagged.mean()),
        _share(flagged[labels == 0]),
        _share(flagged[labels == 1]),
        precision,
    )


def _kept(labels: Values, risks: Values) -> tuple[Values, Values, Values]:
    """Possible thresholds, -inf among them, and wrong and right items not flagged at each."""
    order = np.argsort(risks, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(risks[order]) != 0, True))
    wrong = np.cumsum(labels[order])[ends]
    levels = np.append(-np.inf, risks[order][ends])
    return levels, np.append(0.0, wrong), np.append(0.0, ends + 1 - wrong)


def require_share(name: str, value: float) -> None:
    """Refuse what is no share.

    Args:
        name: What it is called.
        value: The share.

    Raises:
        ConfigError: It does not lie between 0 and 1.
    """
    if not 0 < value < 1:
        raise ConfigError(f"{name} is {value}; expected a share between 0 and 1, like 0.05.")


def _share(flagged: npt.NDArray[np.bool_]) -> float | None:
    return float(flagged.mean()) if flagged.size else None
