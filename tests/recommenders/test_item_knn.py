"""Item-kNN keeps the recommender contract; similarities are checked against plain arithmetic."""

import numpy as np
import pytest

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError
from llmrec.recommenders.item_knn import ItemKNN
from llmrec.testing.recommender import RecommenderContract

ITEMS = ["a", "b", "c", "d", "e"]


class TestContract(RecommenderContract):
    def make(self):
        return ItemKNN(neighbours=5, recency=0.9)


class TestContractWithTfidf(RecommenderContract):
    def make(self):
        return ItemKNN(neighbours=50, weighting="tfidf")


@pytest.fixture
def vocabulary():
    return Vocabulary(ITEMS)


@pytest.fixture
def train(vocabulary):
    rows = {"u": list("abc"), "v": list("ab"), "w": list("bda"), "x": list("cd")}
    return Histories.from_lists(rows, vocabulary)


def cosine(train):
    """Item by item cosine of the columns of the user-item matrix, zero on the diagonal."""
    matrix = np.zeros((len(train), len(ITEMS)))
    for row in range(len(train)):
        matrix[row, train[row] - 1] = 1
    norms = np.linalg.norm(matrix, axis=0)
    norms[norms == 0] = 1
    similarity = (matrix / norms).T @ (matrix / norms)
    np.fill_diagonal(similarity, 0)
    return similarity


def test_scores_are_sums_of_cosines(train, vocabulary):
    model = ItemKNN(neighbours=10).fit(train)
    similarity = cosine(train)
    asked = Histories.from_lists([["a"], ["d", "c"], ["e"]], vocabulary)
    expected = [similarity[0], similarity[3] + similarity[2], np.zeros(5)]
    np.testing.assert_allclose(model.score_catalog(asked), expected, atol=1e-6)


def test_recency_fades_old_events_and_repeats_count_their_newest(train, vocabulary):
    model = ItemKNN(neighbours=10, recency=0.5).fit(train)
    similarity = cosine(train)
    asked = Histories.from_lists([["a", "d", "c"], ["a", "c", "a"]], vocabulary)
    expected = [
        0.25 * similarity[0] + 0.5 * similarity[3] + similarity[2],
        similarity[0] + 0.5 * similarity[2],
    ]
    np.testing.assert_allclose(model.score_catalog(asked), expected, atol=1e-6)


def test_only_the_nearest_neighbours_are_kept(train, vocabulary):
    model = ItemKNN(neighbours=1).fit(train)
    scores = model.score_catalog(Histories.from_lists([["a"]], vocabulary))[0]
    assert np.count_nonzero(scores) == 1
    assert scores.argmax() == cosine(train)[0].argmax() == 1


@pytest.mark.parametrize("options", [{"neighbours": 0}, {"recency": 0}, {"weighting": "jaccard"}])
def test_settings_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ItemKNN(**options)
