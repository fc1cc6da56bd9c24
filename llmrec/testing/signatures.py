"""Signatures with known labels, drawn from scratch: a wrong answer hesitates at one position.

Values are log-probabilities of a full, drawn distribution, so that tails, ranks and moments over
the vocabulary are true. Nothing here needs a language model.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.inference.signature import SignatureRecord, tail_logmass

VOCAB_SIZE = 50


def labelled_signatures(
    n: int,
    seed: int,
    k: int = 8,
    lengths: tuple[int, int] = (1, 12),
    contrast: float = 3.0,
    width: int = VOCAB_SIZE,
    **about: Any,
) -> tuple[list[SignatureRecord], npt.NDArray[np.float32]]:
    """Draw records and labels, 1 for risk.

    Args:
        n: Records, half of them (rounded down) with label 1, in random order.
        seed: Of everything that is drawn.
        k: Columns.
        lengths: Least and most positions.
        contrast: How much flatter the distribution at the wrong position is; 0 for no difference.
        width: Tokens of the vocabulary.
        about: Further fields of the records.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation((np.arange(n) < n // 2).astype(np.float32))
    records = []
    for label in labels:
        positions = int(rng.integers(lengths[0], lengths[1] + 1))
        sharpness = rng.uniform(2.0, 4.0, size=(positions, 1))
        if label and positions:
            sharpness[rng.integers(positions)] /= 1 + contrast
        logits = sharpness * rng.standard_normal((positions, width))
        records.append(record_of_logits(logits, rng, k, **about))
    return records, labels


def record_of_logits(
    logits: npt.NDArray[np.float64], rng: np.random.Generator, k: int, **about: Any
) -> SignatureRecord:
    """A record of ``[N, V]`` logits, its tokens sampled from them."""
    logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    drawn = (logprobs + rng.gumbel(size=logprobs.shape)).argmax(axis=1)
    actual = logprobs[np.arange(len(logprobs)), drawn]
    ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(logprobs, ids, axis=1)
    values = {
        "vocab_size": logprobs.shape[1],
        "mode": "raw_logprobs",
        "kind": "output",
        "has_eos": False,
        "fingerprint": {"model": "drawn", "tokenizer": "drawn"},
        "tokens": tuple(f" t{token}" for token in drawn),
    }
    return SignatureRecord(
        kept.astype(np.float32),
        np.ones(kept.shape, dtype=np.bool_),
        actual.astype(np.float32),
        (logprobs > actual[:, None]).sum(axis=1).astype(np.int32),
        np.zeros(len(logprobs), dtype=np.bool_),
        tail_logmass(kept),
        topk_ids=ids.astype(np.int32),
        row_mean=logprobs.mean(axis=1).astype(np.float32),
        row_std=logprobs.std(axis=1, ddof=1).astype(np.float32),
        **(values | about),
    )
