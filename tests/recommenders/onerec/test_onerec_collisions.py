"""Collisions: the three rules, by brute force and written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import DataError
from llmrec.recommenders.onerec.tokenizer.collisions import (
    count_collisions,
    extra_digit,
    reassign,
)


def one_by_one(codes, residuals, centroids, priority):
    residuals, centroids = residuals - centroids[0][codes[:, 0]], centroids[1]
    """Keepers first, then every mover in its order takes the nearest code that is free."""
    order = np.argsort(priority)
    found, taken, movers = codes.copy(), set(), []
    for item in order:
        key = tuple(codes[item])
        movers += [item] if key in taken else []
        taken.add(key)
    for item in movers:
        prefix = tuple(codes[item, :-1])
        distance = ((residuals[item].astype(np.float64) - centroids) ** 2).sum(1)
        free = [code for code in np.argsort(distance) if (*prefix, code) not in taken]
        found[item, -1] = free[0]
        taken.add((*prefix, free[0]))
    return found


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 10_000))
def test_reassign_as_one_item_after_another(n, groups, seed):
    rng = np.random.default_rng(seed)
    k = 64
    codes = np.stack([rng.integers(0, groups, n), rng.integers(0, 3, n)], 1).astype(np.int32)
    residuals = rng.normal(size=(n, 4)).astype(np.float32)
    centroids = [rng.normal(size=(k, 4)).astype(np.float32) for _ in range(2)]
    priority = rng.permutation(n)
    found = reassign(codes, residuals, centroids, priority)
    assert found.tolist() == one_by_one(codes, residuals, centroids, priority).tolist()
    assert count_collisions(found) == 0


def test_reassign_in_blocks_of_prefixes_gives_the_same(monkeypatch):
    rng = np.random.default_rng(1)
    codes = np.stack([rng.integers(0, 9, 80), rng.integers(0, 2, 80)], 1).astype(np.int32)
    given_ = (codes, rng.normal(size=(80, 3)).astype(np.float32),
              [rng.normal(size=(32, 3)).astype(np.float32) for _ in range(2)],
              rng.permutation(80))  # fmt: skip
    whole = reassign(*given_)
    monkeypatch.setattr("llmrec.recommenders.onerec.tokenizer.collisions._CELLS", 1)
    assert reassign(*given_).tolist() == whole.tolist()


def test_an_extra_digit_counts_by_priority_and_keeps_what_was_given():
    codes = np.array([[1, 1], [1, 1], [0, 2], [1, 1]], dtype=np.int32)
    none = np.full(4, -1)
    found = extra_digit(codes, none, np.array([2, 0, 3, 1]), 4)
    assert found[:, 2].tolist() == [2, 0, 0, 1]
    found = extra_digit(codes, np.array([-1, 2, -1, -1]), np.array([3, 2, 1, 0]), 8)
    assert found[:, 2].tolist() == [4, 2, 0, 3]


def test_collisions_are_items_that_share():
    assert count_collisions(np.array([[0, 1], [0, 1], [0, 1], [2, 2]])) == 3


def test_a_crowd_spills_over_to_the_nearest_prefix_with_room():
    levels = [np.array([[0.0], [1], [9]], np.float32), np.array([[0.0], [0.1]], np.float32)]
    latent = np.array([[0.0], [0.01], [0.02], [0.6], [1.0]], np.float32)
    codes = np.array([[0, 0], [0, 0], [0, 0], [0, 1], [1, 0]], dtype=np.int32)
    found = reassign(codes, latent, levels, np.array([0, 1, 2, 3, 4]))
    assert found.tolist() == [[0, 0], [0, 1], [1, 1], [2, 0], [1, 0]]
    found = reassign(codes, latent, levels, np.array([4, 3, 2, 1, 0]))
    assert found.tolist()[2:] == [[0, 0], [0, 1], [1, 0]]
    assert count_collisions(found) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 27), st.integers(0, 10_000))
def test_crowds_of_any_shape_end_up_apart(n, seed):
    rng = np.random.default_rng(seed)
    levels = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(3)]
    codes = (rng.integers(0, 3, (n, 3)) * (rng.random(3) < 0.5)).astype(np.int32)
    latent = rng.normal(size=(n, 2)).astype(np.float32)
    priority = rng.permutation(n)
    found = reassign(codes, latent, levels, priority)
    assert count_collisions(found) == 0
    assert found[priority == 0].tolist() == codes[priority == 0].tolist()


def test_more_items_than_ids_are_refused():
    codes = np.zeros((4, 2), dtype=np.int32)
    levels = [np.zeros((1, 1), np.float32), np.zeros((3, 1), np.float32)]
    with pytest.raises(
        DataError, match=r"4 items need more semantic IDs than 2 levels of \[1, 3\]"
    ):
        reassign(codes, np.zeros((4, 1), np.float32), levels, np.arange(4))
    with pytest.raises(DataError, match="4 items share one semantic ID, but the extra digit has 3"):
        extra_digit(codes, np.full(4, -1), np.arange(4), 3)
