"""Hashed TF-IDF with SVD against sklearn's own pipeline, and on odd corpora."""

import json

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from llmrec.contracts import TextEncoder
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.retrieval.tfidf import HashedTfidf

TITLES = [
    "Red lipstick with matte finish",
    "Matte lipstick, dark red",
    "Garden hose, fifty feet",
    "Hose reel for the garden",
    "Shampoo for dry hair",
    "Dry hair conditioner and shampoo",
    "Lipstick lipstick lipstick, red",
    "Nail polish, red and dark",
]


def cosines(vectors):
    return vectors @ vectors.T


def test_equals_sklearns_pipeline_up_to_rotation():
    counted = TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True
    ).fit_transform(TITLES)
    projected = TruncatedSVD(4, random_state=0).fit_transform(counted)
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    vectors = HashedTfidf(4).fit(TITLES).encode(TITLES)
    np.testing.assert_allclose(cosines(vectors), cosines(projected), atol=1e-5)


def test_unit_rows_and_texts_that_share_words_are_closer():
    vectors = HashedTfidf(8).fit(TITLES).encode(TITLES)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    similar = cosines(vectors)
    assert similar[0, 1] > similar[0, 2]
    assert similar[2, 3] > similar[2, 4]


@pytest.mark.parametrize("chars", [None, (3, 4)])
def test_the_same_twice_and_another_encoder_with_another_seed(chars):
    one, two = (HashedTfidf(4, seed=1, char_ngrams=chars).fit(TITLES) for _ in range(2))
    np.testing.assert_array_equal(one.encode(TITLES), two.encode(TITLES))
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != HashedTfidf(4, seed=2, char_ngrams=chars).fit(TITLES).fingerprint
    assert one.fingerprint != HashedTfidf(4, seed=1, char_ngrams=chars).fit(TITLES[1:]).fingerprint


def test_characters_bring_misspellings_together():
    texts = [*TITLES, "lipstik"]
    words = HashedTfidf(64).fit(TITLES).encode(texts)
    characters = HashedTfidf(64, char_ngrams=(3, 5)).fit(TITLES).encode(texts)
    assert not words[-1].any()
    assert characters[-1] @ characters[0] > 0.2


def test_fewer_texts_than_dimensions():
    encoder = HashedTfidf(256).fit(TITLES[:3])
    assert encoder.dim == 3
    assert encoder.encode(TITLES).shape == (8, 3)


def test_all_texts_equal_give_one_direction():
    encoder = HashedTfidf(16).fit(["the same"] * 20)
    assert encoder.dim == 1
    np.testing.assert_allclose(np.abs(encoder.encode(["the same", "same"])), 1, rtol=1e-6)


def test_blank_and_unrelated_texts_are_zeros():
    encoder = HashedTfidf(8).fit([*TITLES, "", "  \n"])
    vectors = encoder.encode(["", " \t", "zxqv", "!!!", "red"])
    assert vectors.any(axis=1).tolist() == [False, False, False, False, True]
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_only_frequent_features_are_kept():
    encoder = HashedTfidf(8, max_features=2, word_ngrams=(1, 1)).fit(TITLES)
    kept = encoder.encode(["red", "lipstick", "hose"]).any(axis=1)
    assert kept.tolist() == [True, True, False]


def test_a_sample_is_drawn_from_many_texts():
    texts = [f"word{i % 50} text" for i in range(400)]
    one, two = (HashedTfidf(8, sample=30).fit(texts) for _ in range(2))
    assert one.fingerprint == two.fingerprint
    assert len(one.encode(texts)) == 400


def test_saved_and_read(tmp_path):
    encoder = HashedTfidf(4, char_ngrams=(3, 3)).fit(TITLES)
    encoder.save(tmp_path / "encoder")
    again = HashedTfidf.load(tmp_path / "encoder")
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode(TITLES), encoder.encode(TITLES))
    assert {file.suffix for file in (tmp_path / "encoder").iterdir()} == {".json", ".safetensors"}


def test_is_a_text_encoder():
    assert isinstance(HashedTfidf(4).fit(TITLES), TextEncoder)


class TestBadInput:
    def test_not_fitted(self, tmp_path):
        encoder = HashedTfidf()
        for job in (lambda: encoder.encode(["a"]), lambda: encoder.save(tmp_path / "x")):
            with pytest.raises(ConfigError, match="was not fitted"):
                job()
        assert not (tmp_path / "x").exists()

    @pytest.mark.parametrize("texts", [[], ["", " "], ["!?", "--"]])
    def test_no_words(self, texts):
        with pytest.raises(DataError, match=f"none of {len(texts)} texts has a word"):
            HashedTfidf().fit(texts)

    @pytest.mark.parametrize(
        "settings",
        [
            {"dim": 0},
            {"sample": 0},
            {"word_ngrams": (2, 1)},
            {"hash_bits": 40},
            {"max_features": 0},
        ],
    )
    def test_settings(self, settings):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            HashedTfidf(**settings)

    def test_changed_files(self, tmp_path):
        folder = tmp_path / "encoder"
        HashedTfidf(4).fit(TITLES).save(folder)
        facts = json.loads((folder / "encoder.json").read_text())
        facts["settings"]["word_ngrams"] = [1, 1]
        (folder / "encoder.json").write_text(json.dumps(facts))
        with pytest.raises(ArtifactError, match="not of one encoder"):
            HashedTfidf.load(folder)
        (folder / "arrays.safetensors").write_bytes(b"nonsense")
        with pytest.raises(ArtifactError, match="does not match the hash"):
            HashedTfidf.load(folder)
        (folder / "arrays.safetensors").unlink()
        with pytest.raises(ArtifactError, match="is missing"):
            HashedTfidf.load(folder)
        with pytest.raises(ArtifactError, match=r"has no encoder\.json"):
            HashedTfidf.load(tmp_path)
