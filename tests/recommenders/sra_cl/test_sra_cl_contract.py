"""SRA-CL keeps the recommender contract, with texts and without."""

import numpy as np
from small_sra_cl import SMALL

from llmrec.recommenders.sra_cl import SRACL
from llmrec.retrieval.vectors import TextVectors
from llmrec.testing.recommender import RecommenderContract


class Described(SRACL):
    """Finds vectors for whichever items it is given."""

    def _fit(self, train, valid):
        values = np.random.default_rng(0).normal(size=(len(train.vocabulary), 6))
        self.use_vectors(TextVectors.from_array(values, train.vocabulary))
        super()._fit(train, valid)


class TestContract(RecommenderContract):
    def make(self):
        training = {"epochs": 2, "batch_size": 8}
        return Described(**SMALL, neighbors=3, item_neighbors=3, cold_items=True, training=training)


class TestContractIntentsOnly(RecommenderContract):
    def make(self):
        training = {"epochs": 2, "batch_size": 9, "accumulation": 2, "precision": "bf16"}
        weights = {"alpha": 0, "beta": 0, "coarse_intent": 0.1, "fine_intent": 0.1}
        return SRACL(**SMALL, **weights, neighbor_bank="momentum", clusters=3, training=training)
