"""Fine-tuning a tiny model on pairs: it learns them, and a failure leaves nothing behind."""

import json

import numpy as np
import pytest

from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.retrieval.fine_tuning import fine_tune
from llmrec.retrieval.sentence import SentenceEncoder

PAIRS = [
    ("red lipstick", "matte"),
    ("garden hose", "reel"),
    ("shampoo", "dry hair"),
    ("nail polish", "dark"),
    ("red lipstick", "polish"),
] * 4


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return SentenceEncoder(tiny_model, device="cpu")


def agreement(encoder):
    """Mean cosine of pairs, less that of texts that do not belong together."""
    first, second = (encoder.encode(list(texts)) for texts in zip(*PAIRS[:4], strict=True))
    cosines = first @ second.T
    return np.trace(cosines) / 4 - (cosines.sum() - np.trace(cosines)) / 12


def test_pairs_come_closer_and_the_given_encoder_stays(encoder, tmp_path):
    before, fingerprint = agreement(encoder), encoder.fingerprint
    tuned = fine_tune(
        encoder, PAIRS, tmp_path / "tuned", max_steps=25, batch_size=4, learning_rate=5e-3
    )
    assert agreement(tuned) > before + 0.3
    assert agreement(encoder) == before
    assert tuned.fingerprint != fingerprint == encoder.fingerprint
    assert SentenceEncoder(tmp_path / "tuned", device="cpu").fingerprint == tuned.fingerprint
    facts = json.loads((tmp_path / "tuned" / "fine_tuning.json").read_text())
    assert (facts["base"], facts["pairs"], facts["max_steps"]) == (fingerprint, 20, 25)
    losses = [row["loss"] for row in facts["log"] if "loss" in row]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_no_text_is_its_own_negative_and_nothing_is_printed(encoder, tmp_path, monkeypatch, capfd):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    batches = []
    forward = MultipleNegativesRankingLoss.forward

    def recorded(self, features, labels):
        batches.append([feature["input_ids"].tolist() for feature in features])
        return forward(self, features, labels)

    monkeypatch.setattr(MultipleNegativesRankingLoss, "forward", recorded)
    fine_tune(encoder, PAIRS, tmp_path / "tuned", epochs=1, batch_size=4)
    assert batches
    for sides in batches:
        texts = [tuple(token for token in row if token) for side in sides for row in side]
        assert len(set(texts)) == len(texts)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "it/s]" not in printed.err


class TestBadInput:
    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            ([("a", "b")], "1 pairs: in-batch negatives need at least two"),
            ([("a", "b"), ("c", " ")], "pair 1 has a blank text"),
        ],
    )
    def test_pairs(self, encoder, tmp_path, pairs, message):
        with pytest.raises(DataError, match=message):
            fine_tune(encoder, pairs, tmp_path / "tuned")

    @pytest.mark.parametrize(
        "settings", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": -1.0}, {"warmup": 2}]
    )
    def test_settings(self, encoder, tmp_path, settings):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            fine_tune(encoder, PAIRS, tmp_path / "tuned", **settings)
        assert not (tmp_path / "tuned").exists()

    def test_a_directory_of_another_kind_is_kept(self, encoder, tmp_path):
        (tmp_path / "mine.txt").write_text("precious")
        with pytest.raises(ArtifactError, match="is not a directory that llmrec wrote"):
            fine_tune(encoder, PAIRS, tmp_path, max_steps=1)
        assert (tmp_path / "mine.txt").read_text() == "precious"
