"""Approximate search: measured recall, exactness where promised, and a missing library."""

import logging

import numpy as np
import pytest
from brute_force import best_rows

from llmrec.contracts import NeighborIndex
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.retrieval import faiss_index
from llmrec.retrieval.exact import ExactIndex
from llmrec.retrieval.faiss_index import FaissIndex, neighbor_index
from llmrec.retrieval.neighbors import nearest
from llmrec.retrieval.ranges import RowRanges
from llmrec.retrieval.recall import RecallSample

pytest.importorskip("faiss", reason="the extra 'faiss' is not installed")


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 16))
    values = centres[rng.integers(0, 40, 3000)] + 0.6 * rng.standard_normal((3000, 16))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    values[::100] = 0
    return values.astype(np.float32)


def recall_at(index, vectors, k=10):
    """Share of the true k nearest others, by definition."""
    rows = [row for row in range(1, 3000, 60) if vectors[row].any()]
    hits = 0
    for row in rows:
        true = set(best_rows(vectors, vectors[row], k, {row}))
        found = [r for r in index.search(vectors[[row]], k + 1)[1][0] if r != row][:k]
        hits += len(true & set(found))
    return hits / (k * len(rows))


def test_flat_equals_exact(vectors):
    index = FaissIndex.build(vectors, "flat")
    expected = ExactIndex(vectors).search(vectors[:50], 5)
    scores, rows = index.search(vectors[:50], 5)
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_allclose(scores, expected[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["ivf_flat", "hnsw"])
def test_tuned_to_a_recall(vectors, kind):
    index = FaissIndex.build(vectors, kind)
    reached = index.tune(vectors, recall=0.95, sample=300)
    assert reached >= 0.95
    assert recall_at(index, vectors) >= 0.92
    assert index.probes < index.most_probes


def test_all_lists_are_exact(vectors):
    index = FaissIndex.build(vectors, "ivf_flat", nlist=20, probes=20)
    assert recall_at(index, vectors) == 1
    assert index.tune(vectors, recall=1.0, sample=100) == 1


def test_more_probes_find_more(vectors):
    truth = RecallSample.draw(vectors, 10, 200)
    few, many = (FaissIndex.build(vectors, nlist=50, probes=probes) for probes in (1, 50))
    assert truth.recall(few) < truth.recall(many) == 1


def test_compressed_vectors_say_that_the_target_is_out_of_reach(vectors, caplog):
    index = FaissIndex.build(vectors, "ivf_pq", pq_bytes=2)
    with caplog.at_level(logging.WARNING):
        reached = index.tune(vectors, recall=0.999, sample=100)
    assert 0.1 < reached < 0.999
    assert "recall stays at" in caplog.text


def test_the_same_index_twice(vectors):
    one, two = (FaissIndex.build(vectors, seed=3).search(vectors[:40], 6) for _ in range(2))
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("kind", ["flat", "ivf_flat", "hnsw"])
def test_rows_and_queries_of_zeros_and_k_above_n(kind):
    vectors = np.array([[0, 0], [1, 0], [0, 0], [0.6, 0.8]], dtype=np.float32)
    index = FaissIndex.build(vectors, kind)
    scores, rows = index.search([[1, 0], [0, 0]], 5)
    assert (len(index), index.dim) == (4, 2)
    assert rows.tolist() == [[1, 3, -1, -1, -1], [-1] * 5]
    np.testing.assert_allclose(scores[0, :2], [1, 0.6], rtol=1e-6)
    assert np.isneginf(scores[rows < 0]).all()


def test_short_answers_look_into_more_lists(vectors):
    index = FaissIndex.build(vectors, nlist=60, probes=1)
    _, rows = index.search(vectors[1:20], 2970)
    assert (rows >= 0).all()
    assert all(len(set(row)) == 2970 for row in rows.tolist())


def test_nearest_with_exclusions_over_all_lists(vectors):
    index = FaissIndex.build(vectors, nlist=30, probes=30)
    own = RowRanges.from_rows(np.arange(1, 60))
    found = nearest(index, vectors[1:60], 4, own)
    expected = nearest(ExactIndex(vectors), vectors[1:60], 4, own)
    np.testing.assert_array_equal(found.rows, expected.rows)


def test_only_zeros():
    index = FaissIndex.build(np.zeros((5, 3)))
    assert index.search(np.ones((1, 3)), 2)[1].tolist() == [[-1, -1]]
    with pytest.raises(DataError, match="0 rows have a direction"):
        index.tune(np.zeros((5, 3)))


def test_saved_and_read(vectors, tmp_path):
    index = FaissIndex.build(vectors, nlist=20, probes=3)
    index.save(tmp_path / "index")
    again = FaissIndex.load(tmp_path / "index")
    assert (again.kind, again.probes, len(again)) == ("ivf_flat", 3, 3000)
    np.testing.assert_array_equal(again.search(vectors, 3)[1], index.search(vectors, 3)[1])
    with (tmp_path / "index" / "index.faiss").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match=r"index\.faiss does not match the hash"):
        FaissIndex.load(tmp_path / "index")


def test_recall_does_not_care_which_of_several_equal_rows_is_found():
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.standard_normal((50, 8)), 12, axis=0).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = RecallSample.draw(vectors, 5, 100)

    class Backwards(ExactIndex):
        def search(self, queries, k):
            scores, rows = super().search(queries, 12)
            return scores[:, : -k - 1 : -1], rows[:, : -k - 1 : -1]

    assert truth.recall(Backwards(vectors)) == 1


def test_index_by_size(vectors, monkeypatch, caplog):
    assert isinstance(neighbor_index(vectors), ExactIndex)
    large = neighbor_index(vectors, largest_exact=1000)
    assert isinstance(large, FaissIndex)
    assert isinstance(large, NeighborIndex)
    assert recall_at(large, vectors) > 0.9
    monkeypatch.setattr(faiss_index, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert isinstance(neighbor_index(vectors, largest_exact=1000), ExactIndex)
    assert "pip install 'llmrec[faiss]'" in caplog.text


class TestBadInput:
    def test_library_missing(self, monkeypatch):
        monkeypatch.setattr(faiss_index, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"pip install 'llmrec\[faiss\]'"):
            FaissIndex.build(np.eye(3))

    def test_kind(self):
        with pytest.raises(ConfigError, match="did you mean 'ivf_flat'"):
            FaissIndex.build(np.eye(3), "ivfflat")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"nlist": 0}, "nlist is 0"),
            ({"nlist": 9}, "between 1 and the 4 rows"),
            ({"probes": -1}, "probes is -1"),
            ({"kind": "ivf_pq", "pq_bytes": 3}, "pq_bytes is 3; it must divide the dimension 4"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            FaissIndex.build(np.eye(4), **settings)

    def test_vectors_of_another_index(self, vectors):
        index = FaissIndex.build(vectors, "flat")
        with pytest.raises(DataError, match="the index was built on"):
            index.tune(vectors[1:])
        with pytest.raises(ConfigError, match="recall is 0"):
            index.tune(vectors, recall=0)
        with pytest.raises(DataError, match="dimensions"):
            index.search(np.ones((1, 3)), 1)

    def test_nan(self):
        with pytest.raises(DataError, match="NaN"):
            FaissIndex.build(np.full((2, 2), np.nan))
