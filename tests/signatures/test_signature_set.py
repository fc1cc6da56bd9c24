"""Records and rows about them stay together, and what does not fit is refused by name."""

import numpy as np
import polars as pl
import pytest

from llmrec.errors import DataError
from llmrec.signatures.records import SignatureSet
from llmrec.testing.signatures import labelled_signatures


@pytest.fixture(scope="module")
def some():
    return labelled_signatures(6, seed=0)


def test_rows_follow_their_records(some):
    records, labels = some
    found = SignatureSet.of(records, labels, list("aabbcc"), subject=list("uvwxyz"))
    part = found.take([4, 1])
    assert part.records == [records[4], records[1]]
    assert part.examples["subject"].to_list() == ["y", "v"]
    assert part.labels.tolist() == [labels[4], labels[1]]
    assert found.where(pl.col("group") == "b").ids == ["2", "3"]


def test_unknown_labels_are_named_when_they_are_needed(some):
    records, _ = some
    found = SignatureSet.of(records, [0, 1, np.nan, 1, np.nan, 0])
    with pytest.raises(DataError, match="2 of 6 signatures have no label, the first is '2'"):
        _ = found.labels
    assert found.labelled().ids == ["0", "1", "3", "5"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"labels": [0, 1, 2, 0, 0, 0]}, "signature '2' has label 2.0"),
        ({"ids": list("abcdea")}, "the same id: 'a'"),
        ({"groups": ["one"]}, "6 signatures have 1 values of group"),
    ],
)
def test_what_does_not_fit_is_refused(some, more, sentence):
    with pytest.raises(DataError, match=sentence):
        SignatureSet.of(some[0], **more)


def test_sets_are_joined_and_lacking_columns_are_null(some):
    records, labels = some
    first = SignatureSet.of(records[:2], labels[:2], ids=["a", "b"], task=["x", "y"])
    second = SignatureSet.of(records[2:], ids=list("cdef"))
    joined = SignatureSet.concat([first, second])
    assert joined.examples["task"].to_list() == ["x", "y", None, None, None, None]
    assert len(SignatureSet.concat([])) == 0
