import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.ranks import (
    LOWEST,
    exclude,
    rank_cases,
    require_numbers,
    target_ranks,
    top_items,
)


def brute_force_rank(row, target):
    own = row[target - 1]
    if own == -np.inf:
        return np.inf
    others = [x for i, x in enumerate(row) if i != target - 1]
    return 1 + sum(x > own for x in others) + sum(x == own for x in others) / 2


def brute_force_top(row, k):
    order = sorted((i for i in range(len(row)) if row[i] > -np.inf), key=lambda i: (-row[i], i))
    return ([i + 1 for i in order] + [0] * k)[:k]


def random_block(rng, rows, items, levels):
    """Scores with many ties (few levels) or none, and some excluded items."""
    scores = rng.integers(0, levels, (rows, items)) if levels else rng.random((rows, items))
    scores = scores.astype(np.float32)
    scores[rng.random((rows, items)) < 0.1] = -np.inf
    return scores


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), items=st.integers(1, 40), levels=st.sampled_from([0, 1, 3, 20]))
def test_ranks_agree_with_counting_one_by_one(seed, items, levels):
    rng = np.random.default_rng(seed)
    scores = random_block(rng, 7, items, levels)
    counts = rng.integers(0, min(items, 4) + 1, 7)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    targets = np.concatenate(
        [rng.choice(items, n, replace=False) + 1 for n in counts] + [np.empty(0, int)]
    ).astype(np.int32)
    expected = [
        brute_force_rank(scores[row], targets[i])
        for row in range(7)
        for i in range(offsets[row], offsets[row + 1])
    ]
    assert target_ranks(scores, targets, offsets).tolist() == expected


@pytest.mark.parametrize("items", [5, 300, 3000])
@pytest.mark.parametrize("levels", [0, 1, 2, 50])
@pytest.mark.parametrize("k", [1, 5])
def test_top_lists_agree_with_sorting(items, levels, k):
    scores = random_block(np.random.default_rng(items + levels + k), 9, items, levels)
    codes, values = top_items(scores, k)
    assert codes.tolist() == [brute_force_top(row, k) for row in scores]
    assert np.array_equal(
        values[codes > 0], np.take_along_axis(scores, codes - 1, axis=1)[codes > 0]
    )


def test_ties_beyond_the_first_columns_are_found():
    scores = np.zeros((2, 5000), dtype=np.float32)
    scores[:, 3000:] = 1.0
    assert top_items(scores, 3)[0].tolist() == [[3001, 3002, 3003]] * 2


def test_a_list_longer_than_the_candidates_ends_in_padding():
    scores = np.full((2, 2000), -np.inf, dtype=np.float32)
    scores[0, [7, 1500]] = [0.5, 2.0]
    codes, values = top_items(scores, 4)
    assert codes.tolist() == [[1501, 8, 0, 0], [0, 0, 0, 0]]
    assert values[0].tolist() == [2.0, 0.5, -np.inf, -np.inf]


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_catalogue_is_refused(k):
    with pytest.raises(ConfigError, match=r"between 1 and the size of the catalogue, 3 items"):
        top_items(np.zeros((1, 3), dtype=np.float32), k)


def test_items_the_model_knows_nothing_about_rank_last_but_before_excluded_ones():
    scores = np.array([[0.3, LOWEST, LOWEST, -np.inf]], dtype=np.float32)
    ranks = target_ranks(scores, np.array([1, 2, 4], dtype=np.int32), np.array([0, 3]))
    assert ranks.tolist() == [1.0, 2.5, np.inf]


def test_excluding_touches_only_the_rows_own_items():
    scores = np.zeros((2, 3), dtype=np.float32)
    exclude(scores, np.array([1, 3, 2], dtype=np.int32), np.array([0, 2, 3]))
    assert np.isneginf(scores).tolist() == [[True, False, True], [False, True, False]]


def test_nan_scores_name_the_user():
    scores = np.zeros((2, 3), dtype=np.float32)
    scores[1, 2] = np.nan
    with pytest.raises(DataError, match=r"'bob' contain NaN"):
        require_numbers(scores, pl.Series(["ann", "bob"]))


def toy_cases():
    vocabulary = Vocabulary(["a", "b", "c", "d", "e"])
    histories = Histories.from_lists(
        {"ann": ["a", "b"], "bob": ["c"], "cy": ["e", "a"]}, vocabulary
    )
    return Cases(histories, np.array([3, 4, 5, 1], dtype=np.int32), np.array([0, 1, 3, 4]), "test")


def test_cases_are_ranked_alike_in_blocks_of_any_size():
    cases = toy_cases()
    table = np.array([[5, 4, 3, 2, 1], [1, 2, 3, 4, 4], [1, 1, 1, 1, 0]], dtype=np.float32)

    def score(histories):
        return table[[["ann", "bob", "cy"].index(user) for user in histories.user_ids]]

    for block in (1, 2, 512):
        ranking = rank_cases(score, cases, k=2, block=block)
        # ann: c after a, b are taken out; bob: d and e tie; cy has seen her target a.
        assert ranking.flat_ranks.tolist() == [1.0, 1.5, 1.5, np.inf]
        assert ranking.top.tolist() == [[3, 4], [4, 5], [2, 3]]
    kept = rank_cases(score, cases, k=2, filter_seen=False)
    assert kept.flat_ranks.tolist() == [3.0, 1.5, 1.5, 2.5]


def test_the_models_own_array_is_left_alone():
    memory = np.ones((1, 5), dtype=np.float32)
    rank_cases(lambda histories: np.broadcast_to(memory, (len(histories), 5)), toy_cases(), k=1)
    assert memory.tolist() == [[1.0] * 5]


def test_history_length_bounds_the_input_but_not_what_counts_as_seen():
    given_lengths = []

    def score(histories):
        given_lengths.extend(histories.lengths.tolist())
        return np.zeros((len(histories), 5), dtype=np.float32)

    ranking = rank_cases(score, toy_cases(), k=1, history_length=1)
    assert given_lengths == [1, 1, 1]
    assert ranking.flat_ranks[-1] == np.inf  # cy's older event, a, is still seen


def test_scores_of_the_wrong_shape_are_refused():
    with pytest.raises(DataError, match=r"shape \(3, 4\) for 3 histories; expected \(3, 5\)"):
        rank_cases(lambda h: np.zeros((len(h), 4), dtype=np.float32), toy_cases(), k=1)
