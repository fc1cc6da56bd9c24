import math

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.hashing import hash_arrays, hash_frame, hash_json, hash_series

texts = st.lists(st.one_of(st.none(), st.text(max_size=6)), max_size=20)
numbers = st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=20)


@given(st.one_of(texts, numbers), st.integers(0, 20))
def test_chunks_and_slices_do_not_matter(values, cut):
    dtype = pl.String if any(isinstance(v, str) for v in values) else pl.Int64
    whole = pl.Series("a", values, dtype=dtype)
    parts = pl.concat([whole[:cut], whole[cut:]], rechunk=False)
    inside = pl.concat([whole, whole])[len(values) :]
    assert hash_series(whole) == hash_series(parts) == hash_series(inside)


@given(texts, texts)
def test_equal_hashes_mean_equal_text(left, right):
    a, b = (pl.Series("a", v, dtype=pl.String) for v in (left, right))
    assert (hash_series(a) == hash_series(b)) == (left == right)


def test_where_one_string_ends_matters():
    assert hash_series(pl.Series(["ab", "c"])) != hash_series(pl.Series(["a", "bc"]))


def test_null_is_not_zero_false_or_empty():
    for null, filled, dtype in (
        (None, 0, pl.Int64),
        (None, "", pl.String),
        (None, False, pl.Boolean),
    ):
        a, b = (pl.Series([v, filled], dtype=dtype) for v in (null, filled))
        assert hash_series(a) != hash_series(b)


def test_names_types_and_order_of_columns_matter():
    frame = pl.DataFrame({"a": [1], "b": [2]})
    others = [
        frame.rename({"a": "c"}),
        frame.select("b", "a"),
        frame.cast(pl.Int32),
        frame.with_columns(a=pl.lit(3)),
    ]
    assert len({hash_frame(f) for f in [frame, *others]}) == 5


def test_floats_are_hashed_by_their_bits():
    assert hash_series(pl.Series([0.0])) != hash_series(pl.Series([-0.0]))
    assert hash_series(pl.Series([math.nan])) == hash_series(pl.Series([math.nan]))


def test_nan_is_one_value_whatever_its_spare_bits():
    bits = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001], dtype=np.uint64)
    series = [pl.Series("x", bits[i : i + 1].view(np.float64)) for i in range(3)]
    assert len({hash_series(s) for s in series}) == 1
    small = np.array([0x7FC00000, 0xFFC00001], dtype=np.uint32).view(np.float32)
    assert hash_series(pl.Series("x", small[:1])) == hash_series(pl.Series("x", small[1:]))


def test_arrays_of_other_shape_or_layout():
    array = np.arange(6)
    assert hash_arrays({"a": array}) != hash_arrays({"a": array.reshape(2, 3)})
    fortran = np.asfortranarray(array.reshape(2, 3))
    assert hash_arrays({"a": fortran}) == hash_arrays({"a": array.reshape(2, 3)})


def test_json_keys_are_sorted():
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1})
