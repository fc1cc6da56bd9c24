"""The ranker keeps the recommender contract where it asks about the whole catalogue."""

import zlib

import pytest

from llmrec.inference.results import Score, Scored
from llmrec.recommenders.llm_ranker import LLMRanker, model
from llmrec.testing.recommender import RecommenderContract


class Checksums:
    """A language model that is done at once: a text's log-probability is its checksum."""

    def __init__(self):
        self.fingerprint = {"model": "checksums"}

    def score(self, requests):
        return [
            Score(
                tuple(Scored(self._logprob(request.prompt + t), 1) for t in request.continuations)
            )
            for request in requests
        ]

    @staticmethod
    def _logprob(text):
        text = text.replace("Title of ", "")  # the contract gives items titles after fitting
        return -(zlib.crc32(text.encode()) % 100_003) / 1e4


@pytest.fixture(autouse=True)
def opened_by_name(monkeypatch):
    monkeypatch.setattr(model, "open_language_model", lambda name: Checksums())


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
