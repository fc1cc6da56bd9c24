"""Learning-rate factors at written-out steps, and what holds at every step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.training.schedule import learning_rate_factor


def factors(total, warmup, schedule):
    return [learning_rate_factor(step, total, warmup, schedule) for step in range(total)]


@pytest.mark.parametrize(
    ("warmup", "schedule", "expected"),
    [
        (0, "constant", [1, 1, 1, 1, 1, 1]),
        (2, "constant", [0.5, 1, 1, 1, 1, 1]),
        (0, "linear", [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        (2, "linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        (2, "cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
        (6, "linear", [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]),
    ],
)
def test_written_out(warmup, schedule, expected):
    assert factors(6, warmup, schedule) == pytest.approx(expected, abs=1e-6)


@given(
    total=st.integers(1, 60),
    warmup=st.integers(0, 80),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
)
def test_rises_then_never_rises_again(total, warmup, schedule):
    found = factors(total, warmup, schedule)
    assert all(0 < factor <= 1 for factor in found)
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_beyond_the_end_it_stays_at_zero(schedule):
    assert learning_rate_factor(10, 10, 2, schedule) == pytest.approx(0)
    assert learning_rate_factor(99, 10, 2, schedule) == pytest.approx(0)
