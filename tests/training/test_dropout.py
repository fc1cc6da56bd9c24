"""Dropout from random bytes: its rate, its scale, its independence, its seed."""

import numpy as np
import pytest
import torch

from llmrec.training.dropout import ByteDropout

N = 200_000


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_rate_and_scale(p):
    torch.manual_seed(0)
    rounded = 1 - round((1 - p) * 256) / 256
    found = ByteDropout(p)(torch.full((N,), 3.0))
    kept = found[found != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 3 / (1 - rounded)))
    spread = (rounded * (1 - rounded) / N) ** 0.5
    assert abs(1 - len(kept) / N - rounded) < 5 * spread
    assert abs(rounded - p) <= 1 / 512


def test_neighbours_are_independent():
    torch.manual_seed(1)
    zero = (ByteDropout(0.5)(torch.ones(N)) == 0).double().numpy()
    for lag in (1, 2, 7, 8, 64):
        assert abs(np.corrcoef(zero[:-lag], zero[lag:])[0, 1]) < 5 / N**0.5


def test_every_bit_of_the_draw_counts():
    torch.manual_seed(2)
    zero = (ByteDropout(0.5)(torch.ones(N)) == 0).view(-1, 8).double().mean(0)
    torch.testing.assert_close(zero, torch.full((8,), 0.5, dtype=torch.float64), atol=0.02, rtol=0)


def test_gradient_passes_where_values_pass():
    values = torch.randn(5, 7, requires_grad=True)
    found = ByteDropout(0.4)(values)
    found.sum().backward()
    expected = torch.where(found == 0, 0.0, found.detach() / values.detach())
    torch.testing.assert_close(values.grad, expected)


def test_seed_fixes_the_draw():
    layer, values = ByteDropout(0.3), torch.ones(3, 5)
    torch.manual_seed(4)
    first, second = layer(values), layer(values)
    torch.manual_seed(4)
    assert torch.equal(layer(values), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (8,), (9,), (2, 3, 5)])
def test_shapes_that_do_not_fill_a_word(shape):
    assert ByteDropout(0.5)(torch.ones(shape)).shape == shape


def test_evaluation_and_zero_probability_change_nothing():
    values = torch.randn(4)
    assert ByteDropout(0.5).eval()(values) is values
    assert ByteDropout(0.0)(values) is values


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_probability_out_of_range(p):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        ByteDropout(p)
