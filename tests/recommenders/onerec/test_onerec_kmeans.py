"""Residual k-means: balance, cost beside the exact assignment and faiss, use of every code."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.tokenizer import balance as balance_module
from llmrec.recommenders.onerec.tokenizer.balance import Capacity, Sequential
from llmrec.recommenders.onerec.tokenizer.kmeans import nearest_codes, residual_kmeans

BALANCED = ("capacity", "sequential", "sequential_shuffled")


def blobs(n, d=8, centers=20, seed=0):
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, centers + 1)
    which = rng.choice(centers, n, p=chance / chance.sum())
    return (rng.normal(size=(centers, d))[which] * 2 + rng.normal(size=(n, d))).astype(np.float32)


def left_over(values, levels):
    residual = torch.from_numpy(values)
    for level in levels:
        residual = residual - level.centroids[level.codes]
    return float((residual**2).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 999))
def test_exact_assignment_is_the_best_of_all_with_equal_sizes(n, k, seed):
    k = min(n, k)
    costs = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, k)).astype(np.float32))
    codes = Capacity()(costs).numpy()
    loads = np.bincount(codes, minlength=k)
    assert set(loads) <= {n // k, -(-n // k)}
    best = np.inf
    for larger in itertools.islice(itertools.combinations(range(k), n % k), 130):
        sizes = np.full(k, n // k)
        sizes[list(larger)] += 1
        table = np.repeat(costs.double().numpy(), sizes, axis=1)
        best = min(best, table[linear_sum_assignment(table)].sum())
    assert costs.double().numpy()[np.arange(n), codes].sum() <= best + 1e-6


def test_prices_and_proposals_cost_little_more_than_the_exact_assignment(monkeypatch):
    values = torch.from_numpy(blobs(500))
    centroids = values[torch.from_numpy(np.random.default_rng(1).choice(500, 24, replace=False))]
    costs = torch.cdist(values, centroids) ** 2
    rows = torch.arange(500)
    exact = float(costs[rows, Capacity()(costs)].sum())
    monkeypatch.setattr(balance_module, "_EXACT", 0)
    codes = Capacity()(costs)
    assert set(torch.bincount(codes, minlength=24).tolist()) == {20, 21}
    assert exact <= float(costs[rows, codes].sum()) <= 1.03 * exact
    greedy = float(costs[rows, Sequential()(costs)].sum())
    assert float(costs[rows, codes].sum()) < greedy


def test_sequential_serves_clusters_in_order_with_their_nearest_free_rows():
    costs = torch.tensor([[0.0, 9], [1, 9], [2, 0], [3, 1], [4, 2]])
    assert Sequential()(costs).tolist() == [0, 0, 0, 1, 1]
    costs[2] = torch.tensor([8.0, 0])
    assert Sequential()(costs).tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("balance", BALANCED)
@pytest.mark.parametrize("n", [600, 1300])
def test_balanced_levels_have_loads_that_differ_by_one(balance, n):
    levels = residual_kmeans(blobs(n), 2, 32, balance, rounds=5)
    for level in levels:
        assert set(torch.bincount(level.codes, minlength=32).tolist()) <= {n // 32, n // 32 + 1}


@pytest.mark.parametrize("balance", ["none", *BALANCED])
def test_centroids_are_the_means_and_every_code_is_used(balance):
    values = blobs(700)
    residual = torch.from_numpy(values)
    for level in residual_kmeans(values, 3, 48, balance, rounds=8):
        assert torch.bincount(level.codes, minlength=48).min() > 0
        for code in (0, 17, 47):
            mean = residual[level.codes == code].mean(0)
            assert torch.allclose(level.centroids[code], mean, atol=1e-5)
        residual = residual - level.centroids[level.codes]


def test_plain_k_means_is_as_good_as_faiss():
    faiss = pytest.importorskip("faiss")
    values = blobs(3000, d=16, centers=60)
    ours = residual_kmeans(values, 1, 64, "none")
    theirs = faiss.Kmeans(16, 64, niter=30, seed=1, min_points_per_centroid=1)
    theirs.train(values)
    distance, _ = theirs.index.search(values, 1)
    assert left_over(values, ours) <= 1.03 * float(distance.sum())


def test_balance_costs_less_by_capacity_than_one_after_another():
    values = blobs(2000)
    cost = {b: left_over(values, residual_kmeans(values, 1, 32, b)) for b in ("none", *BALANCED)}
    assert cost["none"] < cost["capacity"] < min(cost["sequential"], cost["sequential_shuffled"])


@pytest.mark.parametrize("balance", ["none", *BALANCED])
def test_the_same_seed_gives_the_same_bits(balance):
    values = blobs(900)
    first, again = (residual_kmeans(values, 2, 16, balance, seed=3) for _ in range(2))
    other = residual_kmeans(values, 2, 16, balance, seed=4)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.codes, two.codes)
        assert torch.equal(one.centroids, two.centroids)
    assert not torch.equal(first[0].codes, other[0].codes)


def test_nearest_codes_by_brute_force():
    rng = np.random.default_rng(0)
    values, table = (torch.from_numpy(rng.normal(size=(n, 5))).float() for n in (50, 7))
    assert torch.equal(nearest_codes(values, table), torch.cdist(values, table).argmin(1))


def test_fewer_items_than_codes_and_too_few_different_ones_are_refused():
    with pytest.raises(DataError, match="5 items are to be tokenised, fewer than the 8 codes"):
        residual_kmeans(blobs(5), 1, 8)
    with pytest.raises(DataError, match="fewer different vectors than the 4 codes"):
        residual_kmeans(np.ones((20, 3), dtype=np.float32), 1, 4, "none")


def test_a_table_of_costs_beyond_memory_is_refused(monkeypatch):
    monkeypatch.setattr("llmrec.recommenders.onerec.tokenizer.kmeans._LARGEST_TABLE", 100)
    with pytest.raises(ConfigError, match="20 x 8 are too many; choose balance 'none'"):
        residual_kmeans(blobs(20), 1, 8)


def test_equal_rows_are_spread_by_balance():  # as residuals of a later level may be
    levels = residual_kmeans(np.ones((40, 3), dtype=np.float32), 2, 4, "capacity")
    assert torch.bincount(levels[0].codes, minlength=4).tolist() == [10] * 4
