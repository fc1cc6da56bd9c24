"""The most popular items for everybody: the figure any model has to beat."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.errors import DataError
from llmrec.recommenders.base import BaseRecommender, FloatArray


class PopularityConfig(BaseModel):
    """Settings of the popularity baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    half_life_days: float | None = Field(
        None, gt=0, description="Age at which an event counts half; none counts all events alike."
    )


class Popularity(BaseRecommender[PopularityConfig]):
    """Scores an item by its number of training events, optionally fading with their age.

    Serves anyone, also users without a history.
    """

    name: ClassVar[str] = "popularity"
    config_class: ClassVar[type[PopularityConfig]] = PopularityConfig
    scores_empty_histories: ClassVar[bool] = True

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        weights = None
        if self.config.half_life_days is not None:
            if train.times is None:
                raise DataError("popularity with half_life_days needs timestamps.")
            age = (train.times.max() - train.times) / 86_400
            weights = 0.5 ** (age / self.config.half_life_days)
        counts = np.bincount(train.items, weights, minlength=len(train.vocabulary) + 1)
        self._counts = counts[1:].astype(np.float32)

    def _score_catalog(self, histories: Histories) -> FloatArray:
        return np.tile(self._counts, (len(histories), 1))

    def _state(self) -> Mapping[str, npt.NDArray[Any]]:
        return {"counts": self._counts}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._counts = state["counts"]
