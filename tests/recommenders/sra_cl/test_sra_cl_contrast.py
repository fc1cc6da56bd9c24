"""InfoNCE against plain loops, values worked out by hand, and autograd."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.recommenders.sra_cl.contrast import Contrast, _InfoNCE, info_nce

ANCHORS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
POSITIVES = [[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]]
FIRST_TWO_ALIKE = [[False, True, False], [True, False, False], [False, False, False]]


def loop_loss(anchors, positives, alike=None, temperature=1.0):
    """The definition, pair by pair."""
    rows, n, total = [*anchors, *positives], len(anchors), 0.0
    for i in range(2 * n):
        partner, others = (i + n) % (2 * n), []
        for j in range(2 * n):
            if j in (i, partner) or (alike is not None and alike[i % n][j % n]):
                continue
            others.append(dot(rows[i], rows[j]) / temperature)
        wanted = dot(rows[i], rows[partner]) / temperature
        total += math.log(sum(map(math.exp, [wanted, *others]))) - wanted
    return total / (2 * n)


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def found(anchors, positives, alike=None, temperature=1.0):
    alike = None if alike is None else torch.tensor(alike)
    return info_nce(Contrast(torch.tensor(anchors), torch.tensor(positives), alike), temperature)


def test_three_rows_by_hand():
    e = math.e
    # products with [a1 a2 a3 p1 p2 p3]; the partner's is taken off
    expected = [
        math.log(3 + 2 * e) - 1,  # a1: - 0 1 [1] 0 0
        math.log(2 + 2 * e + e**2) - 2,  # a2: 0 - 1 0 [2] 1
        math.log(4 * e + e**2) - 1,  # a3: 1 1 - 1 2 [1]
        math.log(3 + 2 * e) - 1,  # p1: [1] 0 1 - 0 0
        math.log(2 + 3 * e**2) - 2,  # p2: 0 [2] 2 0 - 2
        math.log(2 + 2 * e + e**2) - 1,  # p3: 0 1 [1] 0 2 -
    ]
    assert found(ANCHORS, POSITIVES).item() == pytest.approx(sum(expected) / 6, rel=1e-6)
    assert loop_loss(ANCHORS, POSITIVES) == pytest.approx(sum(expected) / 6)


def test_three_rows_by_hand_with_the_first_two_alike():
    e = math.e
    expected = [
        math.log(1 + 2 * e) - 1,  # a1 no longer sees a2 and p2
        math.log(2 * e + e**2) - 2,  # a2 no longer sees a1 and p1
        math.log(4 * e + e**2) - 1,
        math.log(1 + 2 * e) - 1,
        math.log(3),  # p2: partner 2, a3 2, p3 2
        math.log(2 + 2 * e + e**2) - 1,
    ]
    masked = found(ANCHORS, POSITIVES, FIRST_TWO_ALIKE)
    assert masked.item() == pytest.approx(sum(expected) / 6, rel=1e-6)
    assert loop_loss(ANCHORS, POSITIVES, FIRST_TWO_ALIKE) == pytest.approx(sum(expected) / 6)


@st.composite
def pairs(draw):
    n, seed = draw(st.integers(1, 6)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < draw(st.sampled_from([0.0, 0.3, 1.0])))
    anchors, positives = rng.normal(size=(2, n, 4))
    return anchors, positives, upper | upper.T


@settings(deadline=None, max_examples=40)
@given(pairs(), st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_values_and_gradients_equal_the_loops(made, temperature):
    anchors, positives, alike = made
    value = found(anchors, positives, alike.tolist(), temperature)
    expected = loop_loss(anchors, positives, alike, temperature)
    assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)

    left = [torch.tensor(a, requires_grad=True) for a in (anchors, positives)]
    info_nce(Contrast(*left, torch.tensor(alike)), temperature).backward()
    right = [torch.tensor(a, requires_grad=True) for a in (anchors, positives)]
    by_autograd(*right, torch.tensor(alike), temperature).backward()
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def by_autograd(anchors, positives, alike, temperature):
    rows, n = torch.cat([anchors, positives]), len(anchors)
    hidden = alike.repeat(2, 2)
    partner = (torch.arange(2 * n) + n) % (2 * n)
    hidden[torch.arange(2 * n), partner] = False
    logits = (rows @ rows.T / temperature).masked_fill(hidden, -torch.inf)
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return torch.nn.functional.cross_entropy(logits, partner)


@pytest.mark.parametrize("alike", [None, torch.tensor(FIRST_TWO_ALIKE)])
def test_gradient_by_finite_differences(alike):
    rows = torch.randn(6, 3, dtype=torch.float64, generator=torch.manual_seed(4))
    rows.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda z: 3 * _InfoNCE.apply(z, alike, 0.7), rows)


def test_the_diagonal_of_the_mask_does_not_matter():
    mask = torch.tensor(FIRST_TWO_ALIKE)
    marked = (mask | torch.eye(3, dtype=torch.bool)).tolist()
    assert found(ANCHORS, POSITIVES, marked) == found(ANCHORS, POSITIVES, FIRST_TWO_ALIKE)
    diagonal = torch.eye(3, dtype=torch.bool).tolist()
    assert found(ANCHORS, POSITIVES, diagonal) == found(ANCHORS, POSITIVES)


def test_a_batch_of_one_and_a_batch_of_rows_that_are_all_alike():
    anchors = torch.tensor([[2.0, -3.0]], requires_grad=True)
    loss = info_nce(Contrast(anchors, torch.tensor([[1.0, 0.5]]), torch.tensor([[True]])))
    loss.backward()
    assert loss.item() == 0
    assert (anchors.grad == 0).all()
    assert found(ANCHORS, POSITIVES, np.ones((3, 3), dtype=bool).tolist()).item() == 0


def test_no_pair_gives_zero_that_both_sides_can_be_differentiated_by():
    anchors, positives = (torch.zeros(0, 3, requires_grad=True) for _ in range(2))
    loss = info_nce(Contrast(anchors, positives, torch.zeros(0, 0, dtype=torch.bool)))
    assert loss.item() == 0
    loss.backward()
    assert anchors.grad.shape == positives.grad.shape == (0, 3)


def test_large_products_stay_finite():
    anchors, positives = torch.full((2, 4, 3), 30.0).unbind()
    anchors.requires_grad_(True)
    loss = info_nce(Contrast(anchors, positives), 0.05)  # products of 54,000
    loss.backward()
    assert loss.item() == pytest.approx(math.log(7), abs=0.01)
    assert anchors.grad.isfinite().all()
