"""The ECE of calibrated predictors: known in closed form, and what groups add to it."""

import numpy as np
import pytest
from scipy.special import expit

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.metrics.pairs import ece
from llmrec.signatures.decision.ece_floor import ece_floor, shift_between_groups


def test_one_bin_has_the_mean_of_a_folded_normal():
    # |mean of n labels - p| is about sqrt(p (1 - p) / n) |N(0, 1)|
    n, p = 4000, 0.3
    found = ece_floor(np.full(n, p), draws=4000)
    deviation = np.sqrt(p * (1 - p) / n)
    assert found.mean == pytest.approx(deviation * np.sqrt(2 / np.pi), rel=0.04)
    assert found.high == pytest.approx(deviation * 2.2414, rel=0.06)
    assert found.low == pytest.approx(deviation * 0.0313, abs=0.1 * deviation)


def test_it_is_the_mean_ece_of_labels_drawn_from_the_probabilities():
    rng = np.random.default_rng(1)
    risks = rng.beta(2, 4, 1500)
    drawn = [ece(rng.random(1500) < risks, risks, bins=9) for _ in range(400)]
    found = ece_floor(risks, bins=9)
    assert found.mean == pytest.approx(np.mean(drawn), rel=0.05)
    assert found.low < found.mean < found.high
    assert ece_floor(risks[:150], bins=9).mean > 2 * found.mean
    assert ece_floor(risks, bins=9) == found


def test_groups_that_are_shifted_together_add_to_it():
    risks = np.random.default_rng(2).beta(2, 4, 3000)
    few, many = np.arange(3000) % 12, np.arange(3000)
    plain = ece_floor(risks, draws=300)
    shifted = ece_floor(risks, few.tolist(), shift=1.0, draws=300)
    assert shifted.mean > 1.5 * plain.mean
    # where every item has a shift of its own, only the noise is left
    own = ece_floor(risks, many.tolist(), shift=0.5, draws=300)
    assert own.mean == pytest.approx(plain.mean, rel=0.15)


def test_the_spread_between_groups_is_found_again():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(300), 100)
    odds = rng.normal(-0.5, 1.0, groups.size)
    risks = expit(odds)
    shifts = rng.normal(0, 0.4, 300)
    labels = rng.random(groups.size) < expit(odds + shifts[groups])
    assert shift_between_groups(labels, risks, groups.tolist()) == pytest.approx(0.4, abs=0.05)
    unshifted = rng.random(groups.size) < risks
    assert shift_between_groups(unshifted, risks, groups.tolist()) < 0.1


def test_what_has_no_answer_is_refused():
    with pytest.raises(ConfigError, match="shift is -1"):
        ece_floor([0.5], shift=-1)
    with pytest.raises(ConfigError, match="draws 0"):
        ece_floor([0.5], draws=0)
    with pytest.raises(DataError, match="between 0 and 1"):
        ece_floor([1.5])
    with pytest.raises(DataError, match="3 items have 1 groups"):
        ece_floor([0.5, 0.5, 0.5], ["a"])
