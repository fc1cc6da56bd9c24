"""A language model that writes semantic IDs keeps the recommender contract."""

import numpy as np
import pytest

from llmrec.recommenders.onerec.language import OneRecLM
from llmrec.retrieval.vectors import TextVectors
from llmrec.testing.recommender import RecommenderContract
from llmrec.testing.tiny_llama import save_tiny_llama


class Described(OneRecLM):
    """Finds vectors for whichever items it is given."""

    def _fit(self, train, valid):
        values = np.random.default_rng(0).normal(size=(len(train.vocabulary), 6))
        self.use_vectors(TextVectors.from_array(values, train.vocabulary))
        super()._fit(train, valid)


@pytest.fixture(scope="class", autouse=True)
def _llama(request, tmp_path_factory):
    request.cls.folder = save_tiny_llama(tmp_path_factory.mktemp("contract-llama"))


class TestContract(RecommenderContract):
    folder = None

    def make(self):
        return Described(
            language_model=str(self.folder),
            tokenizer={"levels": 2, "codes": 6},
            history=6,
            beam=64,
            training={"epochs": 1, "batch_size": 16},
        )
