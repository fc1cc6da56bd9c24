"""Choosing tokens, against transformers' own warpers and against counts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from llmrec.inference.requests import Decoding
from llmrec.inference.sampling import NO_CHOICE, choose, generator_of


def draws(row, decoding, n=4000):
    """Tokens of ``n`` seeds, chosen in one batch."""
    decodings = [
        Decoding(
            temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p, seed=seed
        )
        for seed in range(n)
    ]
    return choose(row.expand(n, -1), decodings, [generator_of(each) for each in decodings])


def chosen(rows, decodings):
    return choose(rows, decodings, [generator_of(each) for each in decodings])


def test_greedy_takes_the_most_probable():
    rows = torch.tensor([[0.0, 3.0, 1.0], [-torch.inf, -5.0, -9.0]])
    assert chosen(rows, [Decoding(), Decoding(top_k=2, top_p=0.1)]).tolist() == [1, 1]


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(temperature=1.0, seed=0),
        Decoding(temperature=0.5, seed=0),
        Decoding(temperature=2.0, top_k=4, seed=0),
        Decoding(temperature=1.3, top_p=0.8, seed=0),
        Decoding(temperature=0.8, top_k=5, top_p=0.7, seed=0),
    ],
)
def test_frequencies_are_those_of_transformers(decoding):
    row = 2 * torch.randn(9, generator=torch.Generator().manual_seed(4))
    scores = TemperatureLogitsWarper(decoding.temperature)(None, row[None])
    if decoding.top_k:
        scores = TopKLogitsWarper(decoding.top_k)(None, scores)
    if decoding.top_p < 1:
        scores = TopPLogitsWarper(decoding.top_p)(None, scores)
    expected = scores.softmax(-1)[0].numpy()
    counts = np.bincount(draws(row, decoding).numpy(), minlength=9)
    assert (counts[expected == 0] == 0).all()
    allowed = expected > 0
    error = (counts[allowed] - 4000 * expected[allowed]) ** 2 / (4000 * expected[allowed])
    assert error.sum() < 30  # chi-square with at most 8 degrees of freedom: 1 in 5000


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    top_k=st.integers(0, 30),
    top_p=st.floats(0.05, 1.0),
)
def test_a_row_depends_on_nothing_else(seed, temperature, top_k, top_p):
    rows = torch.randn(5, 20, generator=torch.Generator().manual_seed(seed))
    mine = Decoding(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    others = [Decoding(temperature=n / 2, seed=n, top_k=n) for n in range(4)]
    together = chosen(rows, [*others[:2], mine, *others[2:]])
    assert together[2] == chosen(rows[2:3], [mine])[0]


def test_ties_with_the_last_one_inside_are_inside():
    row = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert set(draws(row, Decoding(temperature=1, top_k=2, seed=0), 200).tolist()) == {0, 1, 2}


def test_small_top_p_is_greedy_and_tiny_temperature_too():
    row = torch.tensor([0.1, 0.3, 0.2])
    for decoding in (
        Decoding(temperature=5.0, top_p=1e-9, seed=0),
        Decoding(temperature=1e-30, seed=0),
    ):
        assert set(draws(row, decoding, 50).tolist()) == {1}


def test_impossible_tokens_never_come():
    row = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf])
    assert set(draws(row, Decoding(temperature=3, seed=0), 300).tolist()) == {1, 3}


def test_successive_draws_differ_and_repeat_with_the_seed():
    row = torch.zeros(1, 1000)
    decoding = Decoding(temperature=1, seed=7)
    first, second = generator_of(decoding), generator_of(decoding)
    tokens = [choose(row, [decoding], [first]).item() for _ in range(20)]
    assert tokens == [choose(row, [decoding], [second]).item() for _ in range(20)]
    assert len(set(tokens)) > 15


@pytest.mark.parametrize("seed", [-1, 0, 2**64, 10**30])
def test_any_integer_is_a_seed(seed):
    assert 0 <= chosen(torch.zeros(1, 5), [Decoding(temperature=1, seed=seed)]).item() < 5


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_damaged_rows_have_no_choice_and_leave_others_alone(bad, temperature):
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    decodings = [Decoding(temperature=temperature, seed=seed) for seed in range(3)]
    good = chosen(rows, decodings)
    rows[1, 4] = bad
    found = chosen(rows, decodings)
    assert found[1] == NO_CHOICE
    assert found[[0, 2]].tolist() == good[[0, 2]].tolist()


def test_nothing_possible_is_no_choice():
    rows = torch.full((2, 4), -torch.inf)
    decodings = [Decoding(), Decoding(temperature=1, seed=0)]
    assert chosen(rows, decodings).tolist() == [NO_CHOICE, NO_CHOICE]
