import numpy as np
import pytest

from llmrec.data import Histories, given, leave_one_out
from llmrec.errors import DataError, UnknownIdError


@pytest.fixture(scope="module")
def cases(small):
    return leave_one_out(small.dataset).cases("test")


def ndcg(scores, cases, k=10):
    """Mean ndcg@10 of the single targets, seen items last."""
    scores = scores.astype(np.float64)
    for row in range(len(cases)):
        scores[row, cases.histories[row] - 1] = -np.inf
    own = scores[np.arange(len(cases)), cases.targets - 1][:, None]
    rank = 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
    return np.where(rank <= k, 1 / np.log2(rank + 1), 0).mean()


def test_oracle_is_a_recommender_in_form(small, cases):
    oracle = small.oracle.fit(leave_one_out(small.dataset).train_histories())
    scores = oracle.score_catalog(cases.histories)
    assert oracle is small.oracle
    assert oracle.seen == []
    assert oracle.vocabulary is small.dataset.item_vocabulary
    assert scores.shape == (len(cases), 500)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, oracle.score_catalog(cases.histories))


def test_there_is_room_above_popularity_and_last_item_transitions(small, cases):
    train = leave_one_out(small.dataset).train_histories()
    oracle = ndcg(small.oracle.score_catalog(cases.histories), cases)
    counts = np.bincount(train.items - 1, minlength=500)
    popular = ndcg(np.tile(counts, (len(cases), 1)), cases)
    table = np.zeros((500, 500))
    inside = np.ones(train.items.size - 1, dtype=bool)
    inside[train.offsets[1:-1] - 1] = False
    np.add.at(table, (train.items[:-1][inside] - 1, train.items[1:][inside] - 1), 1)
    last = cases.histories.items[cases.histories.offsets[1:] - 1] - 1
    follows = ndcg(table[last] + counts / counts.sum(), cases)
    assert small.truth.best_possible(cases).realised == pytest.approx(oracle, abs=1e-6)
    assert oracle > 6 * popular
    # Counting what follows the last item gets more than half of what there is, not all of it.
    assert 0.5 * oracle < follows < 0.85 * oracle


def test_oracle_works_at_every_position(small):
    histories = small.dataset.histories.prefixes([0, 0, 1], [1, 5, 8])
    np.testing.assert_allclose(small.oracle.score_catalog(histories).sum(axis=1), 1, atol=1e-5)


def test_newest_events_are_enough_to_find_the_moment(small, cases):
    whole = small.oracle.score_catalog(cases.histories)
    np.testing.assert_array_equal(small.oracle.score_catalog(cases.histories.last(5)), whole)


def test_empty_history_is_the_first_moment(small):
    empty = small.dataset.histories.prefixes([4], [0])
    first = small.truth.next_item_probabilities([5], [0])
    np.testing.assert_allclose(small.oracle.score_catalog(empty), first, rtol=1e-6)


@pytest.mark.parametrize("edit", ["swap", "foreign", "gap"])
def test_edited_history_is_refused(small, edit):
    ids = small.dataset.item_vocabulary.decode(small.dataset.histories[6][:6]).to_list()
    if edit == "swap":
        ids[1], ids[2] = ids[2], ids[1]
    elif edit == "foreign":
        had = set(small.dataset.histories[6].tolist())
        free = next(code for code in range(1, 501) if code not in had)
        ids[-1] = small.dataset.item_vocabulary.decode([free])[0]
    else:
        ids = ids[:3] + ids[4:]
    edited = Histories.from_lists({3: [10_001][:0], 7: ids}, small.dataset.item_vocabulary)
    with pytest.raises(DataError, match="given for user 7 is not a piece of the simulated one"):
        small.oracle.score_catalog(edited)


def test_unknown_user_is_named(small):
    stranger = Histories.from_lists({999_999: [10_001]}, small.dataset.item_vocabulary)
    with pytest.raises(UnknownIdError, match="999999"):
        small.oracle.score_catalog(stranger)


def test_oracle_knows_the_probability_of_a_like(long_taste):
    cases = given(long_taste.dataset).labelled_cases("test")
    found = long_taste.oracle.score_pairs(cases.histories, cases.items)
    events = long_taste._events
    users = cases.histories.user_ids.to_numpy() - 1
    index = events.offsets[users + 1] - 1  # the pair is everybody's last event
    truth = long_taste.truth.outcomes(
        cases.histories.user_ids, events.item[index, None] + 1, events.time[index]
    )
    np.testing.assert_allclose(found, truth.like[:, 0], rtol=1e-6)
    assert abs(found.mean() - cases.labels.mean()) < 0.05  # it is calibrated
    whole = long_taste.dataset.histories.take([3])
    with pytest.raises(DataError, match="nothing is known of a moment after it"):
        long_taste.oracle.score_pairs(whole, cases.items[:1])
