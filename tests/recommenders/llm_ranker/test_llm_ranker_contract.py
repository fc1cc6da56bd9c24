"""The ranker keeps the recommender contract where it asks about the whole catalogue."""

from llmrec.recommenders.llm_ranker import LLMRanker
from llmrec.testing.recommender import RecommenderContract


class TestWithoutBase(RecommenderContract):
    def make(self):
        return LLMRanker(language_model="fake", n_candidates=20)


class TestOverItemKnn(RecommenderContract):
    def make(self):
        return LLMRanker(
            language_model="fake",
            base="item_knn",
            base_settings={"neighbours": 5},
            n_candidates=20,
            seen_candidates=True,
            history=3,
        )
