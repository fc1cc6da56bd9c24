import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.ragged import (
    offsets_of,
    position_of_each,
    row_of_each,
    smaller_before,
    span_indices,
)

lengths = st.lists(st.integers(0, 4), max_size=10)


@given(lengths)
def test_rows_and_positions_equal_loops(lengths):
    offsets = offsets_of(lengths)
    pairs = [(row, at) for row, length in enumerate(lengths) for at in range(length)]
    assert offsets.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert row_of_each(offsets).tolist() == [row for row, _ in pairs]
    assert position_of_each(offsets).tolist() == [at for _, at in pairs]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), max_size=10))
def test_spans_equal_concatenated_ranges(spans):
    starts = [start for start, _ in spans]
    counts = [count for _, count in spans]
    expected = [i for start, count in spans for i in range(start, start + count)]
    assert span_indices(starts, counts).tolist() == expected
    assert span_indices(starts, counts).dtype == np.int64


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=6))
def test_smaller_before_equals_counting(rows):
    rows = [sorted(row) for row in rows]
    flat = np.array([value for row in rows for value in row], dtype=np.int64)
    expected = [sum(other < value for other in row) for row in rows for value in row]
    assert smaller_before(flat, offsets_of([len(row) for row in rows])).tolist() == expected
