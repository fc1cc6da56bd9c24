"""The CTR models keep the recommender contract."""

import pytest

from llmrec.errors import ConfigError
from llmrec.recommenders.ctr import DIN, SIM, DeepFM
from llmrec.testing.recommender import RecommenderContract

SMALL = {"dim": 4, "hidden": (8,), "history": 6}
TRAINING = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}


class TestDIN(RecommenderContract):
    def make(self):
        return DIN(**SMALL, attention_hidden=4, training=TRAINING)


class TestSIM(RecommenderContract):
    def make(self):
        return SIM(**SMALL, attention_hidden=4, found=3, similarity_dim=5, training=TRAINING)


class TestDeepFM(RecommenderContract):
    def make(self):
        return DeepFM(**SMALL, training=TRAINING)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fields": ["user"]}, "no field describes the item"),
        ({"fields": ["item", "item"]}, "two fields have the same name"),
        ({"fields": ["itme"]}, r"fields\.0\.kind is 'itme': "),
        ({"train_share": 0}, "train_share is 0: .*greater than 0"),
    ],
)
def test_settings_out_of_range(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        DIN(**options)
