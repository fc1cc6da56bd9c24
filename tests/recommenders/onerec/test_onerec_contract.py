"""OneRec keeps the recommender contract, in all forms."""

import numpy as np

from llmrec.recommenders.onerec import OneRec
from llmrec.retrieval.vectors import TextVectors
from llmrec.testing.recommender import RecommenderContract

SMALL = {
    "tokenizer": {"levels": 2, "codes": 6},
    "generator": {"dim": 8, "heads": 2, "feed_forward": 8, "history": 6},
    "training": {"epochs": 2, "batch_size": 16},
    "beam": 64,
}


class Described(OneRec):
    """Finds vectors for whichever items it is given."""

    def _fit(self, train, valid):
        values = np.random.default_rng(0).normal(size=(len(train.vocabulary), 6))
        self.use_vectors(TextVectors.from_array(values, train.vocabulary))
        super()._fit(train, valid)


class TestContract(RecommenderContract):
    def make(self):
        return Described(**SMALL)


class TestContractOfTheDecoder(RecommenderContract):
    def make(self):
        generator = {**SMALL["generator"], "form": "decoder", "experts": 2, "expert_width": 6}
        return Described(**{**SMALL, "generator": generator})


class TestContractOfTheItemDecoder(RecommenderContract):
    def make(self):
        own = {"form": "item_decoder", "item_vectors": True, "choices": "existing", "tied": True}
        return Described(**{**SMALL, "generator": {**SMALL["generator"], **own}})
