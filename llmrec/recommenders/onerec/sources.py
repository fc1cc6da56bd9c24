"""Where a model's semantic IDs come from: given, read, or fitted on what is known of the items."""

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.named import cache_home, find_dataset
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError
from llmrec.recommenders.item_texts import embed_items, item_texts
from llmrec.recommenders.onerec.tokenizer.behaviour import with_behaviour
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.fitting import fit_semantic_ids
from llmrec.recommenders.onerec.tokenizer.letter import read_letter_ids
from llmrec.recommenders.onerec.tokenizer.semantic_ids import MANIFEST, SemanticIds
from llmrec.retrieval.vectors import TextVectors


class IdSettings(Protocol):
    """What settings say about semantic IDs."""

    @property
    def semantic_ids(self) -> str | None:
        """IDs that are there already, by name."""
        ...

    @property
    def tokenizer(self) -> TokenizerConfig:
        """How items get their IDs otherwise."""
        ...

    @property
    def text_encoder(self) -> str:
        """What embeds the texts of items."""
        ...

    @property
    def item_text(self) -> str:
        """Which text of an item is embedded."""
        ...

    @property
    def behaviour(self) -> float:
        """Weight of vectors of behaviour beside texts."""
        ...


def semantic_ids_of(
    config: IdSettings,
    train: Histories,
    catalog: Catalog | None,
    vectors: TextVectors | None,
) -> SemanticIds:
    """Semantic IDs of the training catalogue.

    Args:
        config: Says whether they are read or fitted, and how.
        train: The training events.
        catalog: What is known of the items, or None.
        vectors: Vectors that take the place of the catalogue's texts, or None.

    Raises:
        ConfigError: Nothing is known of the items, or what the settings name is not there.
        DataError: See :func:`~.tokenizer.fitting.fit_semantic_ids`.
        ArtifactError: IDs that were read are of another catalogue.
    """
    if config.semantic_ids is not None:
        return read_semantic_ids(config.semantic_ids, train)
    vectors = vectors_of(config, train, catalog, vectors)
    if config.behaviour:
        vectors = with_behaviour(vectors, train, config.behaviour)
    return fit_semantic_ids(vectors, train, config.tokenizer)


def read_semantic_ids(name: str, train: Histories) -> SemanticIds:
    """IDs from a folder of ``llmrec items tokenize``, or published ones from a table.

    Args:
        name: A path, a path under ``LLMREC_HOME/semantic-ids``, or ``DATA SET/FILE``.
        train: The training events; they say how popular items are where the IDs do not.

    Raises:
        ConfigError: There is nothing of that name.
        ArtifactError: The IDs are of another catalogue.
        DataError: A table is not of the form it should have, or lacks an item.
    """
    path = _find(name)
    if (path / MANIFEST).is_file():
        ids = SemanticIds.load(path)
    else:
        ids = read_letter_ids(path, train.vocabulary)
    ids.require(train.vocabulary)
    if not ids.popularity.any():
        counts = np.bincount(train.items, minlength=len(train.vocabulary) + 1)[1:]
        ids = dataclasses.replace(ids, popularity=counts.astype(np.int64))
    return ids


def _find(name: str) -> Path:
    places = [Path(name), cache_home() / "semantic-ids" / name]
    dataset, _, file = name.partition("/")
    if file and (folder := find_dataset(dataset)) is not None:
        places.append(folder / file)
    for place in places:
        if place.is_file() or (place / MANIFEST).is_file():
            return place
    raise ConfigError(
        f"semantic_ids={name!r}: there are no semantic IDs in {' or '.join(map(str, places))}; "
        "write them with 'llmrec items tokenize'."
    )


def vectors_of(
    config: IdSettings, train: Histories, catalog: Catalog | None, vectors: TextVectors | None
) -> TextVectors:
    """What is known of the items of the training catalogue: vectors given, or those of its texts.

    Raises:
        ConfigError: Nothing is known of the items.
        DataError: The vectors are of another catalogue.
    """
    return vectors_of_items(config, train.vocabulary, catalog, vectors)


def vectors_of_items(
    config: IdSettings,
    vocabulary: Vocabulary,
    catalog: Catalog | None,
    vectors: TextVectors | None,
) -> TextVectors:
    """As :func:`vectors_of`, of any items."""
    if vectors is None:
        vectors = _text_vectors(config, catalog)
    vectors.require(vocabulary)
    return vectors


def _text_vectors(config: IdSettings, catalog: Catalog | None) -> TextVectors:
    if catalog is None:
        raise ConfigError(
            "onerec needs to know the items: call use_catalog(dataset.catalog), "
            "use_vectors(vectors) or use_semantic_ids(ids) before fit."
        )
    written = item_texts(catalog, config.item_text)
    cache = cache_home() / "text-vectors"
    return embed_items(written, catalog.vocabulary, config.text_encoder, cache)
