"""Vectors of texts: equal texts once, caches that survive interruptions, ids that must match."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, DataError
from llmrec.retrieval.vectors import TextVectors, embed_texts

TEXTS = ["one", "two", "", None, "three", "one", "  ", "four"]


class Letters:
    """Counts letters; remembers what it was asked and may break down on the way."""

    fingerprint, dim = "letters", 5

    def __init__(self, calls_before_failure=None):
        self.asked, self.left = [], calls_before_failure

    def encode(self, texts):
        if self.left == 0:
            raise ConnectionError("gone")
        if self.left is not None:
            self.left -= 1
        self.asked += texts
        counts = [[text.count(letter) for letter in "aeiot"] for text in texts]
        values = np.array(counts, dtype=np.float32).reshape(-1, 5) + 0.1
        return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def vocabulary():
    return Vocabulary(["a", "b", "c"])


def test_equal_texts_are_embedded_once_and_blank_ones_never():
    encoder = Letters()
    vectors = embed_texts(TEXTS, encoder)
    assert sorted(encoder.asked) == ["four", "one", "three", "two"]
    assert vectors.any(axis=1).tolist() == [1, 1, 0, 0, 1, 1, 0, 1]
    np.testing.assert_array_equal(vectors[0], vectors[5])
    direct = Letters().encode(["one", "two", "three", "one", "four"])
    np.testing.assert_allclose(vectors[[0, 1, 4, 5, 7]], direct, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors[[0, 1, 4]], axis=1), 1, rtol=1e-6)


def test_a_cache_does_not_change_the_result_and_saves_the_work(tmp_path):
    plain = embed_texts(TEXTS, Letters())
    first, second = Letters(), Letters()
    np.testing.assert_array_equal(embed_texts(TEXTS, first, tmp_path, shard=2), plain)
    np.testing.assert_array_equal(embed_texts(TEXTS, second, tmp_path), plain)
    assert second.asked == []


def test_new_texts_alone_are_embedded(tmp_path):
    embed_texts(["one", "two"], Letters(), tmp_path)
    encoder = Letters()
    vectors = embed_texts(["three", "two", "five", "one"], encoder, tmp_path)
    assert sorted(encoder.asked) == ["five", "three"]
    np.testing.assert_array_equal(vectors, embed_texts(["three", "two", "five", "one"], Letters()))


def test_an_interrupted_pass_goes_on_where_it_stopped(tmp_path):
    texts = [f"text {'a' * i}" for i in range(10)]
    broken = Letters(calls_before_failure=3)
    with pytest.raises(ConnectionError):
        embed_texts(texts, broken, tmp_path, shard=2)
    assert len(broken.asked) == 6
    encoder = Letters()
    vectors = embed_texts(texts, encoder, tmp_path, shard=2)
    assert sorted(encoder.asked) == sorted(set(texts) - set(broken.asked))
    np.testing.assert_array_equal(vectors, embed_texts(texts, Letters()))
    assert not list(tmp_path.rglob(".*"))


def test_other_encoders_have_other_vectors(tmp_path):
    class Other(Letters):
        fingerprint = "other"

    embed_texts(TEXTS, Letters(), tmp_path)
    other = Other()
    embed_texts(TEXTS, other, tmp_path)
    assert len(other.asked) == 4


def test_progress_counts_what_is_embedded(tmp_path):
    seen = []
    embed_texts(["one"], Letters(), tmp_path)
    embed_texts(
        ["one", "two", "three", "four"],
        Letters(),
        tmp_path,
        shard=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 3), (3, 3)]


@settings(deadline=None)
@given(st.lists(st.text(max_size=6), max_size=12))
def test_every_text_gets_its_own_vector(texts):
    vectors = embed_texts(texts, Letters(), shard=3)
    assert vectors.shape == (len(texts), 5)
    for text, vector in zip(texts, vectors, strict=True):
        expected = Letters().encode([text])[0] if text.strip() else np.zeros(5)
        np.testing.assert_allclose(vector, expected, atol=1e-3)


def test_a_damaged_shard_is_named(tmp_path):
    embed_texts(TEXTS, Letters(), tmp_path)
    (shard,) = tmp_path.rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:40])
    with pytest.raises(ArtifactError, match=rf"{shard.name} is damaged.*delete it"):
        embed_texts(TEXTS, Letters(), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[np.nan] * 5], "NaN or infinity for 1 texts: 'one'"),
        ([[np.inf] * 5], "NaN or infinity for 1 texts: 'one'"),
        ([[1.0] * 4], r"shape \(1, 4\) for 1 texts of dimension 5"),
        ([[1.0] * 5] * 2, r"shape \(2, 5\) for 1 texts"),
    ],
)
def test_wrong_vectors_of_an_encoder_are_refused_and_not_stored(tmp_path, values, message):
    encoder = Letters()
    encoder.encode = lambda texts: np.array(values)
    with pytest.raises(DataError, match=message):
        embed_texts(["one"], encoder, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


class TestTextVectors:
    def test_rows_become_unit_rows_and_zeros_stay(self, vocabulary):
        given = np.array([[3, 4], [0, 0], [1e30, 1e30]], dtype=np.float32)
        vectors = TextVectors.from_array(given, vocabulary)
        np.testing.assert_allclose(vectors.values, [[0.6, 0.8], [0, 0], [0.5**0.5] * 2], rtol=1e-6)
        assert vectors.has_text.tolist() == [True, False, True]
        assert (len(vectors), vectors.dim, vectors.encoder) == (3, 2, "given")
        assert given[0].tolist() == [3, 4]

    def test_embedding_keeps_the_encoders_fingerprint(self, vocabulary):
        vectors = TextVectors.embed(["one", None, "two"], vocabulary, Letters())
        assert vectors.encoder == "letters"
        assert vectors.has_text.tolist() == [True, False, True]
        vectors.require(vocabulary, dim=5)

    def test_saved_and_read(self, vocabulary, tmp_path):
        vectors = TextVectors.from_array(np.eye(3), vocabulary)
        vectors.save(tmp_path / "v")
        again = TextVectors.load(tmp_path / "v")
        np.testing.assert_array_equal(again.values, vectors.values)
        assert (again.ids_fingerprint, again.encoder) == (vocabulary.fingerprint, "given")

    def test_a_changed_file_is_refused(self, vocabulary, tmp_path):
        TextVectors.from_array(np.eye(3), vocabulary).save(tmp_path / "v")
        with (tmp_path / "v" / "arrays.safetensors").open("ab") as file:
            file.write(b"x")
        with pytest.raises(ArtifactError, match="does not match the hash"):
            TextVectors.load(tmp_path / "v")

    def test_another_catalogue(self, vocabulary):
        vectors = TextVectors.from_array(np.eye(3), vocabulary)
        for other in (Vocabulary(["a", "b"]), Vocabulary(["a", "c", "b"])):
            with pytest.raises(DataError, match="belong to another catalogue"):
                vectors.require(other)

    def test_another_dimension(self, vocabulary):
        with pytest.raises(DataError, match=r"3 dimensions \(encoder given\), 4 are expected"):
            TextVectors.from_array(np.eye(3), vocabulary).require(vocabulary, dim=4)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.ones((2, 4)), "2 vectors for 3 items"),
            (np.ones(3), r"two axes \[ids, dimension\], not \(3,\)"),
            (np.ones((3, 0)), "two axes"),
            ([["x"]] * 3, "table of numbers"),
            ([[1.0], [np.nan], [np.inf]], "vectors of 2 items hold NaN or infinity: 'b', 'c'"),
        ],
    )
    def test_arrays_that_are_refused(self, vocabulary, values, message):
        with pytest.raises(DataError, match=message):
            TextVectors.from_array(values, vocabulary)

    def test_a_text_for_every_id(self, vocabulary):
        with pytest.raises(DataError, match="1 texts for 3 items"):
            TextVectors.embed(["one"], vocabulary, Letters())
