"""Columns, normalisers, ranks and channels against sums written out and full vocabularies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llmrec.errors import DataError
from llmrec.inference.signature import FLOOR, Position, SignatureRecord, record_of_positions
from llmrec.signatures.los_net.columns import columns_of
from llmrec.signatures.los_net.features import CHANNELS, build_features
from llmrec.testing.signatures import VOCAB_SIZE, labelled_signatures


def record(rows, k=4, vocab_size=100, **fields):
    positions = [Position(values, actual=actual) for values, actual in rows]
    return record_of_positions(
        positions,
        k,
        vocab_size=vocab_size,
        mode="raw_logprobs",
        kind="output",
        has_eos=False,
        **fields,
    )


def channel(features, name):
    return features.channels[:, CHANNELS.index(name)]


THREE = [-0.5, -1.5, -4.0]


def test_topk_is_a_z_score_of_the_values_received():
    found = build_features(columns_of([record([(THREE, 1)])], 4), "topk")
    mean, std = -2.0, np.sqrt((1.5**2 + 0.5**2 + 2.0**2) / 2)
    expected = [(x - mean) / std for x in THREE]
    np.testing.assert_allclose(found.values[0], [*expected, 0.0], rtol=1e-6)
    np.testing.assert_allclose(found.actual, [expected[1]], rtol=1e-6)
    np.testing.assert_allclose(found.rank_scaled, [2 * (0.5 - 1 / 100)], rtol=1e-6)
    np.testing.assert_allclose(channel(found, "mean"), [mean])
    np.testing.assert_allclose(channel(found, "deviation"), [std], rtol=1e-6)
    np.testing.assert_allclose(channel(found, "margin"), [1.0], rtol=1e-6)
    np.testing.assert_allclose(channel(found, "share_received"), [0.75])


def test_entropy_counts_the_tail_as_one_outcome():
    found = build_features(columns_of([record([(np.log([0.5, 0.25]), 0)])], 4), "topk")
    expected = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    np.testing.assert_allclose(channel(found, "entropy"), [expected], rtol=1e-5)
    np.testing.assert_allclose(channel(found, "log_not_best"), [np.log(0.5)], rtol=1e-5)


def test_none_leaves_log_probabilities():
    found = build_features(columns_of([record([(THREE, 2)])], 4), "none")
    np.testing.assert_allclose(found.values[0], [*THREE, 0.0])
    np.testing.assert_allclose(found.actual, [-4.0])


def test_full_uses_the_moments_of_the_source():
    records, _ = labelled_signatures(4, seed=0, k=6)
    found = build_features(columns_of(records, 6), "full")
    first = records[0]
    expected = (first.topk_logprobs - first.row_mean[:, None]) / first.row_std[:, None]
    np.testing.assert_allclose(found.values[: len(first)], expected, rtol=1e-5)


def test_full_approx_is_full_where_everything_was_received():
    records, _ = labelled_signatures(6, seed=1, k=VOCAB_SIZE)
    columns = columns_of(records, VOCAB_SIZE)
    full, estimated = (build_features(columns, name) for name in ("full", "full_approx"))
    np.testing.assert_allclose(estimated.values, full.values, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(estimated.actual, full.actual, rtol=1e-3, atol=1e-3)


def test_full_approx_spreads_the_tail_evenly():
    found = build_features(columns_of([record([(np.log([0.5, 0.3]), 0)], vocab_size=6)], 2), "none")
    assert channel(found, "tail_logmass")[0] == pytest.approx(np.log(0.2), rel=1e-5)
    row = np.log([0.5, 0.3, 0.05, 0.05, 0.05, 0.05])
    expected = (row[:2] - row.mean()) / row.std(ddof=1)
    columns = columns_of([record([(np.log([0.5, 0.3]), 0)], vocab_size=6)], 2)
    np.testing.assert_allclose(
        build_features(columns, "full_approx").values[0], expected, rtol=1e-4
    )


def test_full_without_moments_names_the_record():
    records = [*labelled_signatures(1, seed=0, k=4)[0], record([(THREE, 0)])]
    with pytest.raises(DataError, match=r"record 1 has none.*full_approx"):
        build_features(columns_of(records, 4), "full")


def test_full_approx_needs_a_vocabulary():
    with pytest.raises(DataError, match="size of the vocabulary"):
        build_features(columns_of([record([(THREE, 0)], vocab_size=None)], 4), "full_approx")


def test_censored_ranks_are_k_and_flagged():
    sent = record_of_positions(
        [Position(THREE, actual_logprob=-9.0), Position(THREE, actual=1)],
        4,
        vocab_size=100,
        mode="unknown",
        kind="output",
        has_eos=False,
    )
    found = build_features(columns_of([sent], 4), "topk")
    assert found.rank.tolist() == [3, 1]
    assert channel(found, "rank_censored").tolist() == [1.0, 0.0]
    np.testing.assert_allclose(found.rank_scaled[0], 2 * (0.5 - 3 / 100), rtol=1e-6)


def test_unknown_actual_and_unknown_vocabulary():
    rows = record_of_positions(
        [Position(THREE)], 4, vocab_size=None, mode="unknown", kind="output", has_eos=False
    )
    found = build_features(columns_of([rows], 4), "topk")
    assert found.actual.tolist() == [0.0]
    assert channel(found, "actual_missing").tolist() == [1.0]
    assert found.rank_scaled.tolist() == [1.0]


def test_records_of_any_width_become_one():
    rows = [([-0.7, -1.2, -3.0, -4.0, -5.0], 0)]
    wide, narrow = record(rows, k=5), record([([-0.7, -1.2, -3.0], 0)], k=3)
    found = columns_of([wide, narrow, record(rows, k=9)], 3)
    assert found.logprobs.shape == (3, 3)
    np.testing.assert_allclose(found.logprobs[0], found.logprobs[1])
    # what is cut goes to the tail, so that a wide record equals what a narrow server had sent
    np.testing.assert_allclose(found.tail, [found.tail[1]] * 3, rtol=1e-5)
    again = columns_of([wide, narrow], 5)
    assert again.valid.sum(axis=1).tolist() == [5, 3]


def test_limited_columns_equal_a_narrower_source():
    records, _ = labelled_signatures(5, seed=3, k=10)
    narrow, _ = labelled_signatures(5, seed=3, k=4)
    limited = columns_of(records, 10).limited(np.full(5, 4))
    sent = columns_of(narrow, 10)
    np.testing.assert_array_equal(limited.valid, sent.valid)
    np.testing.assert_allclose(limited.tail, sent.tail, rtol=1e-3)
    cut = build_features(limited, "topk")
    np.testing.assert_allclose(cut.values, build_features(sent, "topk").values, atol=1e-6)
    assert (cut.rank <= 4).all()


def test_values_at_the_floor_are_not_received():
    with_floor = record([([-0.5, -1.5, -9999.0, -np.inf], 0)])
    without = record([([-0.5, -1.5], 0)])
    for name in ("topk", "none"):
        one, other = (build_features(columns_of([r], 4), name) for r in (with_floor, without))
        np.testing.assert_array_equal(one.values, other.values)


def test_no_records_and_no_positions():
    assert len(columns_of([], 4)) == 0
    empty = record([])
    assert build_features(columns_of([empty], 4), "topk").values.shape == (0, 4)


VALUES = arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.integers(1, 6)),
    elements=st.one_of(st.floats(-100, 0, width=32), st.sampled_from([0.0, FLOOR, -1.0, -1e-7])),
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from(["topk", "full_approx", "none"]), st.integers(1, 8), st.booleans())
def test_nothing_gives_nan(values, normaliser, k, known):
    """Ties, floors, impossible sums, single values, missing actual tokens."""
    values = -np.sort(-values, axis=1)
    n = len(values)
    actual = values[:, -1] if known else np.full(n, np.nan, dtype=np.float32)
    given_record = SignatureRecord(
        values,
        values > -50,
        actual,
        np.zeros(n, np.int32),
        np.zeros(n, bool),
        np.full(n, FLOOR, np.float32),
        7,
        "unknown",
        "output",
        False,
    )
    found = build_features(columns_of([given_record], k), normaliser)
    for array in (found.values, found.actual, found.rank_scaled, found.channels):
        assert np.isfinite(array).all()
    assert np.abs(found.values).max(initial=0) <= 100
