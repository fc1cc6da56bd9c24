"""What recommenders share that write semantic IDs: where the IDs come from, and the search.

Of the whole catalogue only what the beam finds has a score; everything else is -inf, below all that
was found. Items that share a semantic ID share its score.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.recommenders.base import FloatArray
from llmrec.recommenders.candidates import chosen_items, recommendation_frame
from llmrec.recommenders.onerec.beam import BeamLists, top_items
from llmrec.recommenders.onerec.config import GenerativeConfig
from llmrec.recommenders.onerec.sources import semantic_ids_of
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.trained import TrainedRecommender
from llmrec.retrieval.vectors import TextVectors

if TYPE_CHECKING:
    from llmrec.contracts import Candidates, OnUnknown, Users

ConfigT = TypeVar("ConfigT", bound=GenerativeConfig)


class GenerativeRecommender(TrainedRecommender[ConfigT]):
    """A recommender that writes semantic IDs and is searched in their trie.

    Before :meth:`fit`, give it texts with :meth:`use_catalog`, vectors with :meth:`use_vectors`,
    or semantic IDs with :meth:`use_semantic_ids`.

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of ``config_class``.
    """

    _catalog: Catalog | None = None
    _vectors: TextVectors | None = None
    _ids: SemanticIds | None = None

    @property
    @abstractmethod
    def trie(self) -> Trie:
        """The semantic IDs of a fitted model."""

    @abstractmethod
    def _search(
        self, histories: Histories, trie: Trie, width: int, exclude_seen: bool = False
    ) -> Iterator[tuple[slice, BeamLists]]:
        """The most probable items in a trie: rows of the histories, and their lists of one item."""

    def use_catalog(self, catalog: Catalog) -> Self:
        """Read items' texts from a catalog."""
        self._catalog = catalog
        return super().use_catalog(catalog)

    def use_vectors(self, vectors: TextVectors) -> Self:
        """Tokenise these vectors of items instead of the catalog's texts."""
        self._vectors = vectors
        return self

    def use_semantic_ids(self, ids: SemanticIds) -> Self:
        """Use these semantic IDs instead of fitting a tokeniser."""
        self._ids = ids
        return self

    def recommend(
        self,
        users: Users,
        k: int = 10,
        candidates: Candidates | None = None,
        exclude_seen: bool = True,
        on_unknown: OnUnknown = "error",
    ) -> pl.DataFrame:
        """Choose the best ``k`` items for every user by a beam search.

        Seen items and items outside ``candidates`` are closed in the search, so the beam is not
        spent on them. The beam is at least ``k`` wide. See the base class for the arguments.
        """
        histories = self._histories_of(users, on_unknown)
        allowed = chosen_items(candidates, k, self.vocabulary, on_unknown)
        codes = np.zeros((len(histories), k), dtype=np.int32)
        values = np.full((len(histories), k), -np.inf, dtype=np.float32)
        trie = self.trie if allowed is None else self.trie.restrict(allowed)
        for rows, lists in self._search(histories, trie, max(k, self.config.beam), exclude_seen):
            may_get = _unseen(histories.block(rows.start, rows.stop)) if exclude_seen else None
            codes[rows], values[rows] = top_items(lists, trie, k, may_get)
        return recommendation_frame(histories.user_ids, codes, values, self.vocabulary)

    def _semantic_ids(self, train: Histories) -> SemanticIds:
        """IDs of the training catalogue: those given, or as the settings say."""
        if self._ids is None:
            return semantic_ids_of(self.config, train, self._catalog, self._vectors)
        self._ids.require(train.vocabulary)
        return self._ids

    def _score_catalog(self, histories: Histories) -> FloatArray:
        scores = np.full((len(histories), len(self.vocabulary)), -np.inf, dtype=np.float32)
        width = self.config.beam
        for rows, lists in self._search(histories, self.trie, width):
            codes, values = top_items(lists, self.trie, min(width, len(self.vocabulary)))
            user, place = np.nonzero(codes)
            scores[rows][user, codes[user, place] - 1] = values[user, place]
        return scores


def default_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _unseen(histories: Histories) -> Any:
    """Says of user rows and item codes whether the user has not had the item.

    The search closes an ID only when all of its items were seen.
    """
    stride = len(histories.vocabulary) + 1
    owner = np.repeat(np.arange(len(histories)), histories.lengths)
    seen = np.unique(owner * stride + histories.items)

    def may_get(users: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> Any:
        return ~np.isin(users * stride + codes, seen)

    return may_get
