"""Encoders that are known from the cache are made only when a text has to be embedded."""

import json

import numpy as np
import pytest

from llmrec.errors import ArtifactError, ConfigError
from llmrec.retrieval import encoders
from llmrec.retrieval.encoders import cached_encoder, text_encoder
from llmrec.retrieval.vectors import embed_texts

CORPUS = ["red lipstick", "black pen", "blue pen and paper", "lip balm"]


@pytest.fixture
def made(monkeypatch):
    """Names of the encoders that were made."""
    names, real = [], text_encoder

    def count(name, corpus=None, **options):
        names.append(name)
        return real(name, corpus, **options)

    monkeypatch.setattr(encoders, "text_encoder", count)
    return names


def test_the_second_time_nothing_is_fitted(tmp_path, made):
    first = embed_texts(CORPUS, cached_encoder("tfidf:3", CORPUS, tmp_path), tmp_path)
    known = cached_encoder("tfidf:3", CORPUS, tmp_path)
    assert made == ["tfidf:3"]
    expected = text_encoder("tfidf:3", CORPUS)
    assert (known.fingerprint, known.dim) == (expected.fingerprint, expected.dim)
    np.testing.assert_array_equal(embed_texts(CORPUS, known, tmp_path), first)
    assert made == ["tfidf:3"]
    np.testing.assert_allclose(first, expected.encode(CORPUS), atol=1e-3)


def test_a_text_that_is_not_there_is_embedded_by_the_same_encoder(tmp_path, made):
    cached_encoder("tfidf:3", CORPUS, tmp_path)
    known = cached_encoder("tfidf:3", CORPUS, tmp_path)
    found = embed_texts(["blue lipstick"], known, tmp_path)
    assert made == ["tfidf:3", "tfidf:3"]
    expected = text_encoder("tfidf:3", CORPUS).encode(["blue lipstick"])
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("name", "corpus"), [("tfidf:2", CORPUS), ("tfidf:3", CORPUS[1:])])
def test_other_names_and_texts_are_other_encoders(tmp_path, made, name, corpus):
    first = cached_encoder("tfidf:3", CORPUS, tmp_path)
    other = cached_encoder(name, corpus, tmp_path)
    assert made == ["tfidf:3", name]
    assert other.fingerprint != first.fingerprint


def test_what_another_encoder_left_is_not_mixed_with_ours(tmp_path):
    cached_encoder("tfidf:3", CORPUS, tmp_path)
    (path,) = (tmp_path / "encoders").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "tfidf:other"}))
    known = cached_encoder("tfidf:3", CORPUS, tmp_path)
    with pytest.raises(ArtifactError, match="must not be mixed; delete it"):
        embed_texts(CORPUS, known, tmp_path)


def test_what_a_name_stands_for_elsewhere_may_change(tmp_path, made):
    folder = tmp_path / "fitted"
    text_encoder("tfidf:3", CORPUS).save(folder)
    for _ in range(2):
        cached_encoder(str(folder), CORPUS, tmp_path)
    assert made == [str(folder)] * 2
    assert not (tmp_path / "encoders").exists()


@pytest.mark.parametrize(("name", "meant"), [("tfdif", "tfidf"), ("mini-lm", "minilm")])
def test_a_misspelt_name_is_told_without_asking_the_hub(name, meant):
    with pytest.raises(ConfigError, match=f"unknown text encoder '{name}'; did you mean '{meant}'"):
        text_encoder(name)
