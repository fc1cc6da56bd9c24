"""Zero-shot ranking by a language model: yes or no about each item, or an order of a list.

Nothing is learnt here but the base, if one is named. ``score`` and ``rank`` ask about the
candidates that they are given. Where the whole catalogue is scored, only the best items of the
base are asked about; they come first in the model's order, then all others in the base's. Without
a base the catalogue must be small enough to ask about all of it. What the language model has been
trained on counts as seen by the ranker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.contracts import LanguageModel
from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories, Origin
from llmrec.data.splits import Cases
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.opening import open_language_model, seen_by
from llmrec.inference.prompts import chat_format
from llmrec.profiles.facts import item_facts
from llmrec.recommenders.base import BaseRecommender, FloatArray
from llmrec.recommenders.catalogs import require_items_of
from llmrec.recommenders.llm_ranker.answers import AnswerCounts
from llmrec.recommenders.llm_ranker.asking import Asker
from llmrec.recommenders.llm_ranker.bases import (
    PREFIX,
    Base,
    below,
    best_candidates,
    describe,
    load_base,
    restore,
    train_base,
)
from llmrec.recommenders.llm_ranker.config import GIVEN, LLMRankerConfig
from llmrec.recommenders.llm_ranker.questions import Questioner
from llmrec.recommenders.registry import MODELS
from llmrec.templates import load_template

_IDENTITY = ("model", "weights", "tokenizer")
"""Parts of a language model's fingerprint that must not change under a saved ranker."""


class LLMRanker(BaseRecommender[LLMRankerConfig]):
    """See the module.

    Args:
        config: Settings, or None to give them as keyword arguments.
        options: Fields of the config class.

    Attributes:
        counts: How many lists were asked about, and how many answers were legal.

    Example:
        >>> from llmrec.data.simulator import simulate
        >>> from llmrec.data import leave_one_out
        >>> data = simulate("simulate:tiny@1").dataset
        >>> split = leave_one_out(data)
        >>> model = LLMRanker(language_model="fake", base="popularity", n_candidates=5)
        >>> model = model.use_catalog(data.catalog).fit(split.train_histories())
        >>> model.recommend(split.cases("test").histories, k=3)["rank"].max()
        3
    """

    name: ClassVar[str] = "llm_ranker"
    config_class: ClassVar[type[LLMRankerConfig]] = LLMRankerConfig
    scores_empty_histories: ClassVar[bool] = True

    def __init__(self, config: LLMRankerConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.counts = AnswerCounts()
        self._catalog: Catalog | None = None
        self._base: Base | None = None
        self._given: LanguageModel | None = None
        self._given_seen: tuple[Origin, ...] = ()
        self._opened: LanguageModel | None = None
        self._asker: Asker | None = None

    def use_catalog(self, catalog: Catalog) -> Self:
        """Read the items' titles; where there is none, the category or the id is told."""
        self._catalog = catalog
        self.titles = pl.Series("title", item_facts(catalog).titles)
        return self

    def use_language_model(self, model: LanguageModel, seen: Sequence[Origin] = ()) -> Self:
        """Ask this model instead of opening one by name.

        Args:
            model: Any language model.
            seen: Where its training events came from, for what :meth:`fit` is told afterwards.
        """
        self._given, self._given_seen, self._asker = model, tuple(seen), None
        return self

    def use_base(self, base: Base) -> Self:
        """Rank the candidates of this fitted recommender, before :meth:`fit`."""
        self._base = base
        return self

    @property
    def base(self) -> Base | None:
        """The recommender whose candidates are ranked, or None."""
        return self._base

    def score_pairs(self, histories: Histories, items: npt.NDArray[np.int32]) -> FloatArray:
        """Probability of yes against no for item code ``items[i]`` after history ``i``: ``[n]``.

        Raises:
            ConfigError: The mode is listwise; it gives an order and no probabilities.
        """
        if self.config.mode != "pointwise":
            raise ConfigError("listwise ranking gives no probabilities of pairs; use pointwise.")
        if items.shape != (len(histories),):
            raise DataError(f"{items.size} items were given for {len(histories)} histories.")
        odds = self._log_odds(self._checked(histories), items[:, None], None)[:, 0]
        return np.asarray(1 / (1 + np.exp(-odds.astype(np.float64))), dtype=np.float32)

    def reports(self) -> Mapping[str, Mapping[str, Any]]:
        """How many lists were asked about since the model was made, and what came back."""
        if not self.counts.asked:
            return {}
        return {"llm_answers": {**vars(self.counts), "share_legal": self.counts.share_legal}}

    # ---- fitting ----

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        config = self.config
        base, catalog = self._base, self._catalog
        if catalog is not None:
            require_items_of(catalog, train.vocabulary, self.name)
        if config.base is not None and config.base in MODELS:
            base = train_base(config.base, config.base_settings, train, valid, self._catalog)
        elif config.base is not None:
            if config.base_settings:
                raise ConfigError(
                    f"base {config.base!r} is trained already, so base_settings would do nothing."
                )
            base = load_base(config.base, train.vocabulary)
        elif base is not None and base.vocabulary.fingerprint != train.vocabulary.fingerprint:
            raise ConfigError("the base knows other items than the training histories.")
        model = self._model()
        seen = self._given_seen if self._given is not None else seen_by(config.language_model)
        from_base = () if base is None else tuple(base.seen)
        action = _action(config, train)
        self._asker = None  # made when it is first needed, for these items
        details = {
            "action": action,
            "language_model": dict(model.fingerprint),
            "base": None if base is None else describe(base),
        }
        if catalog is None:
            self.titles = None  # what there is may be about the items of an earlier fit
        self._base, self.details = base, details
        self._also_seen((*from_base, *seen))

    # ---- scoring ----

    def _score_catalog(self, histories: Histories) -> FloatArray:
        everything = np.ones((len(histories), len(self.vocabulary)), dtype=bool)
        if self._base is not None and not self.config.seen_candidates:
            self._close_seen(everything, histories)
        return self._score_open(histories, everything, self.config.n_candidates)

    def _list_scores(
        self,
        histories: Histories,
        allowed: npt.NDArray[np.bool_] | None,
        exclude_seen: bool,
        k: int,
    ) -> FloatArray:
        """What is not to be recommended is not asked about either."""
        open_to = np.ones((len(histories), len(self.vocabulary)), dtype=bool)
        if allowed is not None:
            open_to &= allowed
        if exclude_seen:
            self._close_seen(open_to, histories)
        scores = self._score_open(histories, open_to, max(k, self.config.n_candidates))
        return np.where(open_to, scores, np.float32(-np.inf))

    @staticmethod
    def _close_seen(open_to: npt.NDArray[np.bool_], histories: Histories) -> None:
        owners = np.repeat(np.arange(len(histories)), histories.lengths)
        open_to[owners, histories.items - 1] = False

    def _score_open(
        self, histories: Histories, open_to: npt.NDArray[np.bool_], most: int
    ) -> FloatArray:
        """Ask about the ``most`` best open items of every row; the others come below."""
        base, shape = self._base, open_to.shape
        if base is None:
            self._require_few(int(open_to.sum(axis=1).max(initial=0)))
            scores = np.zeros(shape, dtype=np.float32)
        else:
            scores = base._score_catalog(base._checked(histories))
        codes = best_candidates(scores, most, open_to)
        asked = self._asked(histories, codes, scores)
        lowest = np.where(codes > 0, asked, np.inf).min(axis=1, initial=0.0).astype(np.float32)
        found = below(scores, lowest)
        rows = np.repeat(np.arange(shape[0])[:, None], codes.shape[1], axis=1)
        kept = codes > 0
        found[rows[kept], codes[kept] - 1] = asked[kept]
        return found

    def _score_codes(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        base = self._base
        scores = None if base is None else base._score_catalog(base._checked(histories))
        if self.config.mode == "pointwise":
            return self._log_odds(histories, codes, scores)
        found = np.zeros(codes.shape, dtype=np.float32)
        distinct = _distinct(codes, scores)
        asked = self._asked(histories, distinct, scores)
        for row in range(len(codes)):
            value = dict(zip(distinct[row].tolist(), asked[row].tolist(), strict=True))
            found[row] = [value[code] for code in codes[row].tolist()]
        return found

    def _asked(
        self, histories: Histories, codes: npt.NDArray[np.int32], scores: FloatArray | None
    ) -> FloatArray:
        """``[n, C]`` scores of distinct candidates in the order of the base."""
        if self.config.mode == "pointwise":
            return self._log_odds(histories, codes, scores)
        config, asker = self.config, self._ready()
        order = asker.ordered(histories, codes, config.window, config.stride, config.answer_tokens)
        place = np.argsort(order, axis=1, kind="stable")  # of equal keys only the zeros
        rank_of = np.empty_like(place)
        np.put_along_axis(rank_of, np.argsort(codes, axis=1, kind="stable"), place, 1)
        return np.asarray(codes.shape[1] - rank_of, dtype=np.float32)

    def _log_odds(
        self, histories: Histories, codes: npt.NDArray[np.int32], scores: FloatArray | None
    ) -> FloatArray:
        """``[n, C]`` log-odds; rows that failed keep the order of the base, where that is asked."""
        found = self._ready().log_odds(histories, codes, self.config.yes_no)
        failed = np.isnan(found) & (codes > 0)
        if failed.any():
            if scores is None:
                assert self._base is not None  # the settings see to it
                scores = self._base._score_catalog(self._base._checked(histories))
            ordered = below(scores, np.ones(len(scores), dtype=np.float32))
            own = np.take_along_axis(ordered, np.maximum(codes.astype(np.int64) - 1, 0), axis=1)
            found = np.where(failed, own, found)
        return np.where(codes > 0, found, np.float32(0))

    def _require_few(self, items: int) -> None:
        most = self.config.n_candidates
        if items > most:
            raise ConfigError(
                f"{self.name} has no base, so it would ask about {items:,} items for every "
                f"history, more than n_candidates={most}; name a base, or give candidates."
            )

    # ---- the language model ----

    def _model(self) -> LanguageModel:
        """The language model, opened when it is first needed."""
        if self._given is not None:
            return self._given
        if self.config.language_model == GIVEN:
            raise ConfigError(
                f"{self.name} has no language model: name one in language_model, or hand one over "
                "with use_language_model."
            )
        if self._opened is None:
            self._opened = open_language_model(self.config.language_model, **self.config.options)
        return self._opened

    def _ready(self) -> Asker:
        if self._asker is None:
            self._asker = self._make_asker()
        return self._asker

    def _make_asker(self) -> Asker:
        config, model = self.config, self._model()
        _require_same(config.language_model, self.details["language_model"], model.fingerprint)
        titles = self.vocabulary.ids.cast(pl.String) if self.titles is None else self.titles
        chat = config.chat_tokenizer
        questioner = Questioner(
            load_template(config.template_name),
            titles.to_list(),
            self.details["action"],
            config.liked_from,
            config.history,
            *([] if chat is None else [chat_format(chat)]),
        )
        wanted = "title" if config.mode == "pointwise" else "candidates"
        if questioner.asks_about != wanted:
            raise ConfigError(
                f"template {config.template_name} asks about {questioner.asks_about}, but "
                f"{config.mode} ranking needs one that asks about {wanted}."
            )
        cache = None if config.cache is None else ResponseCache(config.cache)
        return Asker(model, questioner, cache, config.on_failure == "keep_order", self.counts)

    # ---- saving ----

    def _state(self) -> Mapping[str, npt.NDArray[Any]]:
        state = {} if self._base is None else self._base._state()
        return {f"{PREFIX}{name}": array for name, array in state.items()}

    def _personal_state(self) -> Mapping[str, npt.NDArray[Any]]:
        state = {} if self._base is None else self._base._personal_state()
        return {f"{PREFIX}{name}": array for name, array in state.items()}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        about = self.details.get("base")
        self._base = None if about is None else restore(about, state, self)


def _action(config: LLMRankerConfig, train: Histories) -> str:
    """What is asked: whether the user will like an item, or choose it."""
    if config.action != "auto":
        return config.action
    return "choose" if train.labels is None and train.ratings is None else "like"


def _distinct(codes: npt.NDArray[np.int32], scores: FloatArray | None) -> npt.NDArray[np.int32]:
    """Every item of a row once, in the order of the scores or as given, zeros at the end."""
    found = np.zeros(codes.shape, dtype=np.int32)
    for row, own in enumerate(codes):
        kept = np.array(list(dict.fromkeys(own[own > 0].tolist())), dtype=np.int32)
        if scores is not None:
            kept = kept[np.argsort(-scores[row, kept - 1], kind="stable")]
        found[row, : kept.size] = kept
    return found


def _require_same(name: str, saved: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse a language model that is not the one the ranker was fitted with."""
    for part in _IDENTITY:
        if part in saved and part in now and saved[part] != now[part]:
            raise ArtifactError(
                f"the language model {name!r} is not the one this ranker was made with: its {part} "
                f"is {now[part]}, not {saved[part]}; fit the ranker again."
            )
