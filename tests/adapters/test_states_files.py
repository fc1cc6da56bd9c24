"""Tables of states: what is read, and what is refused in a sentence."""

import numpy as np
import polars as pl
import pytest

from llmrec.adapters.states_files import read_states
from llmrec.errors import DataError


def written(folder, states, dtype=None):
    path = folder / "states.parquet"
    users = [f"u{row}" for row in range(len(states))]
    column = pl.Series("state", states, dtype=dtype)
    pl.DataFrame({"user_id": pl.Series(users, dtype=pl.String), "state": column}).write_parquet(
        path
    )
    return path


@pytest.mark.parametrize("dtype", [pl.Array(pl.Float64, 2), pl.List(pl.Float32), pl.List(pl.Int32)])
def test_numbers(tmp_path, dtype):
    found = read_states(written(tmp_path, [[1, 2], [3, 4]], dtype))
    assert found.users == ["u0", "u1"]
    assert found.states.dtype == np.float32
    np.testing.assert_array_equal(found.states, [[1, 2], [3, 4]])


def test_a_table_without_rows_names_nobody(tmp_path):
    found = read_states(written(tmp_path, [], pl.List(pl.Float32)))
    assert found.users == []
    assert len(found.states) == 0


@pytest.mark.parametrize(
    ("states", "dtype", "sentence"),
    [
        ([["x", "y"]], None, "states hold String and not numbers"),
        ([[True, False]], None, "states hold Boolean and not numbers"),
        ([[1.0, 2.0], [1.0, None]], None, r"state in row 2 lacks a number \(null\)"),
        ([[1.0], [1.0, 2.0]], None, "not lists of one width"),
        ([[1.0], None], None, "not lists of one width"),
        ([1.0, 2.0], None, "not lists of one width"),
    ],
)
def test_other_things_are_refused(tmp_path, states, dtype, sentence):
    with pytest.raises(DataError, match=sentence):
        read_states(written(tmp_path, states, dtype))
