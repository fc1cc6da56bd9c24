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

from llmrec.adapters.config import GateInput
from llmrec.data.histories import Histories
from llmrec.recommenders.ctr import CTRModel
from llmrec.recommenders.ctr.users import hashed_ids

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

_LEAST_VARIANCE = 1e-3  # of the largest; directions with less are not blown up further
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)


@dataclass(frozen=True, eq=False)
class GateInputs:
    """See the module.

    Attributes:
        kind: ``user`` or ``instance``.
        mean: ``[d]`` of the training rows' states.
        deviation: ``[d]``.
        whitening: ``[d, d]`` applied after mean and deviation, so that the training rows' numbers
            are uncorrelated and of variance 1; None leaves them as they are.
        strangers: ``[m, d]`` scaled states of training rows, one of which stands in for every
            row's own (the control ``shuffled``); None without that control.
    """

    kind: GateInput
    mean: Float32
    deviation: Float32
    whitening: Float32 | None = None
    strangers: Float32 | None = None

    @classmethod
    def fit(
        cls, kind: GateInput, states: Float32, shuffled: bool, whitened: bool = False
    ) -> "GateInputs":
        """Learn the scale from the states of the training rows ``[n, d]``.

        Args:
            kind: What gates read.
            states: Of the training rows.
            shuffled: Keep the scaled states, to give every row somebody else's.
            whitened: Make the numbers of a state uncorrelated, too.
        """
        spread = states.std(axis=0)
        mean, deviation = states.mean(axis=0), np.where(spread > 1e-6, spread, 1.0)
        found = cls(kind, mean.astype(np.float32), deviation.astype(np.float32))
        if whitened:
            found = replace(found, whitening=_whitening(found.scaled(states)))
        return replace(found, strangers=found.scaled(states)) if shuffled else found

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
            return self.strangers[_drawn(histories, len(self.strangers))]
        return self.scaled(raw_states(ctr, self.kind, histories, items))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What has to be saved."""
        found: dict[str, npt.NDArray[Any]] = {"mean": self.mean, "deviation": self.deviation}
        further = {"whitening": self.whitening, "strangers": self.strangers}
        return found | {name: array for name, array in further.items() if array is not None}

    @classmethod
    def from_arrays(cls, kind: GateInput, arrays: Mapping[str, npt.NDArray[Any]]) -> "GateInputs":
        """Inverse of :meth:`arrays`."""
        whitening, strangers = arrays.get("whitening"), arrays.get("strangers")
        return cls(kind, arrays["mean"], arrays["deviation"], whitening, strangers)


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
    variances, directions = np.linalg.eigh(np.cov(scaled.astype(np.float64), rowvar=False, ddof=0))
    least = max(_LEAST_VARIANCE * float(variances.max()), np.finfo(np.float64).tiny)
    return np.asarray(directions / np.sqrt(np.maximum(variances, least)), dtype=np.float32)


def _drawn(histories: Histories, size: int) -> npt.NDArray[np.int64]:
    """``[n]`` whose state each row gets: the same for the same user, moment and newest event.

    Another person's at every moment, so that it cannot stand for the user's id either.
    """
    lengths = histories.lengths
    newest = np.zeros(len(histories), dtype=np.uint64)
    filled = np.flatnonzero(lengths)
    newest[filled] = histories.items[histories.offsets[filled + 1] - 1].astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = hashed_ids(histories.user_ids) * np.uint64(_ODD[0])
        mixed ^= (lengths.astype(np.uint64) + np.uint64(1)) * np.uint64(_ODD[1])
        mixed ^= newest * np.uint64(_ODD[2])
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(_ODD[0])
    return np.asarray((mixed >> np.uint64(33)) % np.uint64(size), dtype=np.int64)
