"""Between the item codes of a data set and those of a model.

A model may know fewer items than the data set, more, or the same in another order. Events with
items that the model does not know are dropped from its input; as candidates such items score
below everything else, so that they share the last ranks and are missed, not skipped.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError, ProtocolError
from llmrec.evaluation.ranks import LOWEST, Scores, require_shape


class Translation:
    """Turns histories into a model's codes and its scores into the data set's codes.

    Args:
        data: The data set's item vocabulary.
        model: The model's item vocabulary.

    Raises:
        DataError: One has integer ids and the other strings.
        ProtocolError: The model knows no item of the data set.
    """

    def __init__(self, data: Vocabulary, model: Vocabulary) -> None:
        self._model = model
        self._same = data.fingerprint == model.fingerprint
        self._codes = (
            np.arange(1, len(data) + 1, dtype=np.int32)
            if self._same
            else model.encode(data.ids, on_unknown="zero")
        )
        if not self._codes.any():
            raise ProtocolError(
                f"the model knows none of the {len(data)} items it would be judged on: it was "
                "trained on other data; judge it on a task about that data."
            )

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """``[items]`` true for the data set's items that the model does not know."""
        return np.asarray(self._codes == 0)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Where the model refuses its input, say that it does not know all items of the data."""
        try:
            yield
        except DataError as error:
            missing = int(self.unknown.sum())
            if not missing:
                raise
            raise DataError(
                f"{error} The model does not know {missing} of the {self._codes.size} items it is "
                "judged on: was it trained on other data?"
            ) from error

    def codes(self, items: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The model's codes of the data set's codes; 0 for unknown items."""
        return np.asarray(self._codes[items - 1], dtype=np.int32)

    def histories(self, histories: Histories) -> Histories:
        """The same histories in the model's codes, without events the model does not know."""
        if self._same:
            return dataclasses.replace(histories, vocabulary=self._model)
        codes = self.codes(histories.items)
        known = codes > 0
        kept = np.concatenate([[0], np.cumsum(known)])
        return dataclasses.replace(
            histories,
            items=codes[known],
            offsets=kept[histories.offsets],
            vocabulary=self._model,
            **histories.known_of(known),
        )

    def catalog_scorer(
        self, score_catalog: Callable[[Histories], Scores]
    ) -> Callable[[Histories], Scores]:
        """Wrap a model's ``score_catalog`` so that it speaks the data set's codes."""
        if self._same:
            return lambda histories: score_catalog(self.histories(histories))
        known = np.flatnonzero(self._codes)
        columns = self._codes[known] - 1

        def scored(histories: Histories) -> Scores:
            scores = np.asarray(score_catalog(self.histories(histories)))
            require_shape(scores, (len(histories), len(self._model)))
            full = np.full((len(histories), self._codes.size), LOWEST, dtype=np.float32)
            full[:, known] = scores[:, columns]
            return full

        return scored
