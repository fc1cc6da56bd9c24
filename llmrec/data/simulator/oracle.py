"""A recommender that looks the answer's true probability up: the ceiling for every model.

It knows simulated histories and their beginnings only, found by user and length; a history that
was edited or shortened from the left is refused.
"""

from typing import Self

import numpy as np
import numpy.typing as npt

from llmrec.data.dataset import Dataset
from llmrec.data.histories import Histories, Origin
from llmrec.data.simulator.truth import Truth
from llmrec.data.splits import Cases
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError


class Oracle:
    """Ranks items by the true probability of being next.

    Args:
        truth: The ground truth of the simulation that the histories come from.
        dataset: The data set of that simulation.
    """

    def __init__(self, truth: Truth, dataset: Dataset) -> None:
        self._truth = truth
        self._histories = dataset.histories

    @property
    def vocabulary(self) -> Vocabulary:
        """All items of the simulation."""
        return self._truth.vocabulary

    @property
    def seen(self) -> list[Origin]:
        """Nothing: the oracle is not trained."""
        return []

    def fit(self, train: Histories, valid: Cases | None = None) -> Self:
        """Do nothing; there is nothing to learn."""
        return self

    def score_catalog(self, histories: Histories) -> npt.NDArray[np.float32]:
        """True probability of every item to be the next event: ``[n, items]`` float32.

        Raises:
            UnknownIdError: A user is not of this simulation.
            DataError: A history is not the beginning of that user's simulated history.
        """
        self._require_beginnings(histories)
        exact = self._truth.next_item_probabilities(histories.user_ids, histories.lengths)
        return exact.astype(np.float32)

    def _require_beginnings(self, histories: Histories) -> None:
        """The last item given must be the one that the user had at that position."""
        given = histories.with_vocabulary(self.vocabulary)
        users = self._truth.users.encode(histories.user_ids).astype(np.int64) - 1
        lengths = histories.lengths
        rows = np.flatnonzero((lengths > 0) & (lengths <= self._histories.lengths[users]))
        own = self._histories.items[self._histories.offsets[users[rows]] + lengths[rows] - 1]
        wrong = given.items[given.offsets[rows + 1] - 1] != own
        if wrong.any():
            user = histories.user_ids[int(rows[np.argmax(wrong)])]
            raise DataError(
                f"the history given for user {user!r} is not the beginning of the simulated one; "
                "the oracle needs whole histories, oldest event first."
            )
