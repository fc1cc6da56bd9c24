"""Single numbers per record: what has to be beaten.

Every function gives *surprise*: larger means that the model was less sure. An answer with much
surprise is more likely wrong; a text with little is more likely one that was trained on. Members of
the family of gated scores (paper, Section 4): mean, least and largest probability, loss, Min-K% and
Min-K%++. NaN where a record does not say enough, for instance one without positions.

Min-K%: Shi et al. 2023 (arXiv 2310.16789). Min-K%++: Zhang et al. 2024 (arXiv 2404.02936), its
moments weighted by probability. Zlib: Carlini et al. 2021 (arXiv 2012.07805).
"""

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from llmrec.errors import ConfigError, DataError, nearest_name
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.baselines.positions import (
    Positions,
    Values,
    lowest_mean,
    mean_over,
    moments_of_values,
    positions_of,
    quantiles_of,
    standardised,
    sum_over,
)

LOWEST_SHARE = 0.2
"""The share of positions that Min-K% and Min-K%++ look at."""

_Score = Callable[[Positions, Sequence[SignatureRecord]], Values]


def score_records(name: str, records: Sequence[SignatureRecord]) -> Values:
    """One number per record: ``[n]`` float64, larger for more surprise, NaN where not known.

    Args:
        name: One of :data:`SCORES`.
        records: Of any length and width.

    Raises:
        ConfigError: There is no such score.
        DataError: The score needs what the records do not have: a text, or moments over the
            vocabulary.

    Example:
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> records, labels = labelled_signatures(200, seed=0, lengths=(5, 5))
        >>> surprise = score_records("min_logprob", records)
        >>> surprise[labels == 1].mean() > surprise[labels == 0].mean()
        np.True_
    """
    if name not in SCORES:
        raise ConfigError(f"unknown score {name!r}{nearest_name(name, SCORES)}.")
    return SCORES[name](positions_of(list(records)), records)


def _extreme(values: Values, positions: Positions, largest: bool) -> Values:
    share = np.array([1.0 if largest else 0.0])
    return quantiles_of(values, positions.offsets, share)[:, 0]


def _min_k_plus(positions: Positions, mean: Values, deviation: Values) -> Values:
    z = standardised(positions, mean, deviation)
    return -lowest_mean(z, positions.offsets, LOWEST_SHARE)


def _min_k_plus_exact(positions: Positions, records: Sequence[SignatureRecord]) -> Values:
    lacking = [place for place, record in enumerate(records) if record.weighted_mean is None]
    if lacking:
        raise DataError(
            f"min_k_plus_exact needs weighted moments over the vocabulary, and record {lacking[0]} "
            "has none: its source sent the best values only. Use min_k_plus_topk."
        )
    none = np.empty(0)
    mean = np.concatenate([none, *(record.weighted_mean for record in records)])
    deviation = np.concatenate([none, *(record.weighted_std for record in records)])
    return _min_k_plus(positions, mean, deviation)


def _zlib(positions: Positions, records: Sequence[SignatureRecord]) -> Values:
    lacking = [place for place, record in enumerate(records) if record.text is None]
    if lacking:
        raise DataError(f"zlib needs the text of every record, and record {lacking[0]} has none.")
    sizes = [
        len(zlib.compress((record.text or "").encode("utf-8", "replace"))) for record in records
    ]
    return -sum_over(positions.logprob, positions.offsets) / np.array(sizes, dtype=np.float64)


SCORES: Mapping[str, _Score] = {
    "mean_logprob": lambda p, _: -mean_over(p.logprob, p.offsets),
    "min_logprob": lambda p, _: -_extreme(p.logprob, p, largest=False),
    "max_logprob": lambda p, _: -_extreme(p.logprob, p, largest=True),
    "sum_logprob": lambda p, _: -sum_over(p.logprob, p.offsets),
    "mean_probability": lambda p, _: -mean_over(np.exp(p.logprob), p.offsets),
    "min_probability": lambda p, _: -_extreme(np.exp(p.logprob), p, largest=False),
    "max_probability": lambda p, _: -_extreme(np.exp(p.logprob), p, largest=True),
    "perplexity": lambda p, _: np.exp(-mean_over(p.logprob, p.offsets)),
    "mean_entropy": lambda p, _: mean_over(p.entropy, p.offsets),
    "max_entropy": lambda p, _: _extreme(p.entropy, p, largest=True),
    "mean_margin": lambda p, _: -mean_over(p.margin, p.offsets),
    "min_margin": lambda p, _: -_extreme(p.margin, p, largest=False),
    "min_k": lambda p, _: -lowest_mean(p.logprob, p.offsets, LOWEST_SHARE),
    "min_k_plus_exact": _min_k_plus_exact,
    "min_k_plus_topk": lambda p, _: _min_k_plus(p, *moments_of_values(p)),
    "zlib": _zlib,
    "length": lambda p, _: np.diff(p.offsets).astype(np.float64),
}
"""Names and functions of the single scores."""
