"""SRA-CL as a recommender: SASRec trained with text-guided contrasts.

Texts are used before and during training only. A fitted model scores exactly as SASRec does and
costs the same; neither texts nor their encoder are needed to load it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from torch import nn

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.named import cache_home
from llmrec.data.splits import Cases, Split
from llmrec.errors import ArtifactError, ConfigError
from llmrec.profiles.facts import item_facts
from llmrec.profiles.guard import require_no_leak
from llmrec.profiles.profile import Profiles
from llmrec.recommenders.item_texts import embed_items, item_texts
from llmrec.recommenders.sasrec.encoder import SequenceEncoder
from llmrec.recommenders.sasrec.loss import NextItemLoss
from llmrec.recommenders.sasrec.model import SASRec, make_sampler, make_windows
from llmrec.recommenders.sra_cl import texts
from llmrec.recommenders.sra_cl.bank import SlowCopy, StateBank
from llmrec.recommenders.sra_cl.batches import ContrastWindows
from llmrec.recommenders.sra_cl.cold_items import fill_cold_items
from llmrec.recommenders.sra_cl.config import SRACLConfig
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.loss import ContrastiveLoss
from llmrec.recommenders.sra_cl.neighbor_report import semantics_report
from llmrec.recommenders.sra_cl.objectives import make_objectives
from llmrec.recommenders.sra_cl.semantics import Semantics, make_semantics
from llmrec.retrieval.vectors import TextVectors
from llmrec.training.batches import BatchSource

_NEIGHBORS = "item_neighbors"  # in the saved state, beside the encoder's weights


class SRACL(SASRec):
    """Semantic-retrieval contrastive learning for sequential recommendation (arXiv 2503.04162).

    Before :meth:`fit`, give it texts with :meth:`use_catalog`, or vectors with
    :meth:`use_vectors`.

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of :class:`SRACLConfig`.

    Attributes:
        semantics: After fitting, the neighbours that were used; None in a loaded model.

    Example:
        >>> from llmrec.data.simulator import simulate
        >>> from llmrec.data import leave_one_out
        >>> data = simulate("simulate:tiny@1").dataset
        >>> split = leave_one_out(data)
        >>> model = SRACL(dim=8, neighbors=3, text_encoder="tfidf:16", training={"epochs": 2})
        >>> model = model.use_catalog(data.catalog).fit(split.train_histories())
        >>> model.score_catalog(split.cases("test").histories).shape[1] == len(model.vocabulary)
        True
    """

    name: ClassVar[str] = "sra_cl"
    config_class: ClassVar[type[SRACLConfig]] = SRACLConfig
    config: SRACLConfig

    semantics: Semantics | None = None
    _catalog: Catalog | None = None
    _item_vectors: TextVectors | None = None
    _vectors_given = False
    _profiles: Profiles | None = None
    _item_neighbors: npt.NDArray[np.int32] | None = None
    _events: TrainingEvents | None = None

    def use_catalog(self, catalog: Catalog) -> Self:
        """Read items' texts from a catalog."""
        self._catalog = catalog
        if not self._vectors_given:  # those of an earlier catalog
            self._item_vectors = None
        return super().use_catalog(catalog)

    def use_vectors(self, vectors: TextVectors) -> Self:
        """Use these text vectors of items instead of embedding the catalog's texts."""
        self._item_vectors, self._vectors_given = vectors, True
        return self

    def use_profiles(self, profiles: Profiles, split: Split) -> Self:
        """Use these profiles of users, for instance written by a language model.

        Args:
            profiles: Of users.
            split: The split that the model is trained and judged on.

        Raises:
            ConfigError: These are not profiles of users.
            ProtocolError: A profile knows an event that the split holds out; it is named.
        """
        if profiles.kind != "user":
            raise ConfigError(
                "use_profiles takes profiles of users; for items give use_vectors their texts' "
                "vectors."
            )
        require_no_leak(profiles, split)
        self._profiles = profiles
        return self

    @property
    def item_neighbors(self) -> npt.NDArray[np.int32] | None:
        """``[items, k]`` int32 codes minus 1 of the items nearest by text, -1 where unused."""
        return self._item_neighbors

    def neighbor_report(self) -> dict[str, Any]:
        """What the neighbours of this training are like.

        Returns:
            The result of :func:`~llmrec.recommenders.sra_cl.neighbor_report.semantics_report`, and
            under ``made_from`` the settings that the neighbours depend on. It tells a few training
            sequences by title.

        Raises:
            ArtifactError: There are no neighbours: the model was loaded, is not fitted, or learns
                without texts.
        """
        if self.semantics is None or self._events is None:
            raise ArtifactError(
                "this sra_cl model has no neighbours to report: they are there after fit with "
                "alpha or beta, and are not saved with it. A run keeps the report in "
                "neighbors.json."
            )
        titles, categories = self.titles, None
        if titles is None:
            titles = self.vocabulary.ids.cast(pl.String)
        if self._catalog is not None:  # the last name of a category is its most specific one
            named = item_facts(self._catalog).categories
            categories = [names[-1] if names else "" for names in named]
        vectors = None if self._item_vectors is None else self._item_vectors.values
        settings = ("text_encoder", "item_text", "user_text", "neighbor_pool", "control")
        made_from = {name: getattr(self.config, name) for name in settings}
        found = semantics_report(
            self.semantics, self._events, titles, categories=categories, item_vectors=vectors
        )
        return {**found, "made_from": made_from}

    def reports(self) -> dict[str, dict[str, Any]]:
        """The neighbour report, as ``neighbors``, where there is one."""
        return {} if self.semantics is None else {"neighbors": self.neighbor_report()}

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        super()._fit(train, valid)
        config = self.config
        if config.cold_items or config.text_prior:
            vectors = self._vectors_of_items(train).values
            filled = fill_cold_items(self._network(), train, vectors, config.text_prior)
            self.details["cold_items"] = filled

    def _training_parts(
        self, encoder: SequenceEncoder, train: Histories
    ) -> tuple[nn.Module, BatchSource]:
        config = self.config
        sampler = make_sampler(config, train)
        windows = make_windows(config, train, sampler)
        events = TrainingEvents.of(train)
        if config.alpha or config.beta:
            self.semantics, self._events = self._find_semantics(train, events), events
            self._item_neighbors = self.semantics.item_neighbors
        reads_bank = bool(config.alpha or config.coarse_intent) and config.neighbor_bank != "none"
        bank = StateBank(len(events), config.dim) if reads_bank else None
        objectives = make_objectives(config, events, self.semantics, bank)
        slow = reads_bank and config.neighbor_bank == "momentum"
        module = ContrastiveLoss(
            NextItemLoss(encoder, sampler, config.logq),
            objectives,
            events,
            bank,
            SlowCopy(encoder, config.bank_momentum) if slow else None,
            write_through=config.neighbor_bank == "write_through",
            refresh_every=config.refresh_every,
            mask_alike=config.mask_alike,
        )
        return module, ContrastWindows(windows, events, objectives, config.anchors)

    def _find_semantics(self, train: Histories, events: TrainingEvents) -> Semantics:
        items = self._vectors_of_items(train)
        sequences = self._vectors_of_sequences(train, events)
        self.details["texts"] = {
            "items": items.encoder,
            "items_with_text": int(items.has_text.sum()),
            "users": self._user_texts(),
        }
        return make_semantics(
            self.config, events, items.values, sequences, cache_home() / "neighbors"
        )

    def _user_texts(self) -> str:
        """Which user texts were read, in a word."""
        given = self._profiles is not None or self.config.profiles is not None
        return "given" if given else self.config.user_text

    def _vectors_of_items(self, train: Histories) -> TextVectors:
        if self._item_vectors is not None:
            self._item_vectors.require(train.vocabulary)
            return self._item_vectors
        if self._catalog is None:
            raise ConfigError(
                "sra_cl needs to know the items' texts: call use_catalog(dataset.catalog) or "
                "use_vectors(vectors) before fit. Only without alpha, beta, text_prior and "
                "cold_items are texts not needed."
            )
        written = item_texts(self._catalog, self.config.item_text)
        self._item_vectors = embed_items(
            written,
            self._catalog.vocabulary,
            self.config.text_encoder,
            cache_home() / "text-vectors",
        )
        self._item_vectors.require(train.vocabulary)
        return self._item_vectors

    def _vectors_of_sequences(
        self, train: Histories, events: TrainingEvents
    ) -> npt.NDArray[np.float16] | None:
        config, profiles = self.config, self._profiles
        if profiles is None and config.profiles is not None:
            profiles = texts.load_user_profiles(config.profiles)
        if profiles is None:
            if config.user_text == "mean":
                return None
            if self._catalog is None:
                raise ConfigError(f"user_text={config.user_text} needs use_catalog before fit.")
            origin = "given" if train.origin is None else train.origin.split_hash
            folder = cache_home() / "profiles" / origin
            profiles = texts.write_user_profiles(train, self._catalog, config, folder)
        texts.require_training_only(profiles, train)
        return texts.embed_sequences(
            profiles,
            events,
            train,
            config.text_encoder,
            cache_home() / "text-vectors",
            knows_future=config.user_text == "user",
        )

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        state = super()._state()
        if self._item_neighbors is not None:
            state[_NEIGHBORS] = self._item_neighbors
        return state

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        weights = dict(state)
        self._item_neighbors = weights.pop(_NEIGHBORS, None)
        super()._load_state(weights)
