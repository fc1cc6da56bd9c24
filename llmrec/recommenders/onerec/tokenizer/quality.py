"""How good semantic IDs are, as JSON values: use of codes, what they lose, what they keep near.

Figures of loads are about the items that were fitted on. Neighbour agreement asks whether items
that are near in the embedding share the beginning of their IDs: of the ten nearest items of a
sample, the share that has the same first codes, beside what chance would give.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError
from llmrec.recommenders.onerec.tokenizer.collisions import count_collisions
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds, vectors_hash
from llmrec.retrieval.faiss_index import neighbor_index
from llmrec.retrieval.vectors import TextVectors

SCHEMA = 1
_NEIGHBORS, _SAMPLED = 10, 2000

Int32Array = npt.NDArray[np.int32]


def quality_report(ids: SemanticIds, vectors: TextVectors, seed: int = 0) -> dict[str, Any]:
    """Describe semantic IDs.

    Args:
        ids: The IDs.
        vectors: The vectors they were made from.
        seed: Of the items whose neighbours are looked at.

    Returns:
        ``schema``, ``items``, ``fingerprint``, ``space``, ``sizes``; ``levels``: for each ``used``,
        ``utilisation``, ``entropy_bits``, ``perplexity``, ``smallest``, ``largest``, ``imbalance``
        (largest load over mean load) and ``loads``; ``collisions`` (items that share an ID) among
        all items; ``reconstruction``: share of the squared length of what is quantised that is left
        after each level, None without codebooks; ``neighbors``: for each number of first codes the
        share of near items that agree, and by chance; ``fit``: the counts of the fit.

    Raises:
        DataError: The vectors are not those of the IDs.
    """
    vectors.require(ids.vocabulary)
    if ids.codebooks is not None and vectors_hash(vectors) != ids.vectors:
        raise DataError(
            "these are not the vectors that the semantic IDs were made from (hash "
            f"{vectors_hash(vectors)[:12]}, not {ids.vectors[:12]}); embed the same texts with "
            "the same encoder."
        )
    own = ids.codes[ids.fitted]
    return {
        "schema": SCHEMA,
        "items": len(ids),
        "fingerprint": ids.fingerprint,
        "space": ids.space,
        "sizes": list(ids.sizes),
        "levels": [level_report(own[:, n], size) for n, size in enumerate(ids.sizes)],
        "collisions": count_collisions(ids.codes),
        "reconstruction": _reconstruction(ids, vectors),
        "neighbors": _neighbor_agreement(ids, vectors, seed),
        "fit": {name: value for name, value in ids.details.items() if name != "training_log"},
    }


def level_report(codes: Int32Array, size: int) -> dict[str, Any]:
    """Use of one level's codes.

    >>> level_report(np.array([0, 0, 1, 1], dtype=np.int32), 4)["perplexity"]
    2.0
    """
    loads = np.bincount(codes, minlength=size)
    shares = loads[loads > 0] / loads.sum()
    entropy = float(-(shares * np.log2(shares)).sum())
    return {
        "codes": size,
        "used": int((loads > 0).sum()),
        "utilisation": float((loads > 0).mean()),
        "entropy_bits": entropy,
        "perplexity": float(2**entropy),
        "smallest": int(loads.min()),
        "largest": int(loads.max()),
        "imbalance": float(loads.max() / loads.mean()),
        "loads": np.sort(loads)[::-1].tolist(),
    }


def _reconstruction(ids: SemanticIds, vectors: TextVectors) -> list[float] | None:
    if ids.codebooks is None:
        return None
    values = vectors.values[ids.fitted]
    codes = ids.codes[ids.fitted]
    whole = float((ids.codebooks.latent(values) ** 2).sum())
    levels = range(1, len(ids.codebooks.centroids) + 1)
    left = [float((ids.codebooks.residuals(values, codes, level) ** 2).sum()) for level in levels]
    return [one / whole if whole else 0.0 for one in left]


def _neighbor_agreement(ids: SemanticIds, vectors: TextVectors, seed: int) -> list[dict[str, Any]]:
    having = np.flatnonzero(vectors.has_text)
    rng = np.random.default_rng([seed, 41])
    rows = np.sort(rng.choice(having, min(_SAMPLED, having.size), replace=False))
    k = min(_NEIGHBORS, having.size - 1)
    if k < 1:
        return []
    _, found = neighbor_index(vectors.values).search(vectors.values[rows], k + 1)
    near = np.where(found == rows[:, None], -1, found)
    used = near >= 0
    report = []
    for depth in range(1, ids.levels + 1):
        _, prefix, counts = np.unique(
            ids.codes[:, :depth], axis=0, return_inverse=True, return_counts=True
        )
        prefix = prefix.ravel()
        same = (prefix[np.maximum(near, 0)] == prefix[rows][:, None]) & used
        chance = float((counts * (counts - 1)).sum()) / max(1, len(ids) * (len(ids) - 1))
        share = float(same.sum() / max(1, used.sum()))
        report.append({"codes": depth, "share": share, "by_chance": chance})
    return report
