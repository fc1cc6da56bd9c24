"""From vectors and training events to semantic IDs.

Codebooks are fitted on the items of the training period only: an item whose first event is held out
must not shape the codes that a model learns. The rest of the catalogue is encoded afterwards.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from llmrec.data.hashing import hash_arrays, hash_json
from llmrec.data.histories import Histories
from llmrec.errors import TrainingError
from llmrec.recommenders.onerec.tokenizer.codebooks import Codebooks, FloatArray, Int32Array
from llmrec.recommenders.onerec.tokenizer.collisions import count_collisions
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.kmeans import residual_kmeans
from llmrec.recommenders.onerec.tokenizer.placing import place_items, resolve_collisions
from llmrec.recommenders.onerec.tokenizer.semantic_ids import (
    SemanticIds,
    require_vectors,
    seen_with,
    vectors_hash,
)
from llmrec.retrieval.vectors import TextVectors


def fit_semantic_ids(
    vectors: TextVectors,
    train: Histories,
    config: TokenizerConfig | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> SemanticIds:
    """Fit a tokeniser and give every item of the catalogue its semantic ID.

    Args:
        vectors: Vectors of the items of ``train.vocabulary``.
        train: The training events; items without any are encoded, not fitted on.
        config: The settings; None for the defaults.
        device: Where k-means computes.
        progress: Called with a line now and then.

    Raises:
        DataError: Vectors are of another catalogue, an item has none, there are fewer items than
            codes, or the collision rule finds no room.
        TrainingError: The RQ-VAE diverged, hardly any code of a level is used, or hardly any of the
            first level is the nearest to an item.
    """
    config = config or TokenizerConfig()
    vocabulary = train.vocabulary
    vectors.require(vocabulary)
    require_vectors(vectors, np.ones(len(vocabulary), dtype=np.bool_), vocabulary, config)
    popularity = np.bincount(train.items, minlength=len(vocabulary) + 1)[1:].astype(np.int64)
    fitted = popularity > 0
    codebooks, raw, log = _fit(vectors.values[fitted], config, device, progress)
    require_use(raw, codebooks.sizes, config.least_used)
    nearest = codebooks.encode(vectors.values[fitted])
    # balance spreads also vectors that are all alike; later levels may have nothing left to tell
    require_use(nearest[:, :1], codebooks.sizes[:1], config.least_used)
    extra = (max(codebooks.sizes),) if config.collisions == "extra_digit" else ()
    sizes = (*codebooks.sizes, *extra)
    open_ = np.zeros(len(raw), dtype=np.bool_)
    own = (codebooks, vectors.values[fitted], popularity[fitted], config, sizes)
    settled = resolve_collisions(raw, open_, *own)
    codes = np.zeros((len(vocabulary), len(sizes)), dtype=np.int32)
    codes[fitted] = settled
    codes = place_items(codes, fitted, codebooks, vectors.values, popularity, config, sizes)
    return SemanticIds(
        codes,
        sizes,
        vocabulary,
        popularity,
        fitted,
        codebooks,
        config,
        vectors.encoder,
        vectors_hash(vectors),
        _space(codebooks, sizes, settled, vectors.encoder),
        seen_with(vectors.seen, train),
        _details(raw, settled, codes, nearest, log),
    )


def require_use(codes: Int32Array, sizes: tuple[int, ...], least: float) -> None:
    """Refuse a collapsed level.

    Raises:
        TrainingError: Fewer than the share ``least`` of a level's codes are used, or one only.
    """
    for level, size in enumerate(sizes):
        used = np.unique(codes[:, level]).size
        if used < max(2, least * min(size, len(codes))):
            raise TrainingError(
                f"the tokeniser collapsed: level {level + 1} uses {used} of {size} codes for "
                f"{len(codes)} items, so its codes say next to nothing. Check that vectors differ; "
                "for an RQ-VAE lower the learning rate or the commitment, or use k-means."
            )


def _fit(
    values: FloatArray,
    config: TokenizerConfig,
    device: str,
    progress: Callable[[str], None] | None,
) -> tuple[Codebooks, Int32Array, list[dict[str, object]]]:
    """Codebooks, the codes of the fitted items before any rule, and the training log."""
    if config.method == "rqvae":
        from llmrec.recommenders.onerec.tokenizer.rqvae import fit_rqvae

        codebooks, log = fit_rqvae(values, config)
        return codebooks, codebooks.encode(values), log
    levels = residual_kmeans(
        values,
        config.levels,
        config.codes,
        config.balance,
        config.rounds,
        config.seed,
        device,
        progress,
    )
    codebooks = Codebooks(tuple(level.centroids.cpu().numpy() for level in levels))
    codes = np.stack([level.codes.cpu().numpy() for level in levels], axis=1).astype(np.int32)
    return codebooks, codes, []


def _space(codebooks: Codebooks, sizes: tuple[int, ...], settled: Int32Array, encoder: str) -> str:
    return hash_json([list(sizes), codebooks.fingerprint, hash_arrays({"c": settled}), encoder])


def _details(
    raw: Int32Array,
    settled: Int32Array,
    codes: Int32Array,
    nearest: Int32Array,
    log: list[dict[str, object]],
) -> dict[str, object]:
    """Counts of the fit, as JSON values."""
    depth = raw.shape[1]
    agree: npt.NDArray[np.bool_] = raw == nearest
    return {
        "fitted_items": len(raw),
        "encoded_items": len(codes) - len(raw),
        "collisions_before": count_collisions(raw),
        "collisions_after": count_collisions(settled),
        "collisions_after_all_items": count_collisions(codes),
        "moved_items": int((raw != settled[:, :depth]).any(1).sum()),
        "nearest_agreement": [float(share) for share in agree.mean(0)],
        "nearest_agreement_all_levels": float(agree.all(1).mean()),
        "training_log": log,
    }
