"""Batches and their layout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.inference.hf_batches import batches, in_halves, left_padded, right_padded


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), max_size=80),
    st.integers(1, 200),
    st.integers(1, 12),
)
def test_every_row_is_in_one_batch_that_fits(lengths, budget, most_rows):
    found = batches(lengths, budget, most_rows)
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    for batch in found:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert len(batch) == 1 or (padded <= budget and len(batch) <= most_rows)


def test_rows_of_a_batch_are_alike():
    lengths = [1, 100, 2, 99, 3, 98]
    assert batches(lengths, budget=300, most_rows=9) == [[1, 3, 5], [4, 2, 0]]


@pytest.mark.parametrize(
    ("layout", "ids", "mask"),
    [
        (left_padded, [[7, 8, 9], [0, 0, 5]], [[1, 1, 1], [0, 0, 1]]),
        (right_padded, [[7, 8, 9], [5, 0, 0]], [[1, 1, 1], [1, 0, 0]]),
    ],
)
def test_padding(layout, ids, mask):
    found = layout([[7, 8, 9], [5]], torch.device("cpu"))
    assert found[0].tolist() == ids
    assert found[1].tolist() == mask


def test_batches_that_are_too_much_are_halved():
    tried = []

    def run(batch):
        tried.append(len(batch))
        if len(batch) > 2 or 4 in batch:
            raise torch.OutOfMemoryError("too much")
        return [row * 10 for row in batch]

    assert in_halves([0, 1, 2, 3, 4], run, str.upper)[:4] == [0, 10, 20, 30]
    assert in_halves([4], run, str.upper)[0].startswith("THE DEVICE'S MEMORY IS TOO SMALL")
    assert tried[:3] == [5, 2, 3]
