"""Texts to vectors without any download: hashed TF-IDF, then a truncated SVD.

Words, pairs of words and, if wanted, character n-grams are hashed to columns, weighted by
(1 + ln count) x inverse document frequency, normalised, and projected onto the leading singular
vectors of the texts it was fitted on (latent semantic analysis, Deerwester et al. 1990). No word is
stored. It knows nothing of meaning beyond words that occur together.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.utils.extmath import randomized_svd

from llmrec.data.hashing import hash_arrays, hash_json
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.retrieval.folders import read_folder, write_folder

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

MANIFEST = "encoder.json"
_KIND = "hashed-tfidf"
_BATCH = 8192
_NEGLIGIBLE = 1e-5  # of the longest: singular values, and projections of unit rows


class HashedTfidf:
    """A text encoder that is fitted on the texts at hand.

    Args:
        dim: Largest length of a vector. It is smaller where the texts do not span as many
            directions: at most the number of texts, 1 when all are equal.
        seed: Seed of the randomised SVD and of the sample.
        word_ngrams: Shortest and longest run of words.
        char_ngrams: Shortest and longest run of characters inside words, or None; they help with
            misspellings, product codes and languages without spaces, at several times the cost.
        hash_bits: Features are hashed to ``2**hash_bits`` columns.
        max_features: Only the columns that occur in most texts are kept.
        sample: Fit on at most this many texts, drawn without replacement.

    Raises:
        ConfigError: A setting is out of range.
    """

    def __init__(
        self,
        dim: int = 256,
        seed: int = 0,
        *,
        word_ngrams: tuple[int, int] = (1, 2),
        char_ngrams: tuple[int, int] | None = None,
        hash_bits: int = 20,
        max_features: int = 32_768,
        sample: int = 50_000,
    ) -> None:
        self._settings: dict[str, Any] = {
            "dim": dim,
            "seed": seed,
            "word_ngrams": word_ngrams,
            "char_ngrams": char_ngrams,
            "hash_bits": hash_bits,
            "max_features": max_features,
            "sample": sample,
        }
        self._check()
        self._columns = np.empty(0, dtype=np.int64)
        self._idf = np.empty(0, dtype=np.float32)
        self._components: FloatArray = np.empty((0, 0), dtype=np.float32)

    def _check(self) -> None:
        for name in ("dim", "max_features", "sample"):
            if self._settings[name] < 1:
                raise ConfigError(f"{name} is {self._settings[name]}; it must be at least 1.")
        for name in ("word_ngrams", "char_ngrams"):
            span = self._settings[name]
            if span is not None and not 1 <= span[0] <= span[1]:
                raise ConfigError(
                    f"{name} is {span}; give the shortest and the longest, like 1, 2."
                )
        if not 8 <= self._settings["hash_bits"] <= 24:
            raise ConfigError(f"hash_bits is {self._settings['hash_bits']}, not from 8 to 24.")

    @property
    def dim(self) -> int:
        """Length of a vector; the settings' ``dim`` until the encoder is fitted."""
        return len(self._components) or int(self._settings["dim"])

    @property
    def fingerprint(self) -> str:
        """Hash of the settings and of everything that was learnt."""
        self._require_fitted()
        return f"{_KIND}:{hash_json([hash_json(self._settings), hash_arrays(self._state())])}"

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn document frequencies and singular vectors.

        Args:
            texts: The texts; blank ones are passed over.

        Raises:
            DataError: No text has a word in it.
        """
        chosen = [text for text in texts if text.strip()]
        rng = np.random.default_rng(self._settings["seed"])
        if len(chosen) > self._settings["sample"]:
            rows = rng.choice(len(chosen), self._settings["sample"], replace=False)
            chosen = [chosen[row] for row in np.sort(rows)]
        counts = self._count(chosen or [""])
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        order = np.argsort(-frequency, kind="stable")[: self._settings["max_features"]]
        self._columns = np.sort(order[frequency[order] > 0])
        if not self._columns.size:
            raise DataError(
                f"none of {len(texts)} texts has a word in it; give titles or descriptions, or "
                "vectors of your own."
            )
        counts = counts[:, self._columns]
        self._idf = TfidfTransformer().fit(counts).idf_.astype(np.float32)
        self._components = self._leading_directions(self._weigh(counts))
        return self

    def encode(self, texts: Sequence[str]) -> "FloatArray":
        """Embed texts: ``[n, dim]`` float32 unit rows.

        A blank text, and one with nothing in common with the fitted texts, is all zeros.

        Raises:
            ConfigError: The encoder was not fitted.
        """
        self._require_fitted()
        result = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            counts = self._count(texts[start : start + _BATCH])[:, self._columns]
            values = np.asarray(self._weigh(counts) @ self._components.T)
            norms = np.linalg.norm(values, axis=1, keepdims=True)
            known = norms > _NEGLIGIBLE
            np.divide(values, norms, out=result[start : start + _BATCH], where=known)
        return result

    def save(self, directory: str | Path) -> None:
        """Write the fitted encoder as safetensors and JSON.

        Raises:
            ConfigError: The encoder was not fitted.
        """
        facts = {"kind": _KIND, "fingerprint": self.fingerprint, "settings": self._settings}
        write_folder(directory, MANIFEST, facts, self._state())

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read an encoder that :meth:`save` wrote.

        Raises:
            ArtifactError: The directory holds something else or was changed.
        """
        facts, arrays = read_folder(directory, MANIFEST)
        if facts.get("kind") != _KIND:
            raise ArtifactError(f"{directory} holds an encoder of kind {facts.get('kind')!r}.")
        settings = dict(facts["settings"])
        for name in ("word_ngrams", "char_ngrams"):
            settings[name] = settings[name] and tuple(settings[name])
        encoder = cls(**settings)
        encoder._columns, encoder._idf = arrays["columns"], arrays["idf"]
        encoder._components = arrays["components"]
        if encoder.fingerprint != facts["fingerprint"]:
            raise ArtifactError(f"{directory}: settings and arrays are not of one encoder.")
        return encoder

    def _state(self) -> dict[str, Any]:
        return {"columns": self._columns, "idf": self._idf, "components": self._components}

    def _require_fitted(self) -> None:
        if not self._columns.size:
            raise ConfigError("the TF-IDF encoder was not fitted; call fit(texts) first.")

    def _count(self, texts: Sequence[str]) -> sparse.csr_array:
        """Feature counts ``[n, columns]``: words, then characters in columns of their own."""
        spans = {"word": self._settings["word_ngrams"], "char_wb": self._settings["char_ngrams"]}
        parts = [
            HashingVectorizer(
                analyzer=analyzer,
                ngram_range=span,
                n_features=2 ** self._settings["hash_bits"],
                token_pattern=r"(?u)\b\w+\b" if analyzer == "word" else None,
                alternate_sign=False,
                norm=None,
                dtype=np.float32,
            ).transform(texts)
            for analyzer, span in spans.items()
            if span is not None
        ]
        return sparse.csr_array(sparse.hstack(parts, format="csr"))

    def _weigh(self, counts: sparse.csr_array) -> sparse.csr_array:
        """Rows of (1 + ln count) x idf, of unit length."""
        weighted = counts.astype(np.float32)
        weighted.data = (1 + np.log(weighted.data)) * self._idf[weighted.indices]
        norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        scale = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
        weighted.data *= np.repeat(scale, np.diff(weighted.indptr))
        return weighted

    def _leading_directions(self, rows: sparse.csr_array) -> "FloatArray":
        """Right singular vectors ``[rank, columns]`` of the weighted texts."""
        rank = min(int(self._settings["dim"]), *rows.shape)
        _, strength, directions = randomized_svd(rows, rank, random_state=self._settings["seed"])
        kept = strength > _NEGLIGIBLE * strength[0]
        return np.ascontiguousarray(directions[kept], dtype=np.float32)
