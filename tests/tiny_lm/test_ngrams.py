"""N-gram models against plain dictionaries, and against what a distribution must be."""

from collections import Counter

import numpy as np
import pytest

from llmrec.tiny_lm.ngrams import Trigram, Unigram

SIZE = 7


@pytest.fixture(scope="module")
def stream():
    return np.random.default_rng(1).choice(SIZE - 1, 60, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])


def kneser_ney(stream, before, token):
    """Interpolated Kneser-Ney written out with counters, one recursion per order."""
    triples = Counter(zip(stream, stream[1:], stream[2:], strict=False))
    pairs = Counter((b, c) for _, b, c in triples)
    singles = Counter((c,) for _, c in pairs)

    def probability(counts, context, lower):
        ones = sum(count == 1 for count in counts.values())
        twos = sum(count == 2 for count in counts.values())
        discount = ones / (ones + 2 * twos) if ones else 0.5
        inside = {key: count for key, count in counts.items() if key[:-1] == context}
        if not inside:
            return lower
        own = max(counts.get((*context, token), 0) - discount, 0)
        return (own + discount * len(inside) * lower) / sum(inside.values())

    lowest = probability(singles, (), 1 / SIZE)
    middle = probability(pairs, (before[1],), lowest)
    return probability(triples, tuple(before), middle)


def test_trigram_is_the_one_written_out(stream):
    model, plain = Trigram(stream, SIZE), stream.tolist()
    for before in ([0, 1], [1, 0], [5, 5], [6, 2], [2, 6], [6, 6]):
        found = np.exp(model.logprobs([before] * SIZE, range(SIZE)))
        expected = [kneser_ney(plain, before, token) for token in range(SIZE)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found.sum() == pytest.approx(1)


def test_unigram_counts_every_token_once_more(stream):
    found = np.exp(Unigram(stream, SIZE).logprobs(range(SIZE)))
    counts = Counter(stream.tolist())
    np.testing.assert_allclose(found, [(counts[t] + 1) / (60 + SIZE) for t in range(SIZE)])


def test_a_text_that_repeats_is_learnt():
    stream = np.tile([0, 1, 2, 3], 50)
    certain = np.exp(Trigram(stream, SIZE).logprobs([[1, 2]], [3]))
    assert certain > 0.95
