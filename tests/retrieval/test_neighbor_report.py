"""The report on neighbours, on tables written out."""

import json

import numpy as np
import pytest
from scipy.stats import skew

from llmrec.errors import DataError
from llmrec.retrieval.exact import ExactIndex
from llmrec.retrieval.neighbors import Neighbors, nearest
from llmrec.retrieval.report import neighbor_report


def table(rows, scores):
    return Neighbors(np.array(rows, dtype=np.int32), np.array(scores, dtype=np.float32))


def test_by_hand():
    none = -np.inf
    found = table([[2, 0], [2, -1], [-1, -1], [2, 1]], [[1, 0.5], [0.8, none], [none] * 2, [1, 0]])
    report = neighbor_report(found, 5, labels=list("abcde"), top=2)
    assert report["queries"] == 4
    assert report["filled"] == pytest.approx(5 / 8)
    assert report["without_neighbors"] == 0.25
    assert report["duplicates"] == pytest.approx(2 / 5)
    assert report["score"]["quantiles"]["p50"] == pytest.approx(0.8)
    assert report["score"]["mean_by_slot"] == pytest.approx([2.8 / 3, 0.25])
    hubness = report["hubness"]
    assert hubness["skewness"] == pytest.approx(skew([1, 1, 3, 0, 0]))
    assert hubness["never_chosen"] == pytest.approx(2 / 5)
    assert hubness["to_top_percent"] == pytest.approx(3 / 5)
    assert hubness["most_chosen"] == 3
    assert hubness["hubs"] == [
        {"row": 2, "label": "c", "chosen": 3},
        {"row": 0, "label": "a", "chosen": 1},
    ]


@pytest.mark.parametrize("n_rows", [0, 3])
def test_no_neighbours_at_all_is_json_without_nan(n_rows):
    report = neighbor_report(table([[-1]], [[-np.inf]]), n_rows)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["score"]["quantiles"] is None
    assert report["hubness"]["hubs"] == []


def test_equal_vectors_are_counted_as_duplicates():
    vectors = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[20:] = vectors[:20]
    report = neighbor_report(nearest(ExactIndex(vectors), vectors, 2), 40)
    assert report["duplicates"] == 1
    assert report["hubness"]["skewness"] == 0


def test_tables_that_do_not_fit():
    found = table([[4]], [[1]])
    with pytest.raises(DataError, match="row 4 of an index of 3 rows"):
        neighbor_report(found, 3)
    with pytest.raises(DataError, match="2 labels for 5 rows"):
        neighbor_report(found, 5, labels=["a", "b"])
