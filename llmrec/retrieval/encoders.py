"""Text encoders by name."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.contracts import TextEncoder
from llmrec.data.hashing import hash_json
from llmrec.errors import ArtifactError, ConfigError, nearest_name
from llmrec.retrieval import tfidf
from llmrec.retrieval.sentence import MINILM, SentenceEncoder
from llmrec.retrieval.tfidf import HashedTfidf
from llmrec.storage import read_json, write_json

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

_FORMAT = 1  # of what is remembered; raised when an encoder gives other vectors for the same texts


def text_encoder(
    name: str,
    corpus: Sequence[str] | None = None,
    *,
    seed: int = 0,
    batch_size: int = 64,
    device: str | None = None,
    max_tokens: int | None = None,
) -> TextEncoder:
    """Make or read the encoder of a name.

    Args:
        name: ``"tfidf"``, ``"tfidf:128"`` with a dimension, the directory of a fitted TF-IDF
            encoder, ``"minilm"``, or a directory or hub repository of a sentence-transformer.
        corpus: Texts on which a TF-IDF encoder is fitted; without them it is returned unfitted.
            Other encoders do not look at it.
        seed: Seed of a TF-IDF encoder.
        batch_size: Texts a batch of a sentence encoder.
        device: Device of a sentence encoder.
        max_tokens: Longest text of a sentence encoder.

    Raises:
        ConfigError: The name's dimension is no number, it is a misspelt name, or an extra is not
            installed.
        ArtifactError: The directory or repository cannot be read.
    """
    kind, _, dimension = name.partition(":")
    if kind == "tfidf":
        if dimension and not dimension.isdecimal():
            raise ConfigError(
                f"encoder {name!r}: {dimension!r} is no dimension; write 'tfidf:128'."
            )
        encoder = HashedTfidf(int(dimension) if dimension else 256, seed)
        return encoder if corpus is None else encoder.fit(corpus)
    if (Path(name) / tfidf.MANIFEST).is_file():
        return HashedTfidf.load(name)
    meant = nearest_name(name, ("tfidf", MINILM))
    if "did you mean" in meant and name != MINILM and not Path(name).exists():
        raise ConfigError(f"unknown text encoder {name!r}{meant}")  # before the hub is asked
    return SentenceEncoder(name, batch_size, device, max_tokens)


def cached_encoder(name: str, corpus: Sequence[str], cache: Path) -> TextEncoder:
    """An encoder that is made only when a text has to be embedded.

    What an encoder of this name, fitted on these texts, gave as its fingerprint is kept in the
    cache. While the vectors of its texts are there too, nothing is fitted, loaded or needs to be
    installed. Only for ``tfidf`` and ``minilm``, whose content the name and the texts decide.

    Args:
        name: As for :func:`text_encoder`.
        corpus: As for :func:`text_encoder`.
        cache: Directory of vectors, as for :func:`~llmrec.retrieval.vectors.embed_texts`.
    """
    kind = name.partition(":")[0]
    if kind not in ("tfidf", MINILM):
        return text_encoder(name, corpus)
    digest = hashlib.sha256(hash_json([_FORMAT, name]).encode())
    for text in corpus if kind == "tfidf" else ():
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    path = cache / "encoders" / f"{digest.hexdigest()[:32]}.json"
    if path.is_file():
        facts = read_json(path)
        return _LaterEncoder(name, corpus, facts["fingerprint"], facts["dim"], path)
    encoder = text_encoder(name, corpus)
    write_json(path, {"name": name, "fingerprint": encoder.fingerprint, "dim": encoder.dim})
    return encoder


class _LaterEncoder:
    """An encoder known by its fingerprint."""

    def __init__(
        self, name: str, corpus: Sequence[str], fingerprint: str, dim: int, source: Path
    ) -> None:
        self._name, self._corpus, self._source = name, corpus, source
        self.fingerprint = fingerprint
        self.dim = dim

    def encode(self, texts: Sequence[str]) -> "FloatArray":
        """Make the encoder and embed the texts.

        Raises:
            ArtifactError: It is not the one that embedded the other texts.
        """
        made = text_encoder(self._name, self._corpus)
        if made.fingerprint != self.fingerprint:
            raise ArtifactError(
                f"{self._source} was written by another encoder {self._name!r} than is made here "
                "(another machine or version), and vectors of both must not be mixed; delete it."
            )
        return made.encode(texts)
