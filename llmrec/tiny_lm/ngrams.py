"""Unigram and trigram models of tokens: what a network must beat.

The trigram is interpolated Kneser-Ney with one discount per order, ``D = n1 / (n1 + 2 n2)``
(Chen and Goodman 1999, sections 2.7 and 3), which ends in the uniform distribution, so that every
token has a probability.
"""

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Unigram:
    """Token frequencies, one added to each.

    Args:
        stream: ``[tokens]`` training tokens.
        vocab_size: Number of tokens there are.
    """

    def __init__(self, stream: npt.NDArray[np.integer], vocab_size: int) -> None:
        counts = np.bincount(stream, minlength=vocab_size) + 1.0
        self._logprob = np.log(counts / counts.sum())

    def logprobs(self, tokens: npt.ArrayLike) -> FloatArray:
        """Log-probability of each token."""
        return np.asarray(self._logprob[np.asarray(tokens)])


class Trigram:
    """Interpolated Kneser-Ney over the two tokens before.

    Args:
        stream: ``[tokens]`` training tokens.
        vocab_size: Number of tokens there are, at most 2 million.
    """

    def __init__(self, stream: npt.NDArray[np.integer], vocab_size: int) -> None:
        self._size = vocab_size
        tokens = stream.astype(np.int64)
        triples = (tokens[:-2] * vocab_size + tokens[1:-1]) * vocab_size + tokens[2:]
        kinds, counts = np.unique(triples, return_counts=True)
        # lower orders count in how many contexts a continuation was seen, not how often
        pairs, pair_counts = np.unique(kinds % vocab_size**2, return_counts=True)
        singles = np.bincount(pairs % vocab_size, minlength=vocab_size)
        self._orders = [
            _Order(kinds, counts, vocab_size),
            _Order(pairs, pair_counts, vocab_size),
            _Order(np.arange(vocab_size), singles, vocab_size),
        ]

    def logprobs(self, before: npt.ArrayLike, tokens: npt.ArrayLike) -> FloatArray:
        """Log-probability of tokens ``[n]``, each after the two tokens ``before[n, 2]``."""
        context, token = np.asarray(before, dtype=np.int64), np.asarray(tokens, dtype=np.int64)
        after_one = context[:, 1] * self._size + token
        after_two = context[:, 0] * self._size**2 + after_one
        found = np.full(token.size, 1.0 / self._size)
        for order, keys in zip(self._orders[::-1], (token, after_one, after_two), strict=True):
            found = order.interpolated(keys, found)
        return np.asarray(np.log(found))


class _Order:
    """Discounted counts of one order, keyed by context and token in one number."""

    def __init__(self, keys: Int64Array, counts: Int64Array, size: int) -> None:
        self._size = size
        self._keys, self._counts = keys[counts > 0], counts[counts > 0].astype(np.float64)
        once, twice = (self._counts == 1).sum(), (self._counts == 2).sum()
        self._discount = float(once / (once + 2 * twice)) if once else 0.5
        contexts = self._keys // size
        self._contexts, first = np.unique(contexts, return_index=True)
        self._totals = np.add.reduceat(self._counts, first)
        self._kinds = np.diff(np.append(first, contexts.size)).astype(np.float64)

    def interpolated(self, keys: Int64Array, lower: FloatArray) -> FloatArray:
        """Probabilities of keys, mixed with those of the order below."""
        place = np.minimum(
            np.searchsorted(self._contexts, keys // self._size), self._contexts.size - 1
        )
        known = self._contexts[place] == keys // self._size
        spot = np.minimum(np.searchsorted(self._keys, keys), self._keys.size - 1)
        counts = np.where(self._keys[spot] == keys, self._counts[spot], 0.0)
        kept = np.maximum(counts - self._discount, 0.0)
        freed = self._discount * self._kinds[place]
        mixed = (kept + freed * lower) / self._totals[place]
        return np.where(known, mixed, lower)
