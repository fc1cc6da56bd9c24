"""Session values against arithmetic written out, simulation and enumeration of all lists."""

import itertools

import numpy as np
import pytest

from llmrec.data.simulator import preset, simulate
from llmrec.data.simulator.rewards import draw_completion
from llmrec.errors import ConfigError, DataError, UnknownIdError


@pytest.fixture(scope="module")
def micro():
    base = preset("simulate:tiny@1")
    sessions = base.sessions.model_copy(update={"fewest": 3, "most": 5, "events": 4})
    items = base.items.model_copy(update={"items": 16, "topics": 4})
    return simulate(
        base.model_copy(update={"users": 4, "sessions": sessions, "items": items}), seed=2
    )


def fresh_items(simulation, user):
    """Ids that the user has not taken and that are out at the end."""
    p = simulation.truth.next_item_probabilities(
        [user], [simulation.dataset.histories.lengths[user - 1]]
    )[0]
    return simulation.dataset.item_vocabulary.decode(np.flatnonzero(p > 0) + 1).to_list()


def written_out(simulation, user, ids):
    """Completion and like probability of every position, one at a time."""
    reward, items = simulation.preset.reward, simulation._world.items
    taste = simulation._events.state.taste[simulation._events.offsets[user] - 1]
    bored, rows = np.zeros_like(taste), []
    for code in simulation.dataset.item_vocabulary.encode(ids) - 1:
        mixture = items.mixture[code]
        response = (
            reward.taste * float(taste @ mixture)
            + reward.quality * items.quality[code]
            - reward.boredom * float(bored @ mixture)
        )
        share = 1 / (1 + np.exp(-reward.completion - response))
        like = 1 / (1 + np.exp(-reward.like - response))
        rows.append((items.duration[code], share, like))
        bored = simulation.preset.choice.boredom_decay * bored + mixture
    return rows


def test_value_written_out(tiny):
    ids = fresh_items(tiny, 2)[:4]
    rows = written_out(tiny, 2, ids)
    expected = sum(0.9**r * (d * s / 60 + 2 * p) for r, (d, s, p) in enumerate(rows))
    assert tiny.truth.session_value(2, ids) == pytest.approx(expected)


def test_value_is_the_mean_of_sessions_that_users_go_through(tiny):
    ids, draws = fresh_items(tiny, 5)[:5], 40_000
    rng = np.random.default_rng(0)
    alive, total = np.ones(draws, dtype=bool), np.zeros(draws)
    for r, (duration, share, like) in enumerate(written_out(tiny, 5, ids)):
        if r:
            alive &= rng.random(draws) < 0.9
        completed = draw_completion(rng, tiny.preset.reward, np.full(draws, share))
        total += alive * (duration * completed / 60 + 2 * (rng.random(draws) < like))
    error = total.std() / np.sqrt(draws)
    assert tiny.truth.session_value(5, ids) == pytest.approx(total.mean(), abs=4 * error)


def test_logged_dwell_and_likes_have_the_expected_means():
    """First items of sessions: what users did against what the truth expects."""
    simulation = simulate(preset("simulate:tiny@1").model_copy(update={"users": 800}))
    events = simulation._events
    first = np.flatnonzero(events.state.opens)
    users = np.searchsorted(events.offsets, first, side="right")
    expected = simulation.truth.outcomes(users, events.item[first, None] + 1, events.time[first])
    for seen, mean in ((events.dwell, expected.dwell), (events.like, expected.like)):
        difference = seen[first] - mean[:, 0]
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(first.size)


def test_bored_users_value_the_second_of_a_kind_less(tiny):
    items = tiny._world.items
    vocabulary = tiny.dataset.item_vocabulary
    free = set((vocabulary.encode(fresh_items(tiny, 1)) - 1).tolist())
    pair = next(
        (a, b) for a, b in itertools.permutations(free, 2) if items.profile[a] == items.profile[b]
    )
    codes = np.array(pair) + 1
    alone = tiny.truth.outcomes([1], codes[None, 1:]).dwell[0, 0]
    after = tiny.truth.outcomes([1], codes[None, :]).dwell[0, 1]
    assert after < 0.95 * alone


def test_what_cannot_be_consumed_is_worth_nothing(tiny):
    a, b = fresh_items(tiny, 1)[:2]
    encode = tiny.dataset.item_vocabulary.encode
    had = int(tiny.dataset.histories[0][0])
    code_a, code_b = (int(code) for code in encode([a, b]))
    rows = [[code_a, code_a, code_b], [code_a, 0, code_b], [code_a, had, code_b]]
    found = tiny.truth.outcomes([1, 1, 1], rows)
    assert (found.dwell[:, 1] == 0).all()
    assert (found.like[:, 1] == 0).all()
    np.testing.assert_allclose(found.value, found.value[0])


def test_items_of_the_future_are_worth_nothing(tiny):
    catalog = tiny.dataset.catalog.frame
    start = int(tiny.dataset.interactions.frame["timestamp"].min())
    future = catalog.filter(catalog["released"] > start)["item_id"].to_list()
    assert future
    assert tiny.truth.session_value(1, future, time=start) == 0.0


def test_exact_search_finds_what_enumeration_finds(micro):
    for user in (1, 2):
        lists = list(itertools.permutations(micro.dataset.item_vocabulary.ids.to_list(), 3))
        codes = micro.dataset.item_vocabulary.encode(np.array(lists).ravel()).reshape(-1, 3)
        values = micro.truth.session_values([user] * len(lists), codes)
        ids, value = micro.truth.best_session(user, 3, width=None)
        assert value == pytest.approx(values.max())
        assert ids == list(lists[int(values.argmax())])


def test_wider_search_is_never_worse_and_values_are_those_of_the_lists(tiny):
    users = np.arange(1, 41)
    found = [tiny.truth.best_sessions(users, 5, width=width) for width in (1, 8)]
    for codes, values in found:
        np.testing.assert_allclose(tiny.truth.session_values(users, codes), values)
        assert all(len(set(row)) == 5 for row in codes.tolist())
    assert (found[1][1] >= found[0][1] - 1e-9).mean() > 0.95
    assert found[1][1].mean() >= found[0][1].mean()


def test_the_best_session_beats_what_users_chose_themselves(tiny):
    histories = tiny.dataset.histories
    ends = histories.offsets[1:]
    codes = np.stack([histories.items[end - 5 : end] for end in ends])
    times = histories.times[ends - 5]
    own = tiny.truth.session_values(histories.user_ids, codes, times)
    _, best = tiny.truth.best_sessions(histories.user_ids, 5, times)
    assert (best >= own - 1e-9).all()
    assert best.mean() > 1.2 * own.mean()


@pytest.mark.parametrize(("m", "width"), [(0, 1), (3, 0), (20, None)])
def test_searches_out_of_range_are_refused(tiny, m, width):
    with pytest.raises(ConfigError, match=r"m >= 1|lists, more than"):
        tiny.truth.best_session(1, m, width=width)


def test_a_session_longer_than_the_items_left_is_refused(tiny):
    with pytest.raises(ConfigError, match="m=79: user 1 has fewer items left"):
        tiny.truth.best_session(1, 79, width=1)


def test_sessions_of_another_shape_are_refused(tiny):
    with pytest.raises(DataError, match=r"2 users need sessions \[2, m\], got shape \(3,\)"):
        tiny.truth.session_values([1, 2], [1, 2, 3])


def test_codes_that_are_no_items_are_refused(tiny):
    with pytest.raises(DataError, match="between 0 and 80"):
        tiny.truth.session_values([1], [[10_001]])


def test_unknown_items_are_named(tiny):
    with pytest.raises(UnknownIdError, match="7"):
        tiny.truth.session_value(1, [7])
