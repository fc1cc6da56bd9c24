"""Semantic IDs of a catalogue: every item's codes, the codebooks they come from, and for whom.

The item table and hashes of everything the codes depend on travel with them. Loading and use refuse
what does not fit by name: another catalogue, vectors of another encoder, a model of another code
space. New items get codes from the same codebooks; those that were there keep theirs, so a model
that learnt them stays valid.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file, save_file

import llmrec
from llmrec.data.hashing import hash_arrays, hash_json
from llmrec.data.histories import Histories, Origin
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, DataError, shorten
from llmrec.recommenders.onerec.tokenizer.codebooks import Codebooks
from llmrec.recommenders.onerec.tokenizer.collisions import Int32Array, Int64Array
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.placing import place_items
from llmrec.recommenders.onerec.trie import Trie
from llmrec.retrieval.folders import ARRAYS, open_folder, seal
from llmrec.retrieval.vectors import TextVectors
from llmrec.storage import atomic_directory

MANIFEST, ITEMS = "semantic_ids.json", "items.parquet"
_SCHEMA, _KIND = 1, "semantic-ids"
_FACTS = {"kind", "schema", "sizes", "space", "encoder", "vectors", "config", "fingerprint"}


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """Codes of every item of a catalogue.

    Attributes:
        codes: ``[items, levels]`` int32; row ``j`` belongs to item code ``j + 1``.
        sizes: Codes to choose from per level, an extra digit included.
        vocabulary: The items.
        popularity: ``[items]`` int64 training events; orders items that share an ID.
        fitted: ``[items]`` whether the item took part in fitting the codebooks.
        codebooks: What encodes new items; None for IDs read from elsewhere.
        config: Settings of the tokeniser.
        encoder: Fingerprint of what made the vectors.
        vectors: Hash of the vectors.
        space: Identity of the codes a model learns: sizes, codebooks, and the codes of the items
            that were there at fitting. Adding items does not change it.
        seen: Where the training events came from that said which items to fit on, and those that
            the vectors know.
        details: Figures of the fit, as JSON values.
    """

    codes: Int32Array
    sizes: tuple[int, ...]
    vocabulary: Vocabulary
    popularity: Int64Array
    fitted: npt.NDArray[np.bool_]
    codebooks: Codebooks | None
    config: TokenizerConfig
    encoder: str
    vectors: str
    space: str
    seen: tuple[Origin, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.vocabulary)
        if self.codes.shape != (n, len(self.sizes)):
            raise DataError(
                f"codes of shape {self.codes.shape} do not fit {n} items and sizes {self.sizes}."
            )

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def levels(self) -> int:
        """Codes per item."""
        return len(self.sizes)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the code space, the items and their codes."""
        arrays = hash_arrays({"codes": self.codes, "popularity": self.popularity})
        return hash_json([self.space, self.vocabulary.fingerprint, list(self.sizes), arrays])

    @cached_property
    def trie(self) -> Trie:
        """The IDs as a trie; items that share one are ordered by popularity."""
        return Trie.build(self.codes, self.sizes, order=-self.popularity)

    def require(self, vocabulary: Vocabulary | None = None, space: str | None = None) -> None:
        """Refuse to be used with other items, or with a model of another code space.

        Raises:
            ArtifactError: They do not fit; the message gives both hashes.
        """
        if vocabulary is not None and vocabulary.fingerprint != self.vocabulary.fingerprint:
            raise ArtifactError(
                f"the semantic IDs are of another catalogue ({len(self)} items, fingerprint "
                f"{self.vocabulary.fingerprint[:12]}) than these {len(vocabulary)} items "
                f"({vocabulary.fingerprint[:12]}); add the items with with_items, or tokenise them."
            )
        if space is not None and space != self.space:
            raise ArtifactError(
                f"the semantic IDs are of code space {self.space[:12]}, but the model was trained "
                f"on {space[:12]}; use the IDs saved with the model, or train it again."
            )

    def with_items(self, vocabulary: Vocabulary, vectors: TextVectors) -> "SemanticIds":
        """The IDs of another catalogue from the same codebooks.

        Items that are known keep their codes, items that are gone lose theirs, and new items take
        the nearest codes, or those that the collision rule leaves them.

        Args:
            vocabulary: The items of the new catalogue.
            vectors: Their vectors, of the same encoder.

        Raises:
            DataError: The vectors are of another encoder, dimension or catalogue, a new item has
                none, or the collision rule has no room for them.
            ConfigError: These IDs have no codebooks, or too few levels for more items.
        """
        if self.codebooks is None:
            raise ConfigError("these semantic IDs were read without codebooks; fit a tokeniser.")
        vectors.require(vocabulary, self.codebooks.dim)
        if vectors.encoder != self.encoder:
            raise DataError(
                f"the codebooks were fitted on vectors of encoder {self.encoder[:40]}, these come "
                f"from {vectors.encoder[:40]}; embed the items with the same encoder."
            )
        old = self.vocabulary.encode(vocabulary.ids, on_unknown="zero").astype(np.int64) - 1
        known = old >= 0
        require_vectors(vectors, ~known, vocabulary, self.config)
        codes = np.zeros((len(vocabulary), self.levels), dtype=np.int32)
        codes[known] = self.codes[old[known]]
        popularity = np.where(known, self.popularity[old], 0)
        fitted = known & self.fitted[old]
        codes = place_items(
            codes, known, self.codebooks, vectors.values, popularity, self.config, self.sizes
        )
        return dataclasses.replace(
            self,
            codes=codes,
            vocabulary=vocabulary,
            popularity=popularity,
            fitted=fitted,
            vectors=vectors_hash(vectors),
            seen=tuple(dict.fromkeys((*self.seen, *vectors.seen))),
            details={**self.details, "added_items": int((~known).sum())},
        )

    def save(self, directory: str | Path, titles: pl.Series | None = None) -> None:
        """Write IDs, codebooks and item table as safetensors, parquet and JSON, atomically.

        Args:
            directory: The destination.
            titles: ``[items]`` readable names for the item table.
        """
        table = pl.DataFrame({"item_id": self.vocabulary.ids})
        if titles is not None:
            table = table.with_columns(titles.alias("title"))
        arrays = {} if self.codebooks is None else self.codebooks.to_arrays()
        own: dict[str, npt.NDArray[Any]] = {"codes": self.codes, "popularity": self.popularity}
        own["fitted"] = self.fitted
        with atomic_directory(directory, MANIFEST) as folder:
            save_file({**own, **arrays}, folder / ARRAYS)
            table.write_parquet(folder / ITEMS)
            seal(folder, MANIFEST, self._facts())

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: It is something else, of another version, or was changed.
        """
        facts = open_folder(directory, MANIFEST)
        missing = _FACTS - facts.keys()
        if missing or facts["kind"] != _KIND or facts["schema"] != _SCHEMA:
            raise ArtifactError(
                f"{directory} does not hold semantic IDs of version {_SCHEMA} (kind "
                f"{facts.get('kind')!r}, version {facts.get('schema')!r})."
            )
        arrays = load_file(Path(directory) / ARRAYS)
        vocabulary = Vocabulary(pl.read_parquet(Path(directory) / ITEMS)["item_id"], "item")
        found = cls(
            arrays["codes"],
            tuple(facts["sizes"]),
            vocabulary,
            arrays["popularity"],
            arrays["fitted"],
            Codebooks.from_arrays(arrays) if "codebook.0" in arrays else None,
            TokenizerConfig(**facts["config"]),
            facts["encoder"],
            facts["vectors"],
            facts["space"],
            tuple(Origin(**origin) for origin in facts.get("seen", ())),
            facts.get("details", {}),
        )
        if found.fingerprint != facts["fingerprint"]:
            raise ArtifactError(f"{directory}: item table, codes and manifest are not of one set.")
        return found

    def _facts(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "schema": _SCHEMA,
            "llmrec": llmrec.__version__,
            "fingerprint": self.fingerprint,
            "space": self.space,
            "items": self.vocabulary.fingerprint,
            "sizes": list(self.sizes),
            "encoder": self.encoder,
            "vectors": self.vectors,
            "config": self.config.model_dump(mode="json"),
            "seen": [vars(origin) for origin in self.seen],
            "details": dict(self.details),
        }


def seen_with(seen: Sequence[Origin], train: Histories) -> tuple[Origin, ...]:
    """What is known already, and the origin of training events."""
    origins = (*seen, train.origin)
    return tuple(dict.fromkeys(origin for origin in origins if origin is not None))


def vectors_hash(vectors: TextVectors) -> str:
    """Hash of vectors and of what made them."""
    return hash_json([vectors.encoder, hash_arrays({"values": vectors.values})])


def require_vectors(
    vectors: TextVectors,
    rows: npt.NDArray[np.bool_],
    vocabulary: Vocabulary,
    config: TokenizerConfig,
) -> None:
    """Refuse items without a vector where the settings say so.

    Raises:
        DataError: Some of ``rows`` have no vector.
    """
    blank = np.flatnonzero(rows & ~vectors.has_text)
    if blank.size and config.without_text == "error":
        names = shorten(vocabulary.decode(blank + 1).to_list())
        raise DataError(
            f"{blank.size} items have no text, so their vectors are all zeros: {names}. Give them "
            "a title, drop them, or set without_text to 'encode'; such items are then told apart "
            "by the collision rule alone."
        )
