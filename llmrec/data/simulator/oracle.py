"""A recommender that looks the answer's true probability up: the ceiling for every model.

It knows simulated histories only. The moment is found by the user and the newest event, which is
unique as no user takes an item twice; older events may be missing, but a history that was edited is
refused.
"""

from typing import Self

import numpy as np
import numpy.typing as npt

from llmrec.data.dataset import Dataset
from llmrec.data.histories import Histories, Origin
from llmrec.data.ragged import row_of_each, span_indices
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
            DataError: A history is not a piece of that user's simulated history.
        """
        positions = self._positions(histories)
        exact = self._truth.next_item_probabilities(histories.user_ids, positions)
        return exact.astype(np.float32)

    def score_pairs(
        self, histories: Histories, items: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """True probability that item ``items[i]`` is liked right after history ``i``: ``[n]``.

        The moment is that of the user's next simulated event; an item that cannot be consumed
        then has probability 0.

        Raises:
            UnknownIdError: A user is not of this simulation.
            DataError: A history is not a piece of that user's simulated history, or its last one.
        """
        own, positions = self._histories, self._positions(histories)
        users = self._truth.users.encode(histories.user_ids).astype(np.int64) - 1
        last = positions >= own.lengths[users]
        if last.any():
            user = histories.user_ids[int(np.argmax(last))]
            raise DataError(
                f"the history given for user {user!r} is the whole simulated one; nothing is "
                "known of a moment after it."
            )
        assert own.times is not None
        times = own.times[own.offsets[users] + positions]
        codes = self.vocabulary.encode(histories.vocabulary.decode(items))
        found = self._truth.outcomes(histories.user_ids, codes[:, None], times).like[:, 0]
        return found.astype(np.float32)

    def _positions(self, histories: Histories) -> npt.NDArray[np.int64]:
        """``[n]`` number of simulated events up to and including the newest one given."""
        own, given = self._histories, histories.with_vocabulary(self.vocabulary)
        users = self._truth.users.encode(histories.user_ids).astype(np.int64) - 1
        base = len(self.vocabulary) + 1
        keys = row_of_each(own.offsets) * base + own.items
        order = np.argsort(keys)
        filled = np.flatnonzero(given.lengths)
        query = users[filled] * base + given.items[given.offsets[filled + 1] - 1]
        place = np.minimum(np.searchsorted(keys, query, sorter=order), keys.size - 1)
        positions = np.zeros(len(given), dtype=np.int64)
        positions[filled] = order[place] + 1 - own.offsets[users[filled]]
        self._require_pieces(given, users, positions)
        return positions

    def _require_pieces(
        self, given: Histories, users: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]
    ) -> None:
        """Every event given must be the one that the user had at its place."""
        own = self._histories
        fits = (positions >= given.lengths) & (positions <= own.lengths[users])
        starts = own.offsets[users] + np.where(fits, positions - given.lengths, 0)
        index = span_indices(starts, np.where(fits, given.lengths, 0))
        rows = np.flatnonzero(fits)
        compared = given.take(rows)
        differs = own.items[index] != compared.items
        fits[rows[row_of_each(compared.offsets)[differs]]] = False
        if not fits.all():
            raise DataError(
                f"the history given for user {given.user_ids[int(np.argmin(fits))]!r} is not a "
                "piece of the simulated one; the oracle needs events of this simulation in order."
            )
