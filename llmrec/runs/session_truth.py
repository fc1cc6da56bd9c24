"""What sessions are truly worth, where the data are simulated.

The moment of a case is that of its first target: what happened before has happened, and the session
is written for then. Values are in minutes, see :mod:`llmrec.data.simulator.session_value`. Nothing
here is ever an input of a model or a reason to choose one.
"""

from typing import Self

import numpy as np
import numpy.typing as npt

from llmrec.data.simulator import PRESETS, simulate
from llmrec.data.simulator.truth import Truth
from llmrec.data.splits import Part, Split
from llmrec.evaluation.metrics.lists import category_vectors, intra_list_diversity

Int32Array = npt.NDArray[np.int32]
Values = npt.NDArray[np.float64]


class SessionTruth:
    """The truth about the cases of one part.

    Args:
        truth: Of the simulation that the split was made of.
        split: The split.
        part: Whose cases are judged.
    """

    def __init__(self, truth: Truth, split: Split, part: Part) -> None:
        self._truth = truth
        self.histories = split.cases(part).histories
        data = split.dataset
        times = data.histories.times
        assert times is not None, "simulated data have a clock"
        rows = data.user_vocabulary.encode(self.histories.user_ids).astype(np.int64) - 1
        self._times = times[data.user_offsets[rows] + self.histories.lengths]
        self._categories = category_vectors(data.catalog)

    @classmethod
    def of(cls, split: Split, part: Part) -> Self | None:
        """The truth about a split, or None where the data are not simulated."""
        if split.dataset.name not in PRESETS:
            return None
        simulation = simulate(split.dataset.name)
        if simulation.dataset.fingerprint != split.dataset.fingerprint:
            return None
        return cls(simulation.truth, split, part)

    def values(self, lists: Int32Array) -> Values:
        """``[n]`` true expected minutes of item codes ``[n, m]``, 0 for padding."""
        return self._truth.session_values(self.histories.user_ids, lists, self._times)

    def best(self, m: int) -> tuple[Int32Array, Values]:
        """The best sessions of ``m`` items that a search with the truth finds, and their values."""
        lists, values = self._truth.best_sessions(self.histories.user_ids, m, self._times)
        return lists.astype(np.int32), values

    def diversity(self, lists: Int32Array) -> Values:
        """``[n]`` mean cosine distance between the categories of the items of a list."""
        return intra_list_diversity(lists, self._categories)
