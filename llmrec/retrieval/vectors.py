"""Vectors of texts: computed once per text and encoder, and tied to the ids they belong to.

A pass over many texts writes finished shards, so an interrupted one goes on where it stopped.
Vectors are stored in float16 and normalised when read; without a cache they are rounded in the
same way, so that a cache never changes a result.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from llmrec.contracts import TextEncoder
from llmrec.data.histories import Origin
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, DataError, shorten
from llmrec.retrieval.folders import read_folder, write_folder
from llmrec.storage import atomic_file

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

    Keys = npt.NDArray[np.bytes_]

MANIFEST = "vectors.json"
_KEY = "S32"


def embed_texts(
    texts: Sequence[str | None],
    encoder: TextEncoder,
    cache: str | Path | None = None,
    *,
    shard: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> "FloatArray":
    """Embed texts, equal ones once.

    Args:
        texts: The texts; None is a blank text.
        encoder: What embeds them.
        cache: Directory of vectors by encoder and text, or None.
        shard: Texts embedded, and written to the cache, at a time.
        progress: Called with the number of texts embedded and to embed after every shard.

    Returns:
        ``[n, dim]`` float32, unit rows; all zeros for blank texts.

    Raises:
        DataError: The encoder gave vectors of a wrong shape, or NaN or infinity.
        ArtifactError: A file of the cache is damaged.
        StorageError: The cache cannot be written; what is there already stays.
    """
    plain = ["" if text is None else text for text in texts]
    place = {text: row for row, text in enumerate(dict.fromkeys(plain))}
    distinct = list(place)
    values = np.zeros((len(distinct), encoder.dim), dtype=np.float16)
    keys = np.array([_key(t) for t in distinct], dtype=_KEY)
    todo = np.array([bool(text.strip()) for text in distinct], dtype=np.bool_)
    folder = None if cache is None else _folder(Path(cache), encoder)
    if folder is not None:
        _read_cache(folder, keys, values, todo)
    # the longest first: batches of like lengths, and too little memory shows at once
    rows = sorted(np.flatnonzero(todo).tolist(), key=lambda row: -len(distinct[row]))
    for start in range(0, len(rows), shard):
        piece = rows[start : start + shard]
        values[piece] = _embed([distinct[row] for row in piece], encoder)
        if folder is not None:
            _write_shard(folder, keys[piece], values[piece])
        if progress is not None:
            progress(min(start + shard, len(rows)), len(rows))
    spread = np.array([place[text] for text in plain], dtype=np.int64)
    return _unit_rows(values.astype(np.float32))[spread]


def _key(text: str) -> bytes:
    """Hash of a text; halves of surrogate pairs, as in broken exports, are hashed as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _embed(texts: list[str], encoder: TextEncoder) -> npt.NDArray[np.float16]:
    values = np.asarray(encoder.encode(texts), dtype=np.float32)
    if values.shape != (len(texts), encoder.dim):
        raise DataError(
            f"the encoder gave vectors of shape {values.shape} for {len(texts)} texts of "
            f"dimension {encoder.dim}."
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        names = shorten(texts[row][:60] for row in bad.tolist())
        raise DataError(f"the encoder gave NaN or infinity for {bad.size} texts: {names}.")
    return _unit_rows(values).astype(np.float16)


def _folder(cache: Path, encoder: TextEncoder) -> Path:
    return cache / hashlib.sha256(encoder.fingerprint.encode()).hexdigest()[:32]


def _read_cache(
    folder: Path, keys: "Keys", values: npt.NDArray[np.float16], todo: npt.NDArray[np.bool_]
) -> None:
    """Fill in the vectors that earlier passes wrote and strike them off ``todo``."""
    order = np.argsort(keys)
    ordered = keys[order]
    for path in sorted(folder.glob("*.safetensors")):
        stored, vectors = _read_shard(path, values.shape[1])
        place = np.searchsorted(ordered, stored)
        wanted = place < len(ordered)
        wanted[wanted] = ordered[place[wanted]] == stored[wanted]
        rows = order[place[wanted]]
        values[rows] = vectors[wanted]
        todo[rows] = False


def _read_shard(path: Path, dim: int) -> "tuple[Keys, npt.NDArray[np.float16]]":
    try:
        with safe_open(path, framework="numpy") as file:
            keys = np.ascontiguousarray(file.get_tensor("keys"))
            vectors: npt.NDArray[np.float16] = file.get_tensor("vectors")
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is damaged ({error}); delete it, its texts are then embedded again."
        ) from None
    if keys.shape != (len(vectors), 32) or vectors.shape[1:] != (dim,):
        raise ArtifactError(f"{path} is not a shard of {dim} dimensions; delete it.")
    return keys.view(_KEY).ravel(), vectors


def _write_shard(folder: Path, keys: "Keys", vectors: npt.NDArray[np.float16]) -> None:
    raw = keys.view(np.uint8).reshape(len(keys), 32)
    name = hashlib.sha256(raw.tobytes()).hexdigest()[:32]
    with atomic_file(folder / f"{name}.safetensors") as temporary:
        save_file({"keys": raw, "vectors": np.ascontiguousarray(vectors)}, temporary)


def _unit_rows(values: "FloatArray") -> "FloatArray":
    """Scale rows to length 1; rows of zeros stay. The largest entry first, against overflow."""
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0)
    scaled = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(norms > 0, norms, 1), dtype=np.float32)


@dataclass(frozen=True)
class TextVectors:
    """One vector per item or user.

    Attributes:
        values: ``[n, dim]`` float32: row ``i`` belongs to code ``i + 1``; length 1, or all zeros
            where there was no text.
        ids_fingerprint: Fingerprint of the vocabulary of the items or users.
        encoder: Fingerprint of the encoder, or ``"given"``.
        seen: Where the events came from that the vectors know; none where they are of texts alone.
    """

    values: "FloatArray"
    ids_fingerprint: str
    encoder: str
    seen: tuple[Origin, ...] = ()

    @classmethod
    def from_array(
        cls,
        values: npt.ArrayLike,
        vocabulary: Vocabulary,
        encoder: str = "given",
        seen: Sequence[Origin] = (),
    ) -> Self:
        """Take vectors from anywhere; rows are scaled to length 1.

        Args:
            values: ``[n, dim]`` numbers in the order of the vocabulary's codes; rows of zeros for
                ids without a text.
            vocabulary: The ids they belong to.
            encoder: Where they come from.
            seen: Where the events came from that they were made of, if they were.

        Raises:
            DataError: The array has not one row per id, or holds NaN or infinity.
        """
        try:
            with np.errstate(over="ignore"):  # too large for float32 is infinity, refused below
                matrix = np.array(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"vectors must be a table of numbers: {error}.") from None
        if matrix.ndim != 2 or not matrix.shape[1]:
            raise DataError(f"vectors must have two axes [ids, dimension], not {matrix.shape}.")
        if len(matrix) != len(vocabulary):
            raise DataError(
                f"{len(matrix)} vectors for {len(vocabulary)} {vocabulary.kind}s; give one row per "
                f"{vocabulary.kind} in the order of the ids, zeros where there is no text."
            )
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if bad.size:
            names = shorten(vocabulary.decode(bad + 1).to_list())
            raise DataError(
                f"vectors of {bad.size} {vocabulary.kind}s hold NaN or infinity: {names}; embed "
                "them again or set them to zero."
            )
        return cls(_unit_rows(matrix), vocabulary.fingerprint, encoder, tuple(seen))

    @classmethod
    def embed(
        cls,
        texts: Sequence[str | None],
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        cache: str | Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Embed one text per id with :func:`embed_texts`."""
        if len(texts) != len(vocabulary):
            raise DataError(f"{len(texts)} texts for {len(vocabulary)} {vocabulary.kind}s.")
        values = embed_texts(texts, encoder, cache, progress=progress)
        return cls.from_array(values, vocabulary, encoder.fingerprint)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.values.shape[1])

    @property
    def has_text(self) -> npt.NDArray[np.bool_]:
        """``[n]``: whether there was a text, that is, whether the row is not all zeros."""
        return np.asarray(self.values.any(axis=1), dtype=np.bool_)

    def require(self, vocabulary: Vocabulary, dim: int | None = None) -> None:
        """Refuse to be used with other ids, or where another dimension is expected.

        Raises:
            DataError: The vectors belong to other ids, or have another dimension.
        """
        if self.ids_fingerprint != vocabulary.fingerprint:
            raise DataError(
                f"the vectors ({len(self)} rows, encoder {self.encoder}) belong to another "
                f"catalogue than these {len(vocabulary)} {vocabulary.kind}s (fingerprint "
                f"{self.ids_fingerprint[:12]}, not {vocabulary.fingerprint[:12]}); embed the texts "
                f"of these {vocabulary.kind}s."
            )
        if dim is not None and self.dim != dim:
            raise DataError(
                f"the vectors have {self.dim} dimensions (encoder {self.encoder}), {dim} are "
                "expected; use the same encoder."
            )

    def save(self, directory: str | Path) -> None:
        """Write the vectors as safetensors and JSON, in full float32."""
        facts: dict[str, Any] = {"ids": self.ids_fingerprint, "encoder": self.encoder}
        if self.seen:
            facts["seen"] = [vars(origin) for origin in self.seen]
        write_folder(directory, MANIFEST, facts, {"values": self.values})

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: The directory holds something else or was changed.
        """
        facts, arrays = read_folder(directory, MANIFEST)
        missing = {"ids", "encoder"} - facts.keys()
        if missing or "values" not in arrays:
            raise ArtifactError(f"{directory} is incomplete: {', '.join(sorted(missing))}.")
        seen = tuple(Origin(**origin) for origin in facts.get("seen", ()))
        return cls(arrays["values"], facts["ids"], facts["encoder"], seen)
