"""Columns of a record against dense float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError
from llmrec.inference.capture import Positions, best_ids, capture, join, record_of_columns
from llmrec.inference.signature import FLOOR


def dense(logits, actual, k):
    """The definition, row by row in float64."""
    x = logits.astype(np.float64)
    logprobs = x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True))
    logprobs -= x.max(1, keepdims=True)
    logprobs = np.maximum(logprobs, FLOOR)
    p = np.exp(logprobs)
    own = logprobs[np.arange(len(x)), actual]
    order = np.sort(logprobs, axis=1)[:, ::-1]
    mean = (p * logprobs).sum(1)
    with np.errstate(divide="ignore"):
        tail = np.log(np.sort(p, axis=1)[:, ::-1][:, k:].sum(1))
    return {
        "actual_logprob": own,
        "topk_logprobs": order[:, :k],
        "actual_rank": (x > x[np.arange(len(x)), actual][:, None]).sum(1),
        "tail_logmass": np.maximum(tail, FLOOR),
        "row_mean": logprobs.mean(1),
        "row_std": logprobs.std(1, ddof=1),
        "weighted_mean": mean,
        "weighted_std": np.sqrt((p * (logprobs - mean[:, None]) ** 2).sum(1)),
    }


def random_rows(seed, n, width, spread):
    rng = np.random.default_rng(seed)
    logits = (spread * rng.standard_normal((n, width)) + 50).astype(np.float32)
    return logits, rng.integers(0, width, n)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 7),
    width=st.integers(2, 300),
    k=st.integers(1, 300),
    spread=st.sampled_from([0.0, 0.1, 1.0, 10.0, 60.0]),
)
def test_every_column_is_the_dense_one(seed, n, width, k, spread):
    logits, actual = random_rows(seed, n, width, spread)
    k = min(k, width)
    found = capture(torch.from_numpy(logits), torch.from_numpy(actual), k)
    for name, expected in dense(logits, actual, k).items():
        # float32 has few digits left for probabilities below exp(-87)
        least = -85 if name == "tail_logmass" else -np.inf
        np.testing.assert_allclose(
            np.maximum(getattr(found, name).numpy(), least),
            np.maximum(expected, least),
            rtol=1e-4,
            atol=1e-3 if "std" in name else 2e-4,
            err_msg=name,
        )
    values = np.take_along_axis(logits, found.topk_ids.numpy().astype(np.int64), axis=1)
    np.testing.assert_array_equal(values, np.sort(logits, axis=1)[:, ::-1][:, :k])


def test_written_out():
    logits = torch.log(torch.tensor([[0.5, 0.125, 0.25, 0.125]])) + 3
    found = capture(logits, torch.tensor([3]), 2)
    assert found.topk_ids.tolist() == [[0, 2]]
    assert found.actual_rank.tolist() == [2]  # the tie with token 1 does not count
    np.testing.assert_allclose(found.tail_logmass, np.log([0.25]), rtol=1e-5)
    np.testing.assert_allclose(found.weighted_mean, [-1.75 * np.log(2)], rtol=1e-5)


def test_tiny_tail_is_not_lost_to_rounding():
    logits = torch.tensor([[0.0, -20.0, -21.0]])
    found = capture(logits, torch.tensor([0]), 1)
    np.testing.assert_allclose(found.tail_logmass, np.logaddexp(-20, -21), rtol=1e-5)


def test_impossible_tokens_are_at_the_floor():
    logits = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]])
    record = record_of_columns(
        capture(logits, torch.tensor([1]), 4), vocab_size=4, kind="input", has_eos=False
    )
    assert record.actual_logprob.tolist() == [FLOOR]
    assert record.topk_logprobs[0, 2:].tolist() == [FLOOR, FLOOR]
    assert record.actual_rank.tolist() == [2]
    assert np.isfinite(record.row_mean).all()


def test_many_rows_are_worked_on_in_parts(monkeypatch):
    logits, actual = random_rows(0, 50, 30, 2.0)
    whole = capture(torch.from_numpy(logits), torch.from_numpy(actual), 5)
    monkeypatch.setattr("llmrec.inference.capture._AT_ONCE", 100)
    parts = capture(torch.from_numpy(logits), torch.from_numpy(actual), 5)
    for name in whole.__dataclass_fields__:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6)


def test_without_a_record_only_the_actual_token_counts():
    logits, actual = random_rows(3, 6, 40, 3.0)
    found = capture(torch.from_numpy(logits).bfloat16(), torch.from_numpy(actual), 0)
    rounded = torch.from_numpy(logits).bfloat16().float().numpy()
    expected = dense(rounded, actual, 1)["actual_logprob"]
    np.testing.assert_allclose(found.actual_logprob.numpy(), expected, atol=1e-4)
    assert found.topk_logprobs.shape == (6, 0)


def test_more_columns_than_tokens_are_refused():
    with pytest.raises(ConfigError, match=r"logprobs=6 .* 5 of the model's vocabulary"):
        capture(torch.zeros(1, 5), torch.zeros(1, dtype=torch.int64), 6)


def test_positions_go_back_to_their_texts():
    """Steps of a batch whose rows end at different times."""
    steps = [[0, 1, 2], [0, 2], [2]]
    positions, parts = Positions(), {0: [], 1: [], 2: []}
    for number, owners in enumerate(steps):
        logits, actual = random_rows(number, len(owners), 10, 2.0)
        found = capture(torch.from_numpy(logits), torch.from_numpy(actual), 3)
        positions.add(found, owners)
        for place, owner in enumerate(owners):
            parts[owner].append(found.take(slice(place, place + 1)))
    for owner, found in enumerate(positions.split(3)):
        expected = join(parts[owner])
        assert len(found.actual_logprob) == (2, 1, 3)[owner]
        np.testing.assert_array_equal(found.topk_logprobs, expected.topk_logprobs)
        np.testing.assert_array_equal(found.actual_logprob, expected.actual_logprob)


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_damage_shows_in_the_actual_token(bad, k):
    logits = torch.zeros(2, 4)
    logits[0, 3] = bad
    found = capture(logits, torch.tensor([1, 1]), k).actual_logprob
    assert torch.isfinite(found).tolist() == [False, True]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(20, 900),
    k=st.integers(1, 20),
    levels=st.sampled_from([2, 5, 10**6]),
)
def test_the_best_in_two_steps_are_those_of_a_whole_sort(seed, width, k, levels):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(levels, (3, width), generator=generator).float() - 1
    logits[0, width // 2 :] = -torch.inf
    ids = best_ids(logits, k)
    assert torch.equal(logits.gather(1, ids), logits.sort(dim=1, descending=True).values[:, :k])
    assert all(len(set(row)) == k for row in ids.tolist())
