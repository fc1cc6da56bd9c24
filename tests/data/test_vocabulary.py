import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.vocabulary import Vocabulary, as_id_series
from llmrec.errors import DataError, UnknownIdError

ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=100),
    st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=100),
)


@given(ids, st.data())
def test_decode_undoes_encode_on_both_lookup_paths(values, data):
    vocabulary = Vocabulary(values)
    asked = data.draw(st.lists(st.sampled_from(values), max_size=200)) if values else []
    codes = vocabulary.encode(pl.Series(asked, dtype=vocabulary.dtype))
    assert codes.dtype == np.int32
    assert codes.tolist() == [values.index(value) + 1 for value in asked]
    assert vocabulary.decode(codes).to_list() == asked


@pytest.mark.parametrize("repeat", [1, 100])
def test_unknown_ids_are_named_or_become_padding(repeat):
    vocabulary = Vocabulary(["a", "b"])
    asked = ["b", "zebra"] * repeat
    with pytest.raises(UnknownIdError, match="unknown item id: 'zebra'"):
        vocabulary.encode(asked)
    assert vocabulary.encode(asked, on_unknown="zero").tolist() == [2, 0] * repeat


def test_padding_decodes_to_null():
    assert Vocabulary([10, 20]).decode([0, 2, 0]).to_list() == [None, 20, None]


@pytest.mark.parametrize("code", [-1, 3])
def test_codes_out_of_range_are_refused(code):
    with pytest.raises(DataError, match="between 0 and 2"):
        Vocabulary([10, 20]).decode([code])


def test_membership_is_by_value_and_type():
    vocabulary = Vocabulary([10, 20])
    assert 10 in vocabulary
    assert "10" not in vocabulary


def test_other_type_of_ids_is_named_with_a_value():
    with pytest.raises(DataError, match=r"strings here but integers in the vocabulary.*'10'"):
        Vocabulary([10, 20]).encode(["10"])


def test_repeated_and_missing_ids_are_refused():
    with pytest.raises(DataError, match="more than once: 2"):
        Vocabulary([2, 1, 2])
    with pytest.raises(DataError, match="user id is missing"):
        Vocabulary(pl.Series(["a", None]), "user")


def test_mixed_and_fractional_ids_are_refused():
    with pytest.raises(DataError, match="all integers or all strings"):
        Vocabulary([1, "a"])
    with pytest.raises(DataError, match="integers or strings, found Float64"):
        Vocabulary([1.5])


def test_small_and_categorical_types_become_the_two_kinds():
    assert as_id_series(pl.Series([1, 2], dtype=pl.UInt8), "item").dtype == pl.Int64
    assert as_id_series(pl.Series(["x"], dtype=pl.Categorical), "item").dtype == pl.String


def test_fingerprint_depends_on_order_and_values_only():
    chunked = pl.concat([pl.Series("x", [1]), pl.Series("x", [2])], rechunk=False)
    assert Vocabulary([1, 2]).fingerprint == Vocabulary(chunked).fingerprint
    assert Vocabulary([1, 2]).fingerprint != Vocabulary([2, 1]).fingerprint
    assert Vocabulary([1, 2]).fingerprint != Vocabulary(["1", "2"]).fingerprint


@pytest.mark.parametrize(
    "ids",
    [
        pl.Series([7, 2**63, 2**63], dtype=pl.UInt64),
        pl.Series([7, 2**63, None], dtype=pl.Int128),
        [-(2**63) - 1],
    ],
)
def test_integers_beyond_64_bits_are_named(ids):
    value = next(i for i in ids if i not in (7, None))
    with pytest.raises(DataError, match=f"user ids that are integers.*found {value}; make"):
        as_id_series(ids, "user")


def test_wide_types_with_small_values_are_read():
    for dtype in (pl.UInt64, pl.Int128):
        series = as_id_series(pl.Series([1, None, 2**62], dtype=dtype), "item")
        assert series.dtype == pl.Int64
        assert series.to_list() == [1, None, 2**62]
