"""The text side: which events of a history are told, and the prompts about items after it."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, row_of_each
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.recommenders.catalogs import require_items_of
from llmrec.recommenders.ctr.pairs import labels_of
from llmrec.recommenders.ctr.search import co_occurrence_vectors, text_vectors
from llmrec.recommenders.reclora.config import RecLoRAConfig
from llmrec.recommenders.reclora.prompts import PromptWriter, Told
from llmrec.recommenders.reclora.retrieval import told_events
from llmrec.recommenders.reclora.token_rows import TokenRows
from llmrec.templates import load_template

Float32 = npt.NDArray[np.float32]


class Questions:
    """Writes the prompts of one base model.

    Args:
        config: Settings.
        tokens: The base model's tokenizer.
        names: What items are called, by code minus 1.
        action: ``like`` where the training events say what was liked, else ``choose``.
        vectors: ``[items + 1, d]`` unit vectors of items; None where nothing is searched.

    Attributes:
        tokens: As given.
        action: As given.
        vectors: As given.
        prompt: Hash of the template.
        writer: What turns events into tokens.

    Raises:
        ConfigError: The template does not fit; see :class:`PromptWriter`.
    """

    def __init__(
        self,
        config: RecLoRAConfig,
        tokens: HFTokens,
        names: list[str],
        action: str,
        vectors: Float32 | None,
    ) -> None:
        self._config, self.tokens, self.action, self.vectors = config, tokens, action, vectors
        template = load_template(config.prompt)
        self.prompt = template.fingerprint
        self.writer = PromptWriter(
            tokens, template, names, action, config.max_tokens, config.title_tokens
        )

    @property
    def ends(self) -> TokenRows:
        """The end of the question about every item, row ``code - 1``."""
        return self.writer.ends

    @property
    def bare(self) -> TokenRows:
        """The beginning of a prompt that tells no event: ``[1]``."""
        nothing = np.empty(0, dtype=np.int32)
        liked = np.empty(0, dtype=bool) if self.action == "like" else None
        return self.writer.beginnings(Told(nothing, liked, np.zeros(2, dtype=np.int64)))

    def beginnings(
        self, histories: Histories, items: npt.NDArray[np.int32] | None = None
    ) -> TokenRows:
        """The beginnings of prompts: ``[n]``; see :meth:`told` for the arguments."""
        return self.writer.beginnings(self.told(histories, items))

    def told(self, histories: Histories, items: npt.NDArray[np.int32] | None = None) -> Told:
        """The events that the prompts of ``[n]`` histories are to tell.

        Args:
            histories: ``[n]``.
            items: ``[n]`` items in question; read only where the search is by them.
        """
        config = self._config
        labels = None
        if self.action == "like":
            labels = labels_of(histories, config.ctr.liked_above)
            if labels is None:
                _tell_of_missing_answers(histories)
            else:  # nothing can be told of an event that says nothing
                histories, labels = _answered(histories, labels)
        by_target = config.retrieval == "target_topk"
        index, offsets = told_events(
            histories,
            config.retrieval,
            config.text_history,
            config.searched,
            self.vectors,
            items if by_target else None,
        )
        liked = None if labels is None else labels[index] > 0
        return Told(histories.items[index], liked, offsets)


def _answered(histories: Histories, labels: Float32) -> tuple[Histories, Float32]:
    """The events that say whether they were liked, and what they say."""
    said = ~np.isnan(labels)
    if said.all():
        return histories, labels
    kept = np.bincount(row_of_each(histories.offsets)[said], minlength=len(histories))
    left = Histories(
        histories.user_ids, histories.items[said], offsets_of(kept), histories.vocabulary
    )
    return left, labels[said]


def _tell_of_missing_answers(histories: Histories) -> None:
    if histories.items.size:
        warnings.warn(
            "this reclora model learnt from events that say whether they were liked, and these "
            "histories do not say; prompts tell their events as chosen, which it never learnt. "
            "Give histories with labels or ratings.",
            UserWarning,
            stacklevel=2,
        )


def item_names(
    config: RecLoRAConfig, vocabulary: Vocabulary, titles: pl.Series | None
) -> list[str]:
    """What prompts call every item.

    Raises:
        ConfigError: Titles are wanted and there are none.
    """
    ids = vocabulary.ids.cast(pl.String)
    if config.item_names == "id":
        return ids.to_list()
    if titles is None:
        raise ConfigError(
            "reclora needs the items' titles: call use_catalog(dataset.catalog) before fit, or set "
            "item_names=id where items have no names."
        )
    named = titles.cast(pl.String).str.strip_chars()
    return (
        pl.select(pl.when(named.str.len_chars() > 0).then(named).otherwise(ids))
        .to_series()
        .to_list()
    )


def names_for(config: RecLoRAConfig, vocabulary: Vocabulary, catalog: Catalog | None) -> list[str]:
    """:func:`item_names` from the catalog that was given for a training.

    Raises:
        DataError: The catalog holds other items, so that prompts would name the wrong ones.
        ConfigError: Titles are wanted and there is no catalog.
    """
    if catalog is not None:
        require_items_of(catalog, vocabulary, "reclora")
    return item_names(config, vocabulary, None if catalog is None else catalog.titles)


def similarity(config: RecLoRAConfig, early: Histories, catalog: Catalog | None) -> Float32 | None:
    """Vectors by which events are searched; None where nothing is.

    Args:
        config: Settings.
        early: Events that the language model's part does not learn from.
        catalog: For similarity by text.

    Raises:
        ConfigError: Texts are wanted and there is no catalog.
    """
    if config.retrieval == "recent":
        return None
    if config.similarity == "co_occurrence":
        return co_occurrence_vectors(early, config.similarity_dim)
    if catalog is None:
        raise ConfigError("similarity=text needs use_catalog before fit.")
    return text_vectors(catalog)


def arrays_of(questions: Questions) -> dict[str, npt.NDArray[Any]]:
    """What has to be saved of the text side."""
    return {} if questions.vectors is None else {"similar": questions.vectors}
