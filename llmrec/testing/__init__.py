"""Suites that every implementation of a contract inherits, ours and anybody's.

A test class subclasses a suite and says how to make the thing under test; the tests come with it::

    from llmrec.testing.recommender import RecommenderContract

    class TestMine(RecommenderContract):
        def make(self):
            return Mine(dim=8)

Needs pytest. Nothing else in the package imports this one.
"""

import pytest

pytest.register_assert_rewrite(
    "llmrec.testing.recommender",
    "llmrec.testing.saving",
    "llmrec.testing.language_model",
    "llmrec.testing.language_model_scores",
)
