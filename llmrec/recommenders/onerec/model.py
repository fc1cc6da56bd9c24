"""OneRec as a recommender: items become semantic IDs, a generator writes them, a beam reads them.

Scores are log-probabilities of an item's semantic ID after the history. Of the whole catalogue only
what the beam finds has a score; everything else is -inf, below all that was found. Candidates that
are given are scored exactly. Timestamps and ratings matter for what a training session is only.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.errors import ConfigError
from llmrec.evaluation.monitoring import require_ranking_metric
from llmrec.recommenders.onerec.config import OneRecConfig
from llmrec.recommenders.onerec.generative import default_device
from llmrec.recommenders.onerec.generator.forms import make_generator
from llmrec.recommenders.onerec.generator.network import Generator
from llmrec.recommenders.onerec.generator.rows import SequenceRows, SessionRows
from llmrec.recommenders.onerec.generator.sessions import SessionRule, session_spans, told_sessions
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter
from llmrec.recommenders.onerec.growing import require_codes_only
from llmrec.recommenders.onerec.list_recommender import ListRecommender
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.onerec.validation import beam_metrics
from llmrec.training.batches import BatchSource
from llmrec.training.seeds import seed_everything

_POPULARITY = "popularity"  # in the saved state, beside the weights


class OneRec(ListRecommender[OneRecConfig]):
    """Generative recommendation with semantic IDs (OneRec, arXiv 2502.18965).

    Before :meth:`fit`, give it texts with :meth:`use_catalog`, vectors with :meth:`use_vectors`,
    or semantic IDs with :meth:`use_semantic_ids`.

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of :class:`OneRecConfig`.

    Attributes:
        log: Training and validation rows of the last fit.
        reward_model: What chooses among sessions, or None.
        alignment: What an alignment came to, as JSON values, or None.

    Example:
        >>> from llmrec.data.simulator import simulate
        >>> from llmrec.data import leave_one_out
        >>> data = simulate("simulate:tiny@1").dataset
        >>> split = leave_one_out(data)
        >>> model = OneRec(
        ...     tokenizer={"codes": 8}, generator={"form": "decoder", "dim": 16, "session": 3},
        ...     training={"epochs": 1}, text_encoder="tfidf:16",
        ... )
        >>> model = model.use_catalog(data.catalog).fit(split.train_histories())
        >>> model.recommend_session(split.cases("test").histories, m=3).columns
        ['user_id', 'item_id', 'score', 'rank']
    """

    name: ClassVar[str] = "onerec"
    config_class: ClassVar[type[OneRecConfig]] = OneRecConfig

    _generator: Generator | None = None
    _trie: Trie | None = None
    _popularity = np.empty(0, dtype=np.int64)

    @property
    def generator(self) -> Generator:
        """The network of a fitted model."""
        self._require_fitted()
        return self._network()

    @property
    def writer(self) -> GeneratorWriter:
        """See the base class."""
        self._require_fitted()
        return GeneratorWriter(self._network())

    @property
    def longest_session(self) -> int:
        """See the base class."""
        return self.config.generator.session

    @property
    def trie(self) -> Trie:
        """The semantic IDs of a fitted model."""
        self._require_fitted()
        assert self._trie is not None
        return self._trie

    def part_lists(self) -> Self:
        """Give lists layers of their own (``generator.list_layers``), copies of those there are.

        What the model writes stays as it is until it is aligned. Nothing where they have them.

        Raises:
            ConfigError: The model has another form than ``item_decoder``.
        """
        config, network = self.config.generator, self.generator
        if config.list_layers:
            return self
        if config.form != "item_decoder":
            raise ConfigError(
                f"lists have layers of their own with generator.form=item_decoder only, not with "
                f"{config.form}; leave list_layers out."
            )
        config = config.model_copy(update={"list_layers": True})
        parted = make_generator(config, network.codes[1:].cpu(), network.sizes)
        parted.load_state_dict(network.state_dict(), strict=False)
        parted.part_lists()
        self.config = self.config.model_copy(update={"generator": config})
        self._generator = parted
        self._move_to_device()
        return self

    def training_rows(self, train: Histories) -> BatchSource:
        """See the base class."""
        return self._rows(train, self.generator.levels)

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        config = self.config
        if valid is not None:
            require_ranking_metric(config.training.metric, f"{self.name}: training.metric")
        ids = self._semantic_ids(train)
        standing = self._stand_ins(train, ids.popularity)
        seed_everything(config.training.seed)
        generator = make_generator(config.generator, torch.from_numpy(ids.codes).long(), ids.sizes)
        source = self._rows(train, ids.levels)
        trie = ids.trie.to(default_device())
        self._generator, self._trie = generator, trie
        self._popularity = ids.popularity
        if config.generator.session > 1:
            spans = config.generator.form == "encoder_decoder"
            self.details["sessions"] = told_sessions(config.sessions if spans else SessionRule())
        validate = None
        if valid is not None:
            metrics, filtered = [config.training.metric], config.validation_filters_seen

            def validate() -> Mapping[str, float]:
                writer = GeneratorWriter(self._network())
                return beam_metrics(writer, trie, valid, metrics, config.beam, filtered)

        self._train(config.training, generator, source, validate, semantic_ids=ids.fingerprint)
        generator.part_lists()
        self._standing = standing
        self._move_to_device()

    def _events(self) -> npt.NDArray[np.int64]:
        return self._popularity

    def _put_ids(self, ids: SemanticIds, popularity: npt.NDArray[np.int64]) -> None:
        require_codes_only(self.config.generator.item_vectors, self.reward_model is not None)
        weights = self._network().state_dict()
        codes = torch.from_numpy(ids.codes).long()
        grown = make_generator(self.config.generator, codes, ids.sizes)
        grown.load_state_dict({**weights, "codes": grown.codes})
        self._generator, self._popularity = grown, popularity
        self._trie = Trie.build(ids.codes, ids.sizes, order=-popularity)
        self._move_to_device()

    def _rows(self, train: Histories, levels: int) -> BatchSource:
        config = self.config.generator
        if config.form != "encoder_decoder":
            return SequenceRows(train, config.history, levels)
        spans = session_spans(train, self.config.sessions, config.session)
        return SessionRows(train, spans, config.history, levels)

    def _network(self) -> Generator:
        assert self._generator is not None
        return self._generator.eval()

    def _move_to_device(self) -> None:
        self._network().to(default_device())
        assert self._trie is not None
        self._trie = self._trie.to(default_device())

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        weights = self._network().state_dict()
        state = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
        own = {_POPULARITY: self._popularity, **self._reward_state(), **self._standing_state()}
        return {**state, **own}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        weights = self._take_reward(self._take_standing(state))
        self._popularity = weights.pop(_POPULARITY)
        codes = weights["codes"][1:]
        sizes = tuple(weights[f"heads.{level}.bias"].shape[0] for level in range(codes.shape[1]))
        generator = make_generator(self.config.generator, torch.from_numpy(codes), sizes)
        generator.load_state_dict({name: torch.from_numpy(v) for name, v in weights.items()})
        self._generator = generator
        self._trie = Trie.build(codes, sizes, order=-self._popularity)
        self._move_to_device()
