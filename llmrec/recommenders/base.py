"""What every recommender shares: checking arguments, serving users, saving and loading.

A recommender implements four hooks: ``_fit``, ``_score_catalog``, ``_state`` and ``_load_state``.
Public methods check and translate ids, hooks compute on codes. The constructor only stores its
settings. A saved model is a directory with ``model.json`` (class, settings, versions, hashes),
``model.safetensors``, ``items.parquet`` and apart from these, about known users, what they did
(``histories.parquet``) and what was learnt of them (``users.safetensors``); nothing is pickled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories, Origin
from llmrec.data.splits import Cases, LabelledCases
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, UnknownIdError, shorten
from llmrec.evaluation.ranks import exclude, top_items
from llmrec.recommenders import artifacts
from llmrec.recommenders.candidates import candidate_codes, chosen_items, recommendation_frame
from llmrec.recommenders.known_users import histories_of
from llmrec.recommenders.provenance import seen_with_parts
from llmrec.recommenders.refusing import as_before_if_refused
from llmrec.recommenders.settings import settings_from

if TYPE_CHECKING:
    from llmrec.contracts import Candidates, OnUnknown, Users

FloatArray = npt.NDArray[np.float32]
ConfigT = TypeVar("ConfigT", bound=BaseModel)
_BLOCK = 512  # histories scored at once; bounds memory at 512 x items x 4 bytes


class BaseRecommender(ABC, Generic[ConfigT]):
    """A recommender with settings ``config`` of type ``config_class``.

    Args:
        config: Settings, or None to give them as keyword arguments.
        options: Fields of ``config_class``.

    Attributes:
        titles: A readable name of every item, or None.
        details: What else is worth knowing about how the model was made, as JSON values; saved.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Any]]
    scores_empty_histories: ClassVar[bool] = False

    def __init__(self, config: ConfigT | None = None, **options: Any) -> None:
        if config is not None and options:
            raise ConfigError(f"{self.name}: give either a config or keyword options, not both.")
        made = settings_from(self.name, self.config_class, options) if config is None else config
        self.config: ConfigT = made
        self.titles: pl.Series | None = None
        self.details: dict[str, Any] = {}
        self._vocabulary: Vocabulary | None = None
        self._seen: tuple[Origin, ...] = ()
        self._known: Histories | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether the model can score."""
        return self._vocabulary is not None

    @property
    def vocabulary(self) -> Vocabulary:
        """The items the model can score.

        Raises:
            ArtifactError: The model is not fitted.
        """
        self._require_fitted()
        assert self._vocabulary is not None
        return self._vocabulary

    @property
    def seen(self) -> Sequence[Origin]:
        """Where the training events came from."""
        return self._seen

    @property
    def known_histories(self) -> Histories | None:
        """Histories of the users the model can serve by id, or None."""
        return self._known

    def use_catalog(self, catalog: Catalog) -> Self:
        """Tell the model what is known about the items, before :meth:`fit`.

        Every model keeps the titles for what it shows; some learn from the texts.
        """
        self.titles = catalog.titles
        return self

    def use_judged(self, valid: LabelledCases) -> Self:
        """Give judged pairs for early stopping, before :meth:`fit`; who has no use ignores them."""
        return self

    def fit(self, train: Histories, valid: Cases | None = None) -> Self:
        """Learn from histories.

        Args:
            train: Training histories, one row per user.
            valid: Cases for early stopping and choosing weights; never for learning.

        Returns:
            The model itself, which now also serves the users of ``train`` by id.

        Raises:
            TrainingError: Training stopped half-way; the best weights so far are kept.
            LlmrecError: ``train`` holds no event, or lacks something the model needs, or what the
                model was given does not fit or knows held-out events; it is as it was before.
        """
        if not train.items.size:
            raise ConfigError(f"{self.name}: the training histories hold no event.")
        with as_before_if_refused(self):
            # Set first: a training that stops half-way keeps its best weights, which have seen it.
            self._vocabulary = train.vocabulary
            self._seen = (train.origin,) if train.origin is not None else ()
            self._fit(train, valid)
        self._known = train
        return self

    def _also_seen(self, origins: Iterable[Origin]) -> None:
        """Add what a part of the model was made from to what an evaluation looks at."""
        self._seen = seen_with_parts(self.name, self._seen, origins)

    def serve(self, histories: Histories) -> Self:
        """Set what known users did, for instance training and validation events together."""
        self._known = histories.with_vocabulary(self.vocabulary)
        return self

    def score_catalog(self, histories: Histories) -> FloatArray:
        """Score every item: ``[n, items]`` float32, column ``j`` is the item with code ``j + 1``.

        The whole matrix is formed; pass large sets in blocks.

        Raises:
            UnknownIdError: A history is empty and the model needs one, or holds an unknown item.
        """
        return self._score_catalog(self._checked(histories))

    def score(
        self, histories: Histories, candidates: Candidates, on_unknown: OnUnknown = "error"
    ) -> FloatArray:
        """Score given candidates.

        Args:
            histories: ``[n]`` input histories.
            candidates: Item ids for everybody, or one list of item ids per history.
            on_unknown: ``"error"``, or ``"skip"`` to score unknown items -inf.

        Returns:
            ``[n, C]`` float32 in the order of the candidates; shorter lists are filled with -inf.
        """
        histories = self._checked(histories)
        codes = candidate_codes(candidates, len(histories), self.vocabulary, on_unknown)
        return self._score_candidates(histories, codes)

    def rank(
        self, histories: Histories, candidates: Candidates, on_unknown: OnUnknown = "error"
    ) -> pl.DataFrame:
        """Order candidates by score, best first; equal scores keep the candidates' order.

        Returns:
            A frame ``user_id, item_id, score, rank`` with skipped items left out.
        """
        histories = self._checked(histories)
        codes = candidate_codes(candidates, len(histories), self.vocabulary, on_unknown)
        scores = self._score_candidates(histories, codes)
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(codes, order, 1), np.take_along_axis(scores, order, 1)
        return recommendation_frame(histories.user_ids, *ranked, self.vocabulary)

    def recommend(
        self,
        users: Users,
        k: int = 10,
        candidates: Candidates | None = None,
        exclude_seen: bool = True,
        on_unknown: OnUnknown = "error",
    ) -> pl.DataFrame:
        """Choose the best ``k`` items for every user.

        Args:
            users: Ids of known users, or :class:`Histories` of anyone.
            k: Items per user; fewer are returned where fewer are left.
            candidates: Item ids to choose from, for everybody; None means the whole catalog.
            exclude_seen: Leave out the items of the user's history.
            on_unknown: What to do with user or item ids the model does not know, and with users
                whose history is empty where the model needs one: ``"error"`` or ``"skip"``.

        Returns:
            A frame ``user_id, item_id, score, rank``, rank from 1.

        Raises:
            UnknownIdError: An id is unknown and ``on_unknown`` is ``"error"``.
            ConfigError: ``k`` is below 1 or above the number of items to choose from.
        """
        histories = self._histories_of(users, on_unknown)
        allowed = chosen_items(candidates, k, self.vocabulary, on_unknown)
        codes = np.zeros((len(histories), k), dtype=np.int32)
        values = np.full((len(histories), k), -np.inf, dtype=np.float32)
        for start, block in self._blocks(histories):
            scores = self._list_scores(block, allowed, exclude_seen, k)
            part = slice(start, start + len(block))
            codes[part], values[part] = top_items(scores, k)
        return recommendation_frame(histories.user_ids, codes, values, self.vocabulary)

    def reports(self) -> Mapping[str, Mapping[str, Any]]:
        """What a freshly fitted model can tell about its making beside its weights.

        Returns:
            Name to JSON values; a run keeps each in ``<name>.json``. They may tell of users, so
            they are not uploaded with a model.
        """
        return {}

    def save_pretrained(self, directory: str | Path, include_users: bool = True) -> None:
        """Write the model to a directory, replacing an earlier model there.

        Args:
            directory: The destination.
            include_users: Also write the histories of known users.
        """
        self._require_fitted()
        artifacts.save(self, directory, include_users)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Read a model from a directory, or from the Hugging Face hub by ``owner/name``.

        Raises:
            ArtifactError: The directory is missing, damaged, or holds another kind of model.
        """
        return artifacts.load_as(cls, name)

    def push_to_hub(
        self, repository: str, include_users: bool = False, private: bool = True, **options: Any
    ) -> str:
        """Upload the model to the Hugging Face hub.

        Nothing about users leaves the machine unless ``include_users`` is set.

        Returns:
            The address of the upload.
        """
        self._require_fitted()
        return artifacts.push(self, repository, include_users, private, **options)

    @abstractmethod
    def _fit(self, train: Histories, valid: Cases | None) -> None:
        """Learn; ``self.vocabulary`` is already that of ``train``."""

    @abstractmethod
    def _score_catalog(self, histories: Histories) -> FloatArray:
        """``[n, items]`` float32 scores, freshly made: the caller may change them."""

    @abstractmethod
    def _state(self) -> Mapping[str, npt.NDArray[Any]]:
        """What was learnt, as named arrays."""

    def _personal_state(self) -> Mapping[str, npt.NDArray[Any]]:
        """What was learnt about single users: never uploaded, and may be missing in a load."""
        return {}

    @abstractmethod
    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Inverse of :meth:`_state`; settings and vocabulary are in place."""

    def _list_scores(
        self,
        histories: Histories,
        allowed: npt.NDArray[np.bool_] | None,
        exclude_seen: bool,
        k: int,
    ) -> FloatArray:
        """``[n, items]`` scores of what may be recommended, -inf for everything else.

        Who ranks in stages scores at least ``k`` items per history.
        """
        scores = self._score_catalog(histories)
        if allowed is not None:
            scores = np.where(allowed, scores, np.float32(-np.inf))
        if exclude_seen:
            exclude(scores, histories.items, histories.offsets)
        return scores

    def _score_codes(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        """``[n, C]`` scores of item codes; code 0 may get any score."""
        columns = np.maximum(codes.astype(np.int64) - 1, 0)
        return np.take_along_axis(self._score_catalog(histories), columns, axis=1)

    def _score_candidates(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        scores = np.empty(codes.shape, dtype=np.float32)
        for start, block in self._blocks(histories):
            part = slice(start, start + len(block))
            scores[part] = self._score_codes(block, codes[part])
        scores[codes == 0] = -np.inf
        return scores

    def _blocks(self, histories: Histories) -> Iterator[tuple[int, Histories]]:
        for start in range(0, len(histories), _BLOCK):
            yield start, histories.block(start, start + _BLOCK)

    def _checked(self, histories: Histories) -> Histories:
        self._require_fitted()
        histories = histories.with_vocabulary(self.vocabulary)
        empty = histories.lengths == 0
        if empty.any() and not self.scores_empty_histories:
            names = histories.user_ids.filter(pl.Series(empty))
            raise UnknownIdError(
                f"{self.name} needs at least one event per history; empty for user "
                f"{shorten(names)}. Use a model that serves everybody, such as popularity."
            )
        return histories

    def _histories_of(self, users: Users, on_unknown: OnUnknown) -> Histories:
        self._require_fitted()
        found = histories_of(self._known, users, on_unknown)
        if on_unknown == "skip" and not self.scores_empty_histories:
            found = found.take(np.flatnonzero(found.lengths))
        return self._checked(found)

    def _require_fitted(self) -> None:
        if not self.is_fitted:
            raise ArtifactError(f"this {self.name} model is not fitted; call fit first.")
