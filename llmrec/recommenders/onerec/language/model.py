"""A causal language model that writes semantic IDs, as a recommender.

The tokens of the codes are added to its vocabulary. It learns histories written in them, the ID of
every title and the title of every ID, and it is searched in the trie: what it would like to write
beside IDs has no part in a recommendation. Scores are log-probabilities over the whole vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.errors import ConfigError
from llmrec.evaluation.monitoring import ranking_metrics
from llmrec.inference.hf_loading import load_model, width_and_context
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.inference.opening import parse_name, seen_by
from llmrec.recommenders.base import FloatArray
from llmrec.recommenders.onerec.beam import BeamLists
from llmrec.recommenders.onerec.cold_items import Int32Array
from llmrec.recommenders.onerec.generative import GenerativeRecommender, default_device
from llmrec.recommenders.onerec.generator.sessions import SessionRule, told_sessions
from llmrec.recommenders.onerec.language.config import OneRecLMConfig
from llmrec.recommenders.onerec.language.network import LanguageNetwork
from llmrec.recommenders.onerec.language.search import LanguageSearch
from llmrec.recommenders.onerec.language.texts import Prompts
from llmrec.recommenders.onerec.language.tokens import add_codes, code_tokens
from llmrec.recommenders.onerec.language.weights import from_arrays, to_arrays
from llmrec.recommenders.onerec.serving import served_lists, session_length, session_trie
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.recommenders.onerec.trie import Trie
from llmrec.training.seeds import seed_everything

_IDS = ("codes", "sizes", "popularity", "first_token")  # saved beside the weights


class OneRecLM(GenerativeRecommender[OneRecLMConfig]):
    """OneRec on a language model (in the style of MiniOneRec, arXiv 2510.24431).

    Before :meth:`fit`, give it texts with :meth:`use_catalog`, vectors with :meth:`use_vectors`,
    or semantic IDs with :meth:`use_semantic_ids`. Titles are learnt where the catalog has them.

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of :class:`OneRecLMConfig`.

    Attributes:
        log: Training and validation rows of the last fit.
    """

    name: ClassVar[str] = "onerec_lm"
    config_class: ClassVar[type[OneRecLMConfig]] = OneRecLMConfig

    _parts: _Parts | None = None

    @property
    def network(self) -> LanguageNetwork:
        """The language model of a fitted model."""
        return self._fitted().network

    @property
    def prompts(self) -> Prompts:
        """How histories are written for the language model."""
        return self._fitted().prompts

    @property
    def trie(self) -> Trie:
        """The semantic IDs of a fitted model."""
        return self._fitted().trie

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        config = self.config
        ids = self._semantic_ids(train)
        standing = self._stand_ins(train, ids.popularity)
        seed_everything(config.training.seed)
        folder = _local(config.language_model)
        self._also_seen(seen_by(config.language_model))
        model, tokens = load_model(folder, None, "float32")
        first = add_codes(model, tokens.tokenizer, ids.sizes)
        self._parts = parts = _Parts(model, tokens, ids.codes, ids.sizes, ids.popularity, first)
        parts.require_room(config.history)
        parts.make_search(config.history)
        self.details["sessions"] = told_sessions(SessionRule())
        rows = parts.prompts.sequences(train, config.history)
        if config.titles and self._catalog is not None:
            rows = rows + parts.prompts.titles(self._catalog.titles.fill_null("").to_list())
        validate = None
        if valid is not None:
            metrics, filtered = [config.training.metric], config.validation_filters_seen

            def validate() -> Mapping[str, float]:
                return ranking_metrics(self._score_catalog, valid, metrics, filtered)

        self._standing = None  # validation while training is by the beam alone
        self._train(config.training, parts.network, rows, validate, semantic_ids=ids.fingerprint)
        self._standing = standing
        parts.network.eval()

    def _events(self) -> npt.NDArray[np.int64]:
        return self._fitted().popularity

    def _put_ids(self, ids: SemanticIds, popularity: npt.NDArray[np.int64]) -> None:
        old = self._fitted()
        model = copy.deepcopy(old.network.model)
        self._parts = _Parts(model, old.tokens, ids.codes, ids.sizes, popularity, old.first)
        self._parts.make_search(self.config.history)

    def session_codes(
        self,
        histories: Histories,
        m: int | None = None,
        exclude_seen: bool = True,
        best_of: int | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Int32Array, FloatArray]:
        """See the base class; lists are texts like those it was trained on, so none is too long."""
        if best_of not in (None, 1):
            raise ConfigError(
                f"best_of={best_of} needs a reward model, and onerec_lm takes none: leave it out, "
                "or align the recommender 'onerec'."
            )
        m = session_length(m, min(self.config.session, self.config.history))
        trie, parts = session_trie(self.trie, m, allowed), self._fitted()
        parts.network.eval()
        found = parts.search.lists(histories, self.config.beam, m, exclude_seen, trie)
        return served_lists(found, trie, histories, m, exclude_seen)

    def _search(
        self, histories: Histories, trie: Trie, width: int, exclude_seen: bool = False
    ) -> Iterator[tuple[slice, BeamLists]]:
        parts = self._fitted()
        parts.network.eval()
        return parts.search.lists(histories, width, 1, exclude_seen, trie)

    def _exact_scores(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        return self._fitted().search.candidate_scores(histories, codes)

    def _fitted(self) -> _Parts:
        self._require_fitted()
        assert self._parts is not None
        return self._parts

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        parts = self._fitted()
        own = (parts.codes, np.array(parts.sizes), parts.popularity, np.array([parts.first]))
        state = to_arrays(parts.network.model, parts.tokens.tokenizer)
        return {**state, **dict(zip(_IDS, own, strict=True)), **self._standing_state()}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        state = self._take_standing(state)
        codes, sizes, popularity, first = (state[name] for name in _IDS)
        weights = {name: value for name, value in state.items() if name not in _IDS}
        model, tokenizer = from_arrays(weights)
        model = model.to(default_device())
        own = (codes, tuple(sizes.tolist()), popularity, int(first[0]))
        self._parts = _Parts(model, HFTokens(tokenizer), *own)
        self._parts.make_search(self.config.history)


class _Parts:
    """A language model that knows the codes of a catalogue."""

    search: LanguageSearch

    def __init__(
        self,
        model: Any,
        tokens: HFTokens,
        codes: npt.NDArray[np.int32],
        sizes: tuple[int, ...],
        popularity: npt.NDArray[np.int64],
        first: int,
    ) -> None:
        self.network, self.tokens = LanguageNetwork(model), tokens
        self.codes, self.sizes, self.popularity, self.first = codes, sizes, popularity, first
        self.prompts = Prompts(tokens, code_tokens(codes, sizes, first), sizes)
        self.trie = Trie.build(codes, sizes, order=-popularity).to(model.device)

    def make_search(self, history: int) -> None:
        """Be ready to be searched."""
        search = LanguageSearch(self.network, self.prompts, self.trie, self.first, history)
        self.search = search

    def require_room(self, history: int) -> None:
        """Refuse histories that the model cannot read.

        Raises:
            ConfigError: The longest prompt is longer than the texts it knows.
        """
        context = width_and_context(self.network.model)[1]
        longest = len(self.prompts.prefix) + (history + 1) * self.prompts.levels
        if context is not None and longest > context:
            raise ConfigError(
                f"{history} items of {self.prompts.levels} codes and the prompt around them make "
                f"{longest} tokens, but the language model reads at most {context}; lower history."
            )


def _local(name: str) -> str:
    """Folder or hub name of a model that runs in this process.

    Raises:
        ConfigError: The name is of a server or another engine.
    """
    kind, rest = parse_name(name)
    if kind not in ("tiny", "hf"):
        raise ConfigError(
            f"language_model={name!r} does not run in this process, so it cannot be trained; "
            "name it tiny:DATASET, hf:FOLDER_OR_HUB_NAME or by its folder."
        )
    return rest
