import dataclasses

import numpy as np
import pytest

from llmrec.data import leave_one_out
from llmrec.data.simulator import preset, simulate
from llmrec.errors import DataError, UnknownIdError


@pytest.fixture(scope="module")
def crowd():
    """Many users in the tiny world, and the true distribution of each of their events."""
    simulation = simulate(preset("simulate:tiny@1").model_copy(update={"users": 600}))
    histories = simulation.dataset.histories
    users = np.repeat(histories.user_ids.to_numpy(), histories.lengths)
    positions = np.concatenate([np.arange(n) for n in histories.lengths])
    probabilities = simulation.truth.next_item_probabilities(users, positions)
    return simulation, probabilities, histories.items - 1


def test_probabilities_sum_to_one(crowd):
    np.testing.assert_allclose(crowd[1].sum(axis=1), 1.0)


def test_every_item_comes_as_often_as_its_probabilities_say(crowd):
    _, probabilities, items = crowd
    observed = np.bincount(items, minlength=probabilities.shape[1])
    expected = probabilities.sum(axis=0)
    deviation = np.sqrt((probabilities * (1 - probabilities)).sum(axis=0))
    z = (observed - expected) / deviation
    assert np.abs(z).max() < 4.5
    assert 0.6 < np.mean(z**2) < 1.5


@pytest.mark.parametrize("opening", [True, False])
def test_surprise_equals_entropy(crowd, opening):
    """A wrong distribution surprises more than its entropy; at openings and within sessions."""
    simulation, probabilities, items = crowd
    opens = simulation._events.state.opens
    p = probabilities[opens == opening]
    with np.errstate(divide="ignore"):
        logs = np.where(p > 0, np.log(p), 0.0)
    entropy = -(p * logs).sum(axis=1)
    surprise = -logs[np.arange(p.shape[0]), items[opens == opening]]
    spread = np.sqrt(((p * logs**2).sum(axis=1) - entropy**2).sum())
    assert abs((surprise - entropy).sum()) < 4 * spread
    assert opens.sum() > 1_000


def test_opening_of_a_session_sums_the_interest_out(tiny):
    """Against the mean over interests drawn at random."""
    truth = tiny.truth
    state, taken = truth._moments.at_positions(np.arange(2), np.zeros(2, dtype=np.int64))
    assert state.opens.all()
    exact = truth.next_item_probabilities([1, 2], [0, 0])
    settings, choices = tiny.preset.choice, truth._moments.world.choices
    rng = np.random.default_rng(0)
    odds = np.exp(settings.interest_focus * state.taste)
    total, draws = np.zeros_like(exact), 4_000
    topics = [rng.choice(6, size=draws, p=row / row.sum()) for row in odds]
    for topic in range(6):
        pull = state.pull + settings.interest * np.eye(6)[topic]
        given = choices.probabilities(pull, state.period, state.last, taken)
        total += given * np.array([[(drawn == topic).mean()] for drawn in topics])
    np.testing.assert_allclose(total, exact, atol=0.02)


def test_items_taken_before_have_no_chance(tiny):
    histories = tiny.dataset.histories
    p = tiny.truth.next_item_probabilities(histories.user_ids, histories.lengths)
    for row in range(len(histories)):
        assert (p[row, histories[row] - 1] == 0).all()


def test_best_possible_of_one_case_is_the_sum_over_the_ranks(tiny):
    case = leave_one_out(tiny.dataset).cases("test").take([7])
    p = tiny.truth.next_item_probabilities(case.histories.user_ids, case.histories.lengths)[0]
    best = sorted(p, reverse=True)[:3]
    rank = 1 + (p > p[case.targets[0] - 1]).sum()
    found = tiny.truth.best_possible(case, k=3)
    assert found.expected == pytest.approx(best[0] + best[1] / np.log2(3) + best[2] / 2)
    assert found.realised == pytest.approx(1 / np.log2(rank + 1) if rank <= 3 else 0.0)
    assert found.n == 1


def test_realised_ndcg_agrees_with_its_expectation(small):
    found = small.truth.best_possible(leave_one_out(small.dataset).cases("test"))
    assert found.realised == pytest.approx(found.expected, abs=4 * 0.42 / np.sqrt(found.n))


def test_preference_is_taste_match_plus_quality(tiny):
    events, items = tiny._events, tiny._world.items
    user, position = 3, 4
    index = events.offsets[user] + position
    taste = events.state.taste[index]
    expected = [
        1.6 * float(taste @ items.mixture[i]) + 0.4 * items.quality[i] for i in range(len(items))
    ]
    found = tiny.truth.preference([user + 1], int(events.time[index]))
    np.testing.assert_allclose(found[0], expected)


def test_taste_between_events_is_that_of_the_event_before(tiny):
    events = tiny._events
    times = events.time[events.offsets[0] : events.offsets[1]]
    at, after = (tiny.truth.preference([1], int(times[5]) + late) for late in (0, 1))
    np.testing.assert_array_equal(at, after)
    before = tiny.truth.preference([1], int(times[0]) - 100)
    np.testing.assert_array_equal(before, tiny.truth.preference([1], int(times[0])))


def test_unknown_user_is_named(tiny):
    with pytest.raises(UnknownIdError, match="4711"):
        tiny.truth.preference([1, 4711])


def test_position_past_the_end_is_named(tiny):
    n = int(tiny.dataset.histories.lengths[0])
    tiny.truth.next_item_probabilities([1], [n])
    with pytest.raises(DataError, match=f"user 1 has {n} events; there is no position {n + 1}"):
        tiny.truth.next_item_probabilities([1], [n + 1])


def test_as_many_positions_as_users(tiny):
    with pytest.raises(DataError, match="2 users need as many positions"):
        tiny.truth.next_item_probabilities([1, 2], [3])


def test_truth_needs_the_kept_states(tiny):
    from llmrec.data.simulator.moments import Moments

    bare = dataclasses.replace(tiny._events, state=None)
    with pytest.raises(DataError, match="did not keep the states"):
        Moments(tiny._world, bare, tiny.dataset)
