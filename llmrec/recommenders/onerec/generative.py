"""What recommenders share that write semantic IDs: where the IDs come from, and the search.

Of the whole catalogue only what the beam finds has a score; everything else is -inf, below all that
was found. Items that share a semantic ID share its score.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.evaluation.ranks import exclude
from llmrec.evaluation.ranks import top_items as best_items
from llmrec.recommenders.base import FloatArray
from llmrec.recommenders.candidates import chosen_items, recommendation_frame
from llmrec.recommenders.onerec import growing
from llmrec.recommenders.onerec.beam import BeamLists, top_items
from llmrec.recommenders.onerec.cold_items import Int32Array, lift, lift_catalog, stand_ins
from llmrec.recommenders.onerec.config import GenerativeConfig
from llmrec.recommenders.onerec.finding import found_scores
from llmrec.recommenders.onerec.serving import candidate_scores, search
from llmrec.recommenders.onerec.sources import semantic_ids_of, vectors_of, vectors_of_items
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.onerec.writer import Writer
from llmrec.recommenders.trained import TrainedRecommender
from llmrec.retrieval.vectors import TextVectors

if TYPE_CHECKING:
    from llmrec.contracts import Candidates, OnUnknown, Users

ConfigT = TypeVar("ConfigT", bound=GenerativeConfig)
_STANDING = "stand_ins"  # in the saved state


class GenerativeRecommender(TrainedRecommender[ConfigT]):
    """A recommender that writes semantic IDs and is searched in their trie.

    Before :meth:`fit`, give it texts with :meth:`use_catalog`, vectors with :meth:`use_vectors`,
    or semantic IDs with :meth:`use_semantic_ids`.

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of ``config_class``.

    Attributes:
        semantic_ids: The IDs that the model was fitted with. A saved model knows their codes only:
            keep them with their ``save``, to give new items codes later; None for a loaded model.
    """

    semantic_ids: SemanticIds | None = None
    _catalog: Catalog | None = None
    _vectors: TextVectors | None = None
    _ids: SemanticIds | None = None
    _standing: Int32Array | None = None  # with cold_items: who stands in for whom

    @property
    @abstractmethod
    def trie(self) -> Trie:
        """The semantic IDs of a fitted model."""

    @property
    @abstractmethod
    def writer(self) -> Writer:
        """What a fitted model writes with, in evaluation mode."""

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

    def with_items(
        self, ids: SemanticIds, catalog: Catalog | None = None, vectors: TextVectors | None = None
    ) -> Self:
        """This model with a larger catalogue, without training it again.

        What an item that was there is worth changes only where the settings let codes compete with
        those of other items (``generator.choices=existing``). A model cannot learn of new items in
        this way: it knows what their codes have in common with others.

        Args:
            ids: The IDs that the model was trained with and more, from their ``with_items``.
            catalog: The items with their titles; None leaves titles out.
            vectors: Of the items, for ``cold_items``; None takes the catalog's texts.

        Returns:
            Another model, with networks of its own; this one stays as it is.

        Raises:
            ArtifactError: The IDs are of another code space, or items have other codes.
            DataError: An item that the model knows is missing, or the catalog is of other items.
            ConfigError: The model has learnt of items one by one: their vectors, or a reward model.
        """
        self._require_fitted()
        growing.require_catalog(catalog, ids)
        rows = growing.places_of(self.vocabulary, ids)
        space = self.details.get("semantic_ids", {}).get("space")
        growing.require_same_codes(self.trie, ids, rows, space)
        popularity = growing.kept_popularity(self._events(), ids, rows)
        made = copy.copy(self)
        made.details = dict(self.details)
        made._catalog, made._vectors, made._ids = catalog, vectors, ids
        made.titles = None if catalog is None else catalog.titles
        made._note_ids(ids)
        if self._standing is not None:
            found = vectors_of_items(self.config, ids.vocabulary, catalog, vectors)
            made._standing = growing.more_stand_ins(self._standing, found, popularity, rows)
            made._also_seen(found.seen)
        made._put_ids(ids, popularity)
        made._vocabulary = ids.vocabulary
        if self._known is not None:
            made._known = self._known.with_vocabulary(ids.vocabulary)
        return made

    @abstractmethod
    def _events(self) -> npt.NDArray[np.int64]:
        """``[items]`` training events of a fitted model's items."""

    @abstractmethod
    def _put_ids(self, ids: SemanticIds, popularity: npt.NDArray[np.int64]) -> None:
        """Write and read these IDs from now on, with copies of what is learnt.

        Raises:
            ConfigError: More was learnt of an item than its codes.
        """

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
        if self._standing is not None:
            self._add_cold(histories, codes, values, allowed, exclude_seen)
        return recommendation_frame(histories.user_ids, codes, values, self.vocabulary)

    def _semantic_ids(self, train: Histories) -> SemanticIds:
        """IDs of the training catalogue: those given, or as the settings say."""
        ids = self._ids
        if ids is None:
            ids = semantic_ids_of(self.config, train, self._catalog, self._vectors)
        ids.require(train.vocabulary)
        self._note_ids(ids)
        return ids

    def _note_ids(self, ids: SemanticIds) -> None:
        """Keep which IDs the model has, and that what they have seen counts as seen by it."""
        self.semantic_ids = ids
        about = {"fingerprint": ids.fingerprint, "space": ids.space}
        self.details["semantic_ids"] = {**about, **dict(ids.details)}
        self._also_seen(ids.seen)

    def _search(
        self, histories: Histories, trie: Trie, width: int, exclude_seen: bool = False
    ) -> Iterator[tuple[slice, BeamLists]]:
        """The most probable items in a trie: rows of the histories, and their lists of one item."""
        return search(self.writer, trie, histories, width, 1, exclude_seen)

    def _exact_scores(self, histories: Histories, codes: Int32Array) -> FloatArray:
        """``[n, C]`` log-probabilities of item codes; code 0 may get any."""
        return candidate_scores(self.writer, histories, codes)

    def _stand_ins(self, train: Histories, popularity: npt.NDArray[np.int64]) -> Int32Array | None:
        """Who stands in for whom; None where the settings do not ask for it."""
        if not self.config.cold_items:
            return None
        vectors = vectors_of(self.config, train, self._catalog, self._vectors)
        self._also_seen(vectors.seen)
        found = stand_ins(vectors, popularity)
        self.details["cold_items"] = int(np.count_nonzero(found))
        return found

    def _standing_state(self) -> dict[str, npt.NDArray[Any]]:
        """The stand-ins as a part of the state."""
        return {} if self._standing is None else {_STANDING: self._standing}

    def _take_standing(self, state: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Read the stand-ins; returns the rest of the state."""
        rest = dict(state)
        self._standing = rest.pop(_STANDING, None)
        return rest

    def _score_codes(self, histories: Histories, codes: Int32Array) -> FloatArray:
        scores = self._exact_scores(histories, codes)
        if self._standing is not None and (others := self._standing[codes]).any():
            lifted = lift(scores, self._exact_scores(histories, others))
            scores = np.where(others > 0, lifted, scores)
        return scores

    def _score_catalog(self, histories: Histories) -> FloatArray:
        scores = found_scores(self._search, self.trie, histories, self.config.beam)
        if self._standing is not None:
            lift_catalog(scores, self._standing)
        return scores

    def _add_cold(
        self,
        histories: Histories,
        codes: Int32Array,
        values: FloatArray,
        allowed: npt.NDArray[np.bool_] | None,
        exclude_seen: bool,
    ) -> None:
        """Put items without events into lists ``[n, k]`` of the others, in place.

        Who stands in for them may be seen or no candidate, so everything is searched for them.
        """
        assert self._standing is not None
        for start, block in self._blocks(histories):
            part = slice(start, start + len(block))
            scores = self._score_catalog(block)
            barred = self._standing[1:] == 0
            scores[:, barred if allowed is None else barred | ~allowed] = -np.inf
            if exclude_seen:
                exclude(scores, block.items, block.offsets)
            user, place = np.nonzero(codes[part])
            column = codes[part][user, place] - 1
            scores[user, column] = np.maximum(scores[user, column], values[part][user, place])
            codes[part], values[part] = best_items(scores, codes.shape[1])


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
