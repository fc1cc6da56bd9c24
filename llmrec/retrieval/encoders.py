"""Text encoders by name."""

from collections.abc import Sequence
from pathlib import Path

from llmrec.contracts import TextEncoder
from llmrec.errors import ConfigError
from llmrec.retrieval import tfidf
from llmrec.retrieval.sentence import SentenceEncoder
from llmrec.retrieval.tfidf import HashedTfidf


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
        ConfigError: The name's dimension is no number, or an extra is not installed.
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
    return SentenceEncoder(name, batch_size, device, max_tokens)
