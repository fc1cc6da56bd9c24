"""Every single score against a plain loop, a formula or full knowledge of the distribution."""

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError
from llmrec.inference.signature import FLOOR, Position, record_of_positions
from llmrec.signatures.baselines import SINGLE_SCORES, score_records
from llmrec.signatures.baselines.positions import quantiles_of
from llmrec.signatures.baselines.summary import summarise
from llmrec.testing.signatures import labelled_signatures, record_of_logits

WIDTH = 30


def drawn(k, n=7, seed=0, lengths=(1, 9)):
    """Records with everything known about the vocabulary, and their full distributions."""
    rng = np.random.default_rng(seed)
    records, full = [], []
    for _ in range(n):
        logits = 2 * rng.standard_normal((int(rng.integers(*lengths)), WIDTH))
        logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        p = np.exp(logprobs)
        mean = (p * logprobs).sum(axis=1)
        deviation = np.sqrt((p * np.square(logprobs - mean[:, None])).sum(axis=1))
        record = record_of_logits(logits, rng, k)
        text = " ".join(f"word{i}" for i in range(len(record)))
        records.append(
            replace(
                record,
                weighted_mean=mean.astype(np.float32),
                weighted_std=deviation.astype(np.float32),
                text=text,
            )
        )
        full.append((logprobs, mean, deviation))
    return records, full


def by_hand(name, record, mean, deviation):
    """One record in plain Python."""
    lps = [float(x) for x in record.actual_logprob]
    ps = [math.exp(x) for x in lps]
    lowest = sorted(lps)[: max(1, len(lps) // 5)]
    z = sorted((lp - m) / d for lp, m, d in zip(lps, mean, deviation, strict=True))
    top = [row.tolist() for row in record.topk_logprobs]
    margins = [row[0] - row[1] for row in top]
    entropies = []
    for row in top:
        tail = max(1 - sum(math.exp(x) for x in row), 0.0)
        rest = tail * math.log(tail) if tail > 0 else 0.0
        entropies.append(-sum(math.exp(x) * x for x in row) - rest)
    values = {
        "mean_logprob": -sum(lps) / len(lps),
        "min_logprob": -min(lps),
        "max_logprob": -max(lps),
        "sum_logprob": -sum(lps),
        "mean_probability": -sum(ps) / len(ps),
        "min_probability": -min(ps),
        "max_probability": -max(ps),
        "perplexity": math.exp(-sum(lps) / len(lps)),
        "mean_entropy": sum(entropies) / len(entropies),
        "max_entropy": max(entropies),
        "mean_margin": -sum(margins) / len(margins),
        "min_margin": -min(margins),
        "min_k": -sum(lowest) / len(lowest),
        "min_k_plus_exact": -sum(z[: len(lowest)]) / len(lowest),
        "zlib": -sum(lps) / len(zlib.compress(record.text.encode())),
    }
    return values[name]


@pytest.mark.parametrize("name", [n for n in SINGLE_SCORES if n != "min_k_plus_topk"])
def test_scores_are_those_of_a_plain_loop(name):
    records, full = drawn(k=6)
    expected = [by_hand(name, r, m, d) for r, (_, m, d) in zip(records, full, strict=True)]
    np.testing.assert_allclose(score_records(name, records), expected, rtol=2e-4, atol=1e-5)


def test_values_of_the_whole_vocabulary_leave_nothing_to_estimate():
    """Min-K%++ and entropy from the best values equal the exact ones where K = V."""
    records, full = drawn(k=WIDTH)
    np.testing.assert_allclose(
        score_records("min_k_plus_topk", records),
        score_records("min_k_plus_exact", records),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    entropy = [-mean.mean() for _, mean, _ in full]
    np.testing.assert_allclose(score_records("mean_entropy", records), entropy, rtol=1e-4)


def test_the_tail_is_shared_by_the_tokens_that_were_not_sent():
    """Two values of four tokens: the rest are two tokens of equal probability."""
    position = Position(np.log([0.5, 0.3]).tolist(), actual=1)
    record = record_of_positions(
        [position], 2, vocab_size=4, mode="unknown", kind="output", has_eos=False
    )
    p = np.array([0.5, 0.3, 0.1, 0.1])
    mean = (p * np.log(p)).sum()
    deviation = np.sqrt((p * np.square(np.log(p) - mean)).sum())
    expected = -(math.log(0.3) - mean) / deviation
    np.testing.assert_allclose(score_records("min_k_plus_topk", [record]), [expected], rtol=1e-4)


def test_a_surer_answer_has_less_surprise():
    """Polarity: every score is larger for the answer that hesitates."""
    sure = [Position([-0.01, -5.0], actual=0)] * 3
    unsure = [Position([-0.1, -3.0], actual=1)] * 3
    records = [
        record_of_positions(
            positions, 2, vocab_size=100, mode="unknown", kind="output", has_eos=False, text="abc"
        )
        for positions in (sure, unsure)
    ]
    for name in SINGLE_SCORES:
        if name != "min_k_plus_exact":
            low, high = score_records(name, records)
            assert low < high, name


@given(st.lists(st.sampled_from([-0.5, -0.5, -9999.0, -math.inf, -3.0]), max_size=5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_odd_values_never_give_infinity(values, known):
    actual = {"actual_logprob": -1.0} if known else {}
    positions = [Position(values, **actual), Position([-0.1], actual=0)]
    record = record_of_positions(
        positions, 4, vocab_size=None, mode="unknown", kind="output", has_eos=False, text="t"
    )
    for name in SINGLE_SCORES:
        if name != "min_k_plus_exact":
            assert np.isfinite(score_records(name, [record])).all(), name
    assert np.isfinite(summarise([record])[0]).all()


def test_what_cannot_be_known_is_not_made_up():
    empty = record_of_positions(
        [], 3, vocab_size=None, mode="unknown", kind="output", has_eos=False, text=""
    )
    assert np.isnan(score_records("mean_logprob", [empty])).all()
    assert score_records("length", [empty]).tolist() == [0.0]
    assert (summarise([empty])[0] == 0).all()
    records, _ = labelled_signatures(3, seed=0)
    with pytest.raises(DataError, match="record 0 has none: its source sent the best values only"):
        score_records("min_k_plus_exact", records)
    with pytest.raises(DataError, match="zlib needs the text"):
        score_records("zlib", records)
    with pytest.raises(ConfigError, match="did you mean 'mean_logprob'"):
        score_records("mean_logprobs", records)


def test_an_unknown_token_is_left_out():
    known, unknown = Position([-0.5], actual=0), Position([-0.7])
    record = record_of_positions(
        [known, unknown, known], 1, vocab_size=None, mode="unknown", kind="output", has_eos=False
    )
    np.testing.assert_allclose(score_records("mean_logprob", [record]), [0.5])
    assert record.topk_logprobs.min() > FLOOR


def test_quantiles_are_values_of_the_record():
    values = np.array([3.0, 1.0, 2.0, np.nan, 5.0])
    found = quantiles_of(values, np.array([0, 3, 3, 5]), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_array_equal(found, [[1, 2, 3], [np.nan] * 3, [5, 5, 5]])


def test_summaries_name_what_they_measure():
    records, _ = drawn(k=6, n=4)
    rows, names = summarise(records)
    assert rows.shape == (4, len(names))
    assert len(set(names)) == len(names)
    lps = records[2].actual_logprob
    row = dict(zip(names, rows[2], strict=True))
    np.testing.assert_allclose(row["logprob mean"], lps.mean(), rtol=1e-5)
    np.testing.assert_allclose(row["logprob deviation"], lps.std(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(row["logprob last"], lps[-1], rtol=1e-6)
    np.testing.assert_allclose(row["value 3"], records[2].topk_logprobs[:, 3].mean(), rtol=1e-5)
