"""Preference losses against formulas written out in plain floats."""

import math

import pytest
import torch

from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.alignment.losses import PairLogProbs, margins, preference_losses

CHOSEN, REJECTED = [-3.0, -7.5, -1.0], [-4.0, -6.0, -1.0]
REF_CHOSEN, REF_REJECTED = [-3.5, -7.0, -2.0], [-3.0, -6.5, -2.5]
CODES = [6, 6, 6]


def pairs(**changes):
    values = {
        "chosen": CHOSEN,
        "rejected": REJECTED,
        "reference_chosen": REF_CHOSEN,
        "reference_rejected": REF_REJECTED,
        "chosen_codes": CODES,
        "rejected_codes": CODES,
        **changes,
    }
    return PairLogProbs(
        **{name: None if v is None else torch.tensor(v) for name, v in values.items()}
    )


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def written_out(kind, row, beta, eps, gamma):
    won, lost = CHOSEN[row], REJECTED[row]
    h = (won - REF_CHOSEN[row]) - (lost - REF_REJECTED[row])
    right, wrong = math.log(sigmoid(beta * h)), math.log(sigmoid(-beta * h))
    return {
        "dpo": -right,
        "ipo": (h - 0.5 / beta) ** 2,
        "cdpo": -(1 - eps) * right - eps * wrong,
        "rdpo": (-(1 - eps) * right + eps * wrong) / (1 - 2 * eps),
        "simpo": -math.log(sigmoid(beta * (won / 6 - lost / 6) - gamma)),
        "cpo": -math.log(sigmoid(beta * (won - lost))) - won,
    }[kind]


@pytest.mark.parametrize("kind", ["dpo", "ipo", "cdpo", "rdpo", "simpo", "cpo"])
@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_against_the_formula(kind, beta):
    found = preference_losses(pairs(), kind, beta, label_smoothing=0.2, gamma=0.3)
    expected = [written_out(kind, row, beta, 0.2, 0.3) for row in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_the_chosen_list_may_count_on_its_own():
    found = preference_losses(pairs(), "dpo", 0.5, rpo_alpha=0.7)
    expected = [written_out("dpo", row, 0.5, 0, 0) - 0.7 * CHOSEN[row] / 6 for row in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_before_the_first_step_dpo_is_log_two():
    same = pairs(reference_chosen=CHOSEN, reference_rejected=REJECTED)
    torch.testing.assert_close(preference_losses(same), torch.full((3,), math.log(2)))
    assert not margins(same).any()


def test_smoothing_of_zero_is_plain_dpo():
    torch.testing.assert_close(preference_losses(pairs(), "cdpo"), preference_losses(pairs()))
    torch.testing.assert_close(preference_losses(pairs(), "rdpo"), preference_losses(pairs()))


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected():
    for kind in ("dpo", "ipo", "cdpo", "rdpo", "simpo", "cpo"):
        given = pairs()
        given.chosen.requires_grad_()
        given.rejected.requires_grad_()
        preference_losses(given, kind, 0.1, 0.1).sum().backward()
        assert (given.chosen.grad < 0).all(), kind
        assert (given.rejected.grad > 0).all(), kind


def test_half_precision_is_summed_in_float32():
    half = pairs(chosen=[-1000.5, -7.5, -1.0])
    half = half._replace(chosen=half.chosen.bfloat16())
    assert preference_losses(half).dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "options", "error", "sentence"),
    [
        ({"reference_chosen": None}, {}, DataError, "dpo needs the log-probabilities of a refer"),
        ({"rejected_codes": [6, 3, 6]}, {}, DataError, "pair 1 holds lists of 6 and 3 codes"),
        ({}, {"beta": 0.0}, ConfigError, "beta is 0.0; expected above 0"),
        ({}, {"label_smoothing": 0.5}, ConfigError, "label_smoothing is 0.5"),
        ({}, {"loss_type": "kto"}, ConfigError, "loss_type='kto' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused(changes, options, error, sentence):
    with pytest.raises(error, match=sentence):
        preference_losses(pairs(**changes), **options)


def test_losses_without_a_reference_need_none():
    bare = pairs(reference_chosen=None, reference_rejected=None, rejected_codes=[6, 3, 6])
    for kind in ("simpo", "cpo"):
        assert torch.isfinite(preference_losses(bare, kind)).all()
