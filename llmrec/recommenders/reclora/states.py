"""What gates read: states of the frozen CTR model, scaled; or, as a control, somebody else's.

States are computed without labels, in evaluation mode and without gradient, by the same call in
training and in serving. Means, deviations and directions are those of the rows that gates were
trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.adapters.config import GateInput
from llmrec.data.histories import Histories
from llmrec.errors import DataError
from llmrec.recommenders.ctr import CTRModel
from llmrec.recommenders.ctr.users import hashed_ids

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]

_LEAST_VARIANCE = 1e-3  # of the largest; directions with less are not blown up further
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)


@dataclass(frozen=True, eq=False)
class Strangers:
    """States of training rows, one of which stands in for everybody's own.

    Attributes:
        keys: ``[m]`` uint64 hashes of the rows' users, in order.
        states: ``[m, d]`` scaled states.
    """

    keys: UInt64
    states: Float32

    @classmethod
    def of(cls, users: pl.Series, states: Float32) -> "Strangers":
        """Keep the states of some users.

        Args:
            users: ``[m]``.
            states: ``[m, d]``.

        Raises:
            DataError: All rows are of one user.
        """
        keys = hashed_ids(users)
        order = np.argsort(keys, kind="stable")
        if keys[order[0]] == keys[order[-1]]:
            raise DataError(
                "gate_control=shuffled gives everybody the state of somebody else, but the rows "
                "that gates learn from are of one user alone."
            )
        return cls(keys[order], states[order])

    def instead_of(self, histories: Histories) -> Float32:
        """``[n, d]`` a state of somebody else for every row.

        It is the same for the same user, moment and newest event, and another person's at every
        moment, so that it cannot stand for the user's id either.
        """
        users = hashed_ids(histories.user_ids)
        first, last = (np.searchsorted(self.keys, users, side) for side in ("left", "right"))
        others = (len(self.keys) - (last - first)).astype(np.uint64)
        place = (_mixed(histories, users) % others).astype(np.int64)
        return self.states[place + (place >= first) * (last - first)]  # steps over the user's own


@dataclass(frozen=True, eq=False)
class GateInputs:
    """See the module.

    Attributes:
        kind: ``user`` or ``instance``.
        mean: ``[d]`` of the training rows' states.
        deviation: ``[d]``.
        whitening: ``[d, d]`` applied after mean and deviation, so that the training rows' numbers
            are uncorrelated and of variance 1; None leaves them as they are.
        strangers: For the control ``shuffled``: whose states stand in for everybody's own; None
            without it.
    """

    kind: GateInput
    mean: Float32
    deviation: Float32
    whitening: Float32 | None = None
    strangers: Strangers | None = None

    @classmethod
    def fit(
        cls,
        kind: GateInput,
        states: Float32,
        shuffled_among: pl.Series | None = None,
        whitened: bool = False,
    ) -> "GateInputs":
        """Learn the scale from the states of the training rows ``[n, d]``.

        Args:
            kind: What gates read.
            states: Of the training rows.
            shuffled_among: ``[n]`` the rows' users, to give every row somebody else's state.
            whitened: Make the numbers of a state uncorrelated, too.

        Raises:
            DataError: Nobody else is there.
        """
        spread = states.std(axis=0)
        mean, deviation = states.mean(axis=0), np.where(spread > 1e-6, spread, 1.0)
        found = cls(kind, mean.astype(np.float32), deviation.astype(np.float32))
        if whitened:
            found = replace(found, whitening=_whitening(found.scaled(states)))
        if shuffled_among is None:
            return found
        return replace(found, strangers=Strangers.of(shuffled_among, found.scaled(states)))

    def scaled(self, states: Float32) -> Float32:
        """States of the CTR model, scaled."""
        found = np.asarray((states - self.mean) / self.deviation, dtype=np.float32)
        return found if self.whitening is None else found @ self.whitening

    def of(self, ctr: CTRModel[Any], histories: Histories, items: Int32 | None) -> Float32:
        """What gates read for histories and items: ``[n, d]`` float32.

        Args:
            ctr: The frozen CTR model.
            histories: ``[n]``.
            items: ``[n]`` item codes; not read by gates of kind ``user``.
        """
        if self.strangers is not None:
            return self.strangers.instead_of(histories)
        return self.scaled(raw_states(ctr, self.kind, histories, items))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What has to be saved and is about no single user."""
        found: dict[str, npt.NDArray[Any]] = {"mean": self.mean, "deviation": self.deviation}
        return found if self.whitening is None else found | {"whitening": self.whitening}

    def personal_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What has to be saved apart from that: states of single users."""
        kept = self.strangers
        return {} if kept is None else {"strangers": kept.states, "stranger_keys": kept.keys}

    @classmethod
    def from_arrays(cls, kind: GateInput, arrays: Mapping[str, npt.NDArray[Any]]) -> "GateInputs":
        """Inverse of :meth:`arrays` and :meth:`personal_arrays` together."""
        states = arrays.get("strangers")
        strangers = None if states is None else Strangers(arrays["stranger_keys"], states)
        return cls(kind, arrays["mean"], arrays["deviation"], arrays.get("whitening"), strangers)


def raw_states(
    ctr: CTRModel[Any], kind: GateInput, histories: Histories, items: Int32 | None
) -> Float32:
    """States as the CTR model gives them: ``[n, d]`` float32."""
    if kind == "user":
        return ctr.user_state(histories)
    assert items is not None
    return ctr.instance_state(histories, histories.vocabulary.decode(items))


def _whitening(scaled: Float32) -> Float32:
    """``[d, d]`` that makes states ``[n, d]`` uncorrelated (principal components over deviations).

    A mean of event vectors varies most with how much somebody likes in general; what somebody
    likes lies in directions that vary little, which gates would otherwise learn late.
    """
    spread = np.atleast_2d(np.cov(scaled.astype(np.float64), rowvar=False, ddof=0))  # also of one
    variances, directions = np.linalg.eigh(spread)
    least = max(_LEAST_VARIANCE * float(variances.max()), np.finfo(np.float64).tiny)
    return np.asarray(directions / np.sqrt(np.maximum(variances, least)), dtype=np.float32)


def _mixed(histories: Histories, users: UInt64) -> UInt64:
    """``[n]`` numbers that are the same for the same user, moment and newest event."""
    lengths = histories.lengths
    newest = np.zeros(len(histories), dtype=np.uint64)
    filled = np.flatnonzero(lengths)
    newest[filled] = histories.items[histories.offsets[filled + 1] - 1].astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = users * np.uint64(_ODD[0])
        mixed ^= (lengths.astype(np.uint64) + np.uint64(1)) * np.uint64(_ODD[1])
        mixed ^= newest * np.uint64(_ODD[2])
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(_ODD[0])
    return np.asarray(mixed >> np.uint64(33), dtype=np.uint64)
