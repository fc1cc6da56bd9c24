"""Item-based nearest neighbours over co-occurrence, computed by the ``implicit`` library."""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from llmrec.data.histories import Histories
from llmrec.data.ragged import position_of_each, row_of_each
from llmrec.data.splits import Cases
from llmrec.recommenders.base import BaseRecommender, FloatArray


class ItemKNNConfig(BaseModel):
    """Settings of item-kNN."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int = Field(100, ge=1, description="Most similar items kept per item.")
    weighting: Literal["cosine", "tfidf", "bm25"] = Field(
        "cosine", description="How co-occurrence is turned into similarity."
    )
    recency: float = Field(
        1.0, gt=0, le=1, description="Factor per step into the past on a history's events."
    )


class ItemKNN(BaseRecommender[ItemKNNConfig]):
    """Scores an item by its similarity to the items of the history (Sarwar et al., 2001).

    ``score(u, i) = sum over history items j of recency**age(j) * similarity(j, i)``; an item's
    similarity to itself is left out.
    """

    name: ClassVar[str] = "item_knn"
    config_class: ClassVar[type[ItemKNNConfig]] = ItemKNNConfig
    scores_empty_histories: ClassVar[bool] = True

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        from implicit.nearest_neighbours import (
            BM25Recommender,
            CosineRecommender,
            TFIDFRecommender,
        )
        from implicit.utils import ParameterWarning

        classes = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
        # implicit counts the item itself among its neighbours
        model = classes[self.config.weighting](K=self.config.neighbours + 1)
        with warnings.catch_warnings():
            # TF-IDF and BM25 hand their own COO matrix on and warn about it
            warnings.simplefilter("ignore", ParameterWarning)
            model.fit(self._matrix(train, 1.0), show_progress=False)
        similarity = sparse.csr_matrix(model.similarity, dtype=np.float32)
        similarity.setdiag(0)
        similarity.eliminate_zeros()
        self._similarity = similarity

    def _score_catalog(self, histories: Histories) -> FloatArray:
        profile = self._matrix(histories, self.config.recency)
        scores: FloatArray = (profile @ self._similarity).toarray()
        return scores

    def _matrix(self, histories: Histories, recency: float) -> sparse.csr_matrix:
        """``[n, items]`` weights of the histories' events; repeated items count their newest."""
        age = np.repeat(histories.lengths - 1, histories.lengths) - position_of_each(
            histories.offsets
        )
        values = (recency**age).astype(np.float32)
        rows, columns = row_of_each(histories.offsets), histories.items.astype(np.int64) - 1
        shape = (len(histories), len(self.vocabulary))
        # Later assignments win, and events are stored oldest first.
        keys = rows * shape[1] + columns
        _, newest = np.unique(keys[::-1], return_index=True)
        kept = keys.size - 1 - newest
        return sparse.csr_matrix((values[kept], (rows[kept], columns[kept])), shape=shape)

    def _state(self) -> Mapping[str, npt.NDArray[Any]]:
        matrix = self._similarity
        return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        n_items = len(self.vocabulary)
        parts = (state["data"], state["indices"], state["indptr"])
        self._similarity = sparse.csr_matrix(parts, shape=(n_items, n_items))
