"""The bias of repeats, against the mean weight of the items under every code."""

import copy

import numpy as np
import pytest
import torch

from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.forms import make_generator
from llmrec.recommenders.onerec.generator.network import SessionBatch
from llmrec.recommenders.onerec.generator.repeats import items_led_to

SIZES = (2, 3, 2)
# the first four share their first code, the first two their second as well, the last two everything
CODES = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 2, 1], [1, 1, 0], [1, 1, 0]])
HISTORIES = [[1, 3, 1], [2, 1, 0], [5, 0, 0], [0, 0, 0]]


def generator(bias, choices="all", **options):
    torch.manual_seed(0)
    config = GeneratorConfig(
        dim=8, heads=2, history=4, dropout=0.0, choices=choices, repeat_bias=True, **options
    )
    made = make_generator(config, torch.from_numpy(CODES), SIZES).eval()
    torch.nn.init.constant_(made.repeat_bias, bias)
    return made


def log_probabilities(network, history, item):
    session = torch.tensor([[item]])
    batch = SessionBatch(torch.tensor([history]), session, session > 0, len(SIZES))
    with torch.no_grad():
        return network.log_probabilities(batch)[0, 0]


def by_counting(network, bias, history, item):
    """Log-probabilities of an item's codes with every code's weight counted over its items."""
    plain = copy.deepcopy(network)
    plain.repeat_bias = None
    session = torch.tensor([[item]])
    batch = SessionBatch(torch.tensor([history]), session, session > 0, len(SIZES))
    with torch.no_grad():
        hidden = plain._written(batch)
    own, found = CODES[item - 1], []
    for level, size in enumerate(SIZES):
        logits = plain.code_logits(level, hidden[0, :, level], own[:level])[0].detach().numpy()
        exists = np.ones(size, dtype=bool)
        for code in range(size):
            under = [
                j + 1 for j, c in enumerate(CODES) if (c[: level + 1] == [*own[:level], code]).all()
            ]
            exists[code] = bool(under) or network.existing is None
            if under:
                weights = [np.exp(bias) if j in history else 1.0 for j in under]
                logits[code] += np.log(np.mean(weights))
        total = np.log(np.exp(logits[exists].astype(np.float64)).sum())
        found.append(logits[own[level]] - total)
    return torch.tensor(found, dtype=torch.float32)


@pytest.mark.parametrize("choices", ["all", "existing"])
@pytest.mark.parametrize("bias", [-6.0, -0.7, 0.0, 1.5])
def test_a_code_is_worth_the_mean_weight_of_its_items(bias, choices):
    network = generator(bias, choices)
    for history in HISTORIES:
        for item in range(1, len(CODES) + 1):
            found = log_probabilities(network, history, item)
            expected = by_counting(network, bias, history, item)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("choices", ["all", "existing"])
def test_a_bias_may_fall_without_end(choices):
    network = generator(-200.0, choices).train()
    session = torch.tensor([[4], [2], [6], [1]])
    network(SessionBatch(torch.tensor(HISTORIES), session, session > 0, len(SIZES))).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    found = log_probabilities(network.eval(), [1, 2, 0], 1)
    assert found.isfinite().all()
    assert found.sum() < -150


def test_probabilities_of_the_catalogue_sum_to_one():
    network = generator(-2.0, "existing")
    different = range(1, len(CODES))  # the last two items share their ID
    for history in HISTORIES:
        total = sum(log_probabilities(network, history, j).sum().exp() for j in different)
        assert float(total) == pytest.approx(1.0, abs=1e-5)


def test_items_are_counted_by_their_codes():
    expected = [[1, 1, 1], [4, 2, 1], [4, 2, 1], [4, 1, 1], [4, 1, 1], [2, 2, 2], [2, 2, 2]]
    assert items_led_to(torch.from_numpy(CODES)).tolist() == expected


@pytest.mark.parametrize(("repeats", "sign"), [(False, -1), (True, 1)])
def test_the_bias_falls_where_nobody_repeats_and_rises_where_all_do(repeats, sign):
    network = generator(0.0, "existing").train()
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(len(CODES) - 1) + 1 for _ in range(64)])
    history = torch.from_numpy(rows[:, :3])
    session = history[:, :1] if repeats else torch.from_numpy(rows[:, 3:4])
    batch = SessionBatch(history, session, session > 0, len(SIZES))
    optimiser = torch.optim.SGD([network.repeat_bias], lr=0.05)
    for _ in range(20):
        optimiser.zero_grad()
        (network(batch) / batch.n_targets).backward()
        optimiser.step()
    assert sign * network.repeat_bias.item() > 0.05
    assert network.end_epoch() == {"repeat_bias": pytest.approx(network.repeat_bias.item())}
