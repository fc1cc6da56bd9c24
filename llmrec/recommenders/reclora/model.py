"""RecLoRA as a recommender: one language model, other adapters for every user.

A frozen CTR model reads the long history and decides, through gates, how the LoRA experts in the
base model are mixed; the base model reads a short history as text and answers yes or no. The base
model itself is not saved: a saved model names it and refuses another one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from llmrec.adapters.bundle import Bundle
from llmrec.adapters.experts import Experts
from llmrec.adapters.store import AdapterStore
from llmrec.contracts import Recommender
from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories, Origin
from llmrec.data.splits import Cases, LabelledCases
from llmrec.errors import ArtifactError, DataError
from llmrec.evaluation.ranks import exclude, top_items
from llmrec.recommenders.base import BaseRecommender, FloatArray
from llmrec.recommenders.ctr import CTRModel
from llmrec.recommenders.ctr.pairs import early_part, require_codes
from llmrec.recommenders.ctr.watched import require_metric
from llmrec.recommenders.reclora import saving
from llmrec.recommenders.reclora.asked import Prompt, written_out
from llmrec.recommenders.reclora.base_model import open_base
from llmrec.recommenders.reclora.config import RecLoRAConfig
from llmrec.recommenders.reclora.ctr_part import fitted_ctr, require_described, require_fitted_on
from llmrec.recommenders.reclora.parting import part_base
from llmrec.recommenders.reclora.questions import Questions, names_for, similarity
from llmrec.recommenders.reclora.ranker import Ranker
from llmrec.recommenders.reclora.rows import JudgedRows, is_judged, late_rows
from llmrec.recommenders.reclora.stores import filled_store
from llmrec.recommenders.reclora.training import (
    Checkpointing,
    Halted,
    diagnose,
    gate_inputs_of,
    make_ranker,
    train_ranker,
)
from llmrec.recommenders.reclora.validation import validation_of


class RecLoRA(BaseRecommender[RecLoRAConfig]):
    """Personalised LoRA for recommendation with a language model (arXiv 2408.03533).

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoints there.
        options: Fields of :class:`RecLoRAConfig`.

    Attributes:
        log: Training and validation rows of the language model's part.
    """

    name = "reclora"
    config_class = RecLoRAConfig
    scores_empty_histories: ClassVar[bool] = True

    def __init__(
        self,
        config: RecLoRAConfig | None = None,
        *,
        checkpoints: str | Path | None = None,
        resume: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(config, **options)
        folder = None if checkpoints is None else Path(checkpoints)
        self.checkpointing = Checkpointing(folder, resume)
        self.log: list[dict[str, Any]] = []
        self._catalog: Catalog | None = None
        self._judged: LabelledCases | None = None
        self._first_stage: Recommender | None = None
        self._given_ctr: CTRModel[Any] | None = None
        self._ranker: Ranker | None = None
        self._diagnosed: dict[str, Any] = {}

    # ---- what it is given ----

    def use_catalog(self, catalog: Catalog) -> Self:
        """Take titles, and texts for similarity, from a catalog."""
        self._catalog = catalog
        return super().use_catalog(catalog)

    def use_judged(self, valid: LabelledCases) -> Self:
        """Choose weights by the AUC on these pairs."""
        self._judged = valid
        return self

    def use_ctr(self, ctr: CTRModel[Any]) -> Self:
        """Take a CTR model that is fitted already, before :meth:`fit`; several may share one.

        It must be the one that the settings describe, fitted on the same training histories;
        :meth:`fit` refuses one that learnt other events.

        Raises:
            ConfigError: Its class or settings are others than those described.
        """
        require_described(ctr, self.config)
        self._given_ctr = ctr
        return self

    def use_candidates(self, first_stage: Recommender) -> Self:
        """Let :meth:`recommend` rank the best items of another recommender anew.

        Without it the CTR model chooses them. Only ``score_catalog`` is asked; it is not saved.

        Raises:
            DataError: It scores other items.
        """
        if first_stage.vocabulary.fingerprint != self.vocabulary.fingerprint:
            raise DataError(
                "the first stage scores other items than this model; fit both on the same data."
            )
        self._first_stage = first_stage
        return self

    # ---- what it is made of ----

    @property
    def is_fitted(self) -> bool:
        """Whether the model can score: not after a training that left no validated weights."""
        return super().is_fitted and self._ranker is not None

    @property
    def ranker(self) -> Ranker:
        """Gates, experts and prompts: what answers once ids are codes."""
        self._require_fitted()
        assert self._ranker is not None
        return self._ranker

    @property
    def ctr(self) -> CTRModel[Any]:
        """The frozen CTR model."""
        return self.ranker.ctr

    @property
    def bundle(self) -> Bundle:
        """Hashes of what belongs together."""
        self._require_fitted()
        return Bundle.from_dict(self.details["bundle"], "the model's details")

    @property
    def fallbacks(self) -> int:
        """How many histories without events were served by the mean gate so far."""
        return self.ranker.fallbacks

    def experts(self) -> Experts:
        """Experts and gates without the base model: copies on the CPU."""
        return self.ranker.lora.experts()

    def gate_inputs(self, histories: Histories) -> FloatArray:
        """What gates of kind ``user`` read: ``[n, gate_dim]``, for ``AdapterStore.put_states``.

        Raises:
            ArtifactError: These gates read the item in question too, or nothing at all.
        """
        histories, inputs = self._checked(histories), self.ranker.inputs
        if inputs is None or inputs.kind != "user":
            raise ArtifactError(
                "the gates of this model do not read users alone, so nobody has inputs of their "
                "own; train with gate_input=user and without gate_control=uniform."
            )
        return inputs.of(self.ctr, histories, None)

    def gates(self, histories: Histories) -> FloatArray:
        """Weights of the experts for users: ``[n, gates, K]`` float32.

        Raises:
            ArtifactError: As for :meth:`gate_inputs`.
        """
        inputs = self.gate_inputs(histories)
        return self.ranker.weights_uncounted(inputs, histories.lengths).numpy()

    def make_store(self, folder: str | Path, **options: Any) -> AdapterStore:
        """Make a store of adapters with the gates of all known users.

        Args:
            folder: Where; it must not exist, or be empty.
            options: Of :meth:`AdapterStore.create`.

        Raises:
            ArtifactError: As for :meth:`gate_inputs`.
            ConfigError: Both ``shrink`` and ``prior_events`` draw people with few events to a mean.
            DataError: A user's id is none that a store takes.
        """
        return filled_store(self, folder, options)

    def reports(self) -> Mapping[str, Mapping[str, Any]]:
        """How gates and experts ended up and whom they served since, as ``gates``.

        Known for a freshly fitted model whose experts have gates.
        """
        if not self._diagnosed or self.config.lora.compose == "shared":
            return {}
        served = self.ranker.served
        rate = self.fallbacks / served if served else None
        return {"gates": {"schema": 1, **self._diagnosed, "fallback_rate": rate}}

    # ---- training ----

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        config = self.config
        self._ranker, self.log = None, []  # a fit that is refused puts the old ones back
        require_metric(config.training.metric, self._judged, valid, self.name)
        if config.ctr_share < 1 and train.times is None:
            raise DataError(
                f"reclora: ctr_share is {config.ctr_share:g}, but these events have no clock by "
                "which to part them; set it to 1."
            )
        names = names_for(config, train.vocabulary, self._catalog)
        base = open_base(config.base, config.base_dtype, "cpu" if config.shard_base else None)
        until, early = early_part(train, config.ctr_share)
        action = "like" if is_judged(train) else "choose"
        vectors = similarity(config, early, self._catalog)
        questions = Questions(config, base.tokens, names, action, vectors)
        ctr = self._given_ctr
        if ctr is None:
            ctr = fitted_ctr(config, self.checkpointing, self._catalog, self._judged, train, valid)
        else:
            require_fitted_on(ctr, train, until)
        rows = late_rows(
            train, ctr.trained_until, config.subset, config.subset_seed, config.negatives,
            config.ctr.liked_above,
        )  # fmt: skip
        inputs = gate_inputs_of(config, ctr, rows)
        ranker = make_ranker(config, base, questions, ctr, inputs)
        if config.shard_base:
            part_base(ranker.lora)
        validate = validation_of(ranker, self._judged, valid)
        self._also_seen((*ctr.seen, *base.seen))
        try:
            self.log, cut = train_ranker(ranker, rows, validate, self.checkpointing)
        except Halted as halted:
            self._take(ranker, rows, saving.bundle_of(ranker, base, train.origin), halted.cut)
            raise
        self._take(ranker, rows, saving.bundle_of(ranker, base, train.origin), cut)

    def _take(self, ranker: Ranker, rows: JudgedRows, bundle: Bundle, cut: dict[str, int]) -> None:
        """Serve by a trained ranker, and say how it was made."""
        self._ranker = ranker
        self._diagnosed = dict(diagnose(ranker, rows))
        self.details |= {
            "bundle": bundle.to_dict(),
            "action": ranker.questions.action,
            "prompt": ranker.questions.prompt,
            "trained_until": ranker.ctr.trained_until,
            "rows": len(rows),
            "cut_names": ranker.questions.writer.cut_names,
            **cut,
            "gates": self._diagnosed,
        }

    def _learnt_more(self, rows: JudgedRows, origin: Origin | None) -> None:
        """Take note that experts and gates are others now, from rows of some origin."""
        if origin is not None:
            self._seen = tuple(dict.fromkeys([*self._seen, origin]))
        experts = self.experts().fingerprint
        self._diagnosed = dict(diagnose(self.ranker, rows))
        self.details |= {
            "bundle": dataclasses.replace(self.bundle, experts=experts).to_dict(),
            "gates": self._diagnosed,
        }

    # ---- scoring ----

    def score_pairs(self, histories: Histories, items: npt.NDArray[np.int32]) -> FloatArray:
        """``[n]`` probability of yes to item code ``items[i]`` after history ``i``, against no."""
        histories = self._checked_pairs(histories, items)
        odds = self.ranker.pair_odds(self.ranker.prepare(histories, items))
        return np.asarray(1 / (1 + np.exp(-odds.astype(np.float64))), dtype=np.float32)

    def prompts(self, histories: Histories, items: npt.NDArray[np.int32]) -> list[Prompt]:
        """What the language model is asked about item code ``items[i]`` after history ``i``.

        Put to another engine with the user's adapter, they give :meth:`score_pairs`.

        Returns:
            ``n`` questions, as text and as tokens, with the answers that are compared.
        """
        return written_out(self.ranker, self._checked_pairs(histories, items), items)

    def _checked_pairs(self, histories: Histories, items: npt.NDArray[np.int32]) -> Histories:
        histories = self._checked(histories)
        if items.shape != (len(histories),):
            raise DataError(f"{items.size} items were given for {len(histories)} histories.")
        require_codes(items, len(self.vocabulary))
        return histories

    def _score_catalog(self, histories: Histories) -> FloatArray:
        everything = np.arange(1, len(self.vocabulary) + 1, dtype=np.int32)
        return self._score_codes(histories, np.tile(everything, (len(histories), 1)))

    def _score_codes(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        return self.ranker.list_odds(histories, codes)

    def _list_scores(
        self,
        histories: Histories,
        allowed: npt.NDArray[np.bool_] | None,
        exclude_seen: bool,
        k: int,
    ) -> FloatArray:
        first = self._first_stage or self.ctr
        chosen = np.array(first.score_catalog(histories), dtype=np.float32)
        if allowed is not None:
            chosen = np.where(allowed, chosen, np.float32(-np.inf))
        if exclude_seen:
            exclude(chosen, histories.items, histories.offsets)
        most = min(max(k, self.config.candidates), chosen.shape[1])
        codes, values = top_items(chosen, most)
        odds = self.ranker.list_odds(histories, codes)
        row, place = np.nonzero(np.isfinite(values))
        scores = np.full(chosen.shape, -np.inf, dtype=np.float32)
        scores[row, codes[row, place] - 1] = odds[row, place]
        return scores

    # ---- saving ----

    def _state(self) -> Mapping[str, npt.NDArray[Any]]:
        return saving.state_of(self.ranker)

    def _personal_state(self) -> Mapping[str, npt.NDArray[Any]]:
        return saving.personal_state_of(self.ranker)

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        assert self._vocabulary is not None
        self._ranker = saving.restored(
            self.config, self.details, self._vocabulary, self.titles, self.seen, state
        )
