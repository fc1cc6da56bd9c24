"""SASRec keeps the recommender contract, in its main variants."""

import pytest

from llmrec.errors import ConfigError
from llmrec.recommenders.sasrec import SASRec
from llmrec.testing.recommender import RecommenderContract

SMALL = {"dim": 8, "heads": 2, "blocks": 1, "feed_forward": 16, "max_length": 6}


class TestContract(RecommenderContract):
    def make(self):
        return SASRec(**SMALL, training={"epochs": 2, "batch_size": 5})


class TestContractPreNormSampled(RecommenderContract):
    def make(self):
        training = {"epochs": 1, "batch_size": 8, "accumulation": 2, "precision": "bf16"}
        return SASRec(
            **SMALL,
            norm="pre",
            loss="sampled",
            negatives=5,
            sampler="popularity",
            targets="prefix",
            training=training,
        )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dim": 9}, r"heads=2 must divide dim=9"),
        ({"dims": 8}, r"unknown option 'dims'; did you mean 'dim'"),
        ({"training": {"epochs": 0}}, r"training\.epochs is 0: .*greater than"),
        ({"training": {"epoch": 3}}, r"unknown key 'training\.epoch'; did you mean 'epochs'"),
        ({"dropout": 1.0}, r"dropout is 1\.0: .*less than 1"),
    ],
)
def test_settings_out_of_range(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SASRec(**options)
