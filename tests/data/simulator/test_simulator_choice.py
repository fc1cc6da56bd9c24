"""The sampler and the closed form, each against arithmetic written out here."""

import numpy as np
import pytest
from scipy import stats

from llmrec.data.simulator import preset
from llmrec.data.simulator.events import make_world


@pytest.fixture(scope="module")
def world():
    return make_world(preset("simulate:tiny@1"), np.random.default_rng(5))


def case(world, n, seed=0, with_last=True):
    rng = np.random.default_rng(seed)
    n_items, topics = len(world.items), world.items.mixtures.shape[1]
    pull = rng.normal(size=(n, topics))
    period = rng.integers(0, 4, n)
    last = np.flatnonzero(world.items.following >= 0)[:n] if with_last else np.full(n, -1)
    taken = np.stack([rng.permutation(n_items)[:10] for _ in range(n)])
    taken[:, 0] = last
    mask = np.zeros((n, n_items), dtype=bool)
    for row, items in enumerate(taken):
        mask[row, items[items >= 0]] = True
    return pull, period, last, taken, mask


def softmax_by_hand(world, pull, period, last, mask):
    """One user, one item at a time, from the definition in the module's docstring."""
    settings, items = world.preset.choice, world.items
    weights = []
    for i in range(len(items)):
        age = period - items.release[i]
        if age < 0 or mask[i]:
            weights.append(0.0)
            continue
        utility = float(pull @ items.mixture[i]) + settings.quality * items.quality[i]
        if last >= 0 and items.following[last] == i:
            utility += settings.series
        fresh = world.preset.items.freshness * np.exp(-age / 3) if items.release[i] else 0.0
        weights.append(np.exp(items.popularity[i] + fresh + utility))
    return np.array(weights) / sum(weights)


def test_probabilities_equal_the_softmax_written_out(world):
    pull, period, last, _, mask = case(world, 6)
    found = world.choices.probabilities(pull, period, last, mask)
    for row in range(6):
        expected = softmax_by_hand(world, pull[row], period[row], last[row], mask[row])
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


def test_probabilities_sum_to_one_and_are_zero_for_taken_items(world):
    pull, period, last, _, mask = case(world, 8)
    found = world.choices.probabilities(pull, period, last, mask)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found[mask] == 0).all()


@pytest.mark.parametrize("with_last", [True, False])
def test_draws_follow_the_probabilities(world, with_last):
    pull, period, last, taken, mask = case(world, 3, with_last=with_last)
    draws = 20_000
    repeat = np.repeat(np.arange(3), draws)
    drawn = world.choices.draw(
        np.random.default_rng(1), pull[repeat], period[repeat], last[repeat], taken[repeat]
    )
    exact = world.choices.probabilities(pull, period, last, mask)
    for row in range(3):
        counts = np.bincount(drawn[repeat == row], minlength=exact.shape[1])
        assert counts[exact[row] == 0].sum() == 0
        common = exact[row] * draws >= 5
        observed = np.append(counts[common], counts[~common].sum())
        expected = np.append(exact[row][common], exact[row][~common].sum()) * draws
        keep = expected > 0
        assert stats.chisquare(observed[keep], expected[keep]).pvalue > 1e-4


def test_draws_stay_exact_when_almost_everything_is_taken(world):
    """So much is refused here that the last users are sampled from the whole catalog."""
    n, n_items = 4_000, len(world.items)
    likely = np.argsort(-world.choices.log_weight[3])
    left = likely[-2:]
    pull = np.zeros((1, world.items.mixtures.shape[1]))
    mask = np.ones((1, n_items), dtype=bool)
    mask[0, left] = False
    exact = world.choices.probabilities(pull, np.array([3]), np.array([-1]), mask)[0]
    drawn = world.choices.draw(
        np.random.default_rng(2),
        np.repeat(pull, n, axis=0),
        np.full(n, 3),
        np.full(n, -1),
        np.tile(likely[:-2], (n, 1)),
    )
    assert set(drawn) == set(left.tolist())
    share = (drawn == left[0]).mean()
    assert share == pytest.approx(exact[left[0]], abs=4 * 0.5 / np.sqrt(n))


def test_the_next_part_of_a_series_is_raised_by_the_bonus(world):
    pull, period, last, _, mask = case(world, 1)
    none = np.full(1, -1)
    period[:] = 3  # everything is out
    with_bonus = world.choices.probabilities(pull, period, last, mask & False)[0]
    without = world.choices.probabilities(pull, period, none, mask & False)[0]
    following = world.items.following[last[0]]
    odds = with_bonus / (1 - with_bonus), without / (1 - without)
    assert np.log(odds[0][following] / odds[1][following]) == pytest.approx(4.0)
