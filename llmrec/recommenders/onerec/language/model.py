"""A causal language model that writes semantic IDs, as a recommender.

The tokens of the codes are added to its vocabulary. It learns histories written in them, the ID of
every title and the title of every ID, and it is searched in the trie: what it would like to write
beside IDs has no part in a recommendation. Scores are log-probabilities over the whole vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.errors import ConfigError
from llmrec.evaluation.monitoring import ranking_metrics, require_ranking_metric
from llmrec.inference.hf_loading import load_model, width_and_context
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.inference.opening import parse_name, seen_by
from llmrec.recommenders.onerec.generative import default_device
from llmrec.recommenders.onerec.generator.sessions import SessionRule, told_sessions
from llmrec.recommenders.onerec.growing import require_codes_only
from llmrec.recommenders.onerec.language.agreement import require_search
from llmrec.recommenders.onerec.language.config import OneRecLMConfig
from llmrec.recommenders.onerec.language.network import LanguageNetwork
from llmrec.recommenders.onerec.language.texts import Prompts, TextRows
from llmrec.recommenders.onerec.language.tokens import add_codes, code_tokens
from llmrec.recommenders.onerec.language.weights import from_arrays, to_arrays
from llmrec.recommenders.onerec.language.writer import LanguageWriter
from llmrec.recommenders.onerec.list_recommender import ListRecommender
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.recommenders.onerec.trie import Trie
from llmrec.training.batches import BatchSource
from llmrec.training.seeds import seed_everything

_IDS = ("codes", "sizes", "popularity", "first_token")  # saved beside the weights


class OneRecLM(ListRecommender[OneRecLMConfig]):
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
    def writer(self) -> LanguageWriter:
        """See the base class."""
        parts = self._fitted()
        parts.network.eval()
        return parts.writer(self.config.history)

    @property
    def longest_session(self) -> int:
        """See the base class; lists are texts like those it was trained on, so none is longer."""
        return min(self.config.session, self.config.history)

    @property
    def trie(self) -> Trie:
        """The semantic IDs of a fitted model."""
        return self._fitted().trie

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        config = self.config
        if valid is not None:
            require_ranking_metric(config.training.metric, f"{self.name}: training.metric")
        ids = self._semantic_ids(train)
        standing = self._stand_ins(train, ids.popularity)
        seed_everything(config.training.seed)
        folder = _local(config.language_model)
        self._also_seen(seen_by(config.language_model))
        model, tokens = load_model(folder, None, "float32")
        first = add_codes(model, tokens.tokenizer, ids.sizes)
        self._parts = parts = _Parts(model, tokens, ids.codes, ids.sizes, ids.popularity, first)
        parts.require_room(config.history)
        writer, items = parts.writer(config.history), min(self.longest_session, 2)
        require_search(writer, parts.trie, train, items, config.language_model)
        self.details["sessions"] = told_sessions(SessionRule())
        rows = self._rows(train, parts.prompts)
        validate = None
        if valid is not None:
            metrics, filtered = [config.training.metric], config.validation_filters_seen

            def validate() -> Mapping[str, float]:
                return ranking_metrics(self._score_catalog, valid, metrics, filtered)

        self._standing = None  # validation while training is by the beam alone
        self._train(config.training, parts.network, rows, validate, semantic_ids=ids.fingerprint)
        self._standing = standing
        parts.network.eval()

    def training_rows(self, train: Histories) -> BatchSource:
        """See the base class; titles are among them where the model has a catalog."""
        return self._rows(train, self.prompts)

    def _rows(self, train: Histories, prompts: Prompts) -> TextRows:
        config, rows = self.config, prompts.sequences(train, self.config.history)
        if self._catalog is None:
            return rows
        titles = self._catalog.titles.fill_null("").to_list()
        if config.titles:
            rows = rows + prompts.titles(titles)
        if config.text_history:
            room = width_and_context(self._fitted().network.model)[1]
            rows = rows + prompts.told_histories(train, titles, config.text_history, room)
        return rows

    def _events(self) -> npt.NDArray[np.int64]:
        return self._fitted().popularity

    def _put_ids(self, ids: SemanticIds, popularity: npt.NDArray[np.int64]) -> None:
        require_codes_only(False, self.reward_model is not None)
        old = self._fitted()
        model = copy.deepcopy(old.network.model)
        self._parts = _Parts(model, old.tokens, ids.codes, ids.sizes, popularity, old.first)

    def _fitted(self) -> _Parts:
        self._require_fitted()
        assert self._parts is not None
        return self._parts

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        parts = self._fitted()
        own = (parts.codes, np.array(parts.sizes), parts.popularity, np.array([parts.first]))
        state = to_arrays(parts.network.model, parts.tokens.tokenizer)
        ours: dict[str, npt.NDArray[Any]] = dict(zip(_IDS, own, strict=True))
        return {**state, **ours, **self._standing_state(), **self._reward_state()}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        state = self._take_reward(self._take_standing(state))
        codes, sizes, popularity, first = (state[name] for name in _IDS)
        weights = {name: value for name, value in state.items() if name not in _IDS}
        model, tokenizer = from_arrays(weights)
        model = model.to(default_device())
        own = (codes, tuple(sizes.tolist()), popularity, int(first[0]))
        self._parts = _Parts(model, HFTokens(tokenizer), *own)


class _Parts:
    """A language model that knows the codes of a catalogue."""

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
        table = np.pad(codes.astype(np.int64), ((1, 0), (0, 0)))
        self._table = torch.from_numpy(table).to(model.device)

    def writer(self, history: int) -> LanguageWriter:
        """What writes after so many of the newest items."""
        return LanguageWriter(
            self.network, self.prompts, self._table, self.sizes, self.first, history
        )

    def require_room(self, history: int) -> None:
        """Refuse histories that the model cannot read.

        Raises:
            ConfigError: The longest prompt is longer than the texts it knows, or than a window that
                its layers see: a search has none.
        """
        context = width_and_context(self.network.model)[1]
        window = _window(self.network.model)
        longest = len(self.prompts.prefix) + (history + 1) * self.prompts.levels
        for most, does in ((context, "reads at most"), (window, "has layers that look back only")):
            if most is not None and longest > most:
                raise ConfigError(
                    f"{history} items of {self.prompts.levels} codes and the prompt around them "
                    f"make {longest} tokens, but the language model {does} {most}; lower history."
                )


def _window(model: Any) -> int | None:
    """Tokens that a model's layers see of a text where they slide over it; None for all."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    window: int | None = getattr(config, "sliding_window", None)
    return window


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
