"""A fitted model and a larger catalogue: what has to fit before new items are put beside the old.

A model has learnt codes, not items. As long as the items that it knows keep theirs, the others are
further branches of the trie, and nothing has to be trained again.
"""

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.catalog import Catalog
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, DataError, shorten
from llmrec.recommenders.onerec.cold_items import Int32Array, stand_ins
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.recommenders.onerec.trie import Trie
from llmrec.retrieval.vectors import TextVectors

Int64Array = npt.NDArray[np.int64]


def places_of(vocabulary: Vocabulary, ids: SemanticIds) -> Int64Array:
    """Rows that the items of a model have in larger IDs.

    Args:
        vocabulary: The items the model knows.
        ids: The IDs that are to take the place of its own.

    Returns:
        ``[items]`` rows of ``ids``.

    Raises:
        DataError: An item is not among them.
    """
    rows = ids.vocabulary.encode(vocabulary.ids, on_unknown="zero").astype(np.int64) - 1
    if (gone := np.flatnonzero(rows < 0)).size:
        names = shorten(vocabulary.decode(gone + 1).to_list())
        raise DataError(
            f"the semantic IDs lack {gone.size} items that this model knows: {names}. Keep them, "
            "for histories may hold them, and leave them out of recommendations with candidates."
        )
    return rows


def require_same_codes(trie: Trie, ids: SemanticIds, rows: Int64Array, space: str | None) -> None:
    """Refuse IDs that are no extension of those a model has learnt.

    Args:
        trie: The IDs of the model.
        ids: The others.
        rows: ``[items]`` where the items of the model are in them.
        space: The code space of the model; None where it was saved without, then only codes count.

    Raises:
        ArtifactError: They are of another code space, or an item has other codes.
    """
    ids.require(space=space)
    own = trie.to("cpu")
    codes = own.leaf_codes(torch.from_numpy(own.item_leaves)).numpy()
    if trie.sizes != ids.sizes or not (same := (codes == ids.codes[rows]).all(1)).all():
        changed = "all" if trie.sizes != ids.sizes else int((~same).sum())
        raise ArtifactError(
            f"{changed} of the {len(rows)} items that this model knows have other codes in these "
            "semantic IDs; take those it was trained with and add the items with with_items."
        )


def require_catalog(catalog: Catalog | None, ids: SemanticIds) -> None:
    """Refuse a catalogue of other items than the IDs are of.

    Raises:
        DataError: The items differ.
    """
    if catalog is not None and catalog.vocabulary.fingerprint != ids.vocabulary.fingerprint:
        raise DataError(
            f"the catalogue has {len(catalog)} items, the semantic IDs are of {len(ids)} others or "
            "in another order; give ids.with_items the vocabulary of the catalogue."
        )


def kept_popularity(
    popularity: npt.NDArray[np.int64], ids: SemanticIds, rows: Int64Array
) -> npt.NDArray[np.int64]:
    """Training events of all items: those of the items that were there, and what the IDs say."""
    found = ids.popularity.copy()
    found[rows] = popularity
    return found


def more_stand_ins(
    standing: Int32Array, vectors: TextVectors, popularity: npt.NDArray[np.int64], rows: Int64Array
) -> Int32Array:
    """Who stands in for whom, with new items: the items that were there keep who stood in for them.

    Args:
        standing: ``[items + 1]`` by item code of the model; see :func:`~.cold_items.stand_ins`.
        vectors: Of all items.
        popularity: ``[more items]`` training events.
        rows: ``[items]`` where the items of the model are now.
    """
    found = stand_ins(vectors, popularity)
    moved = np.concatenate([[0], rows + 1])
    found[moved] = moved[standing]
    return found


def require_codes_only(item_vectors: bool, rewarded: bool) -> None:
    """Refuse a model that has learnt more of an item than its codes.

    Raises:
        ConfigError: It has vectors of items, or a reward model.
    """
    if item_vectors:
        raise ConfigError(
            "this model has a learnt vector per item (generator.item_vectors), which a new item "
            "lacks; train it with item_vectors=false, or again on the larger catalogue."
        )
    if rewarded:
        raise ConfigError(
            "the reward model of this model knows items one by one and cannot judge new ones; set "
            "model.reward_model = None to write the most probable sessions, then add the items."
        )
