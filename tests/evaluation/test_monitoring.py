import numpy as np
import pytest
from scripted_recommender import noise, random_dataset

from llmrec.data import global_time
from llmrec.errors import DataError
from llmrec.evaluation import evaluate
from llmrec.evaluation.monitoring import ranking_metrics
from llmrec.evaluation.protocol import Judging, Protocol


@pytest.mark.parametrize("filter_seen", [True, False])
def test_figures_during_training_are_those_of_the_harness(filter_seen):
    split = global_time(random_dataset(users=600, events=6), train=0.5, valid=0.2)
    model = noise(split.dataset.item_vocabulary, 4)
    metrics = ("ndcg@10", "recall@5")
    protocol = Protocol.of(split, Judging(metrics=metrics, filter_seen=filter_seen), "valid")
    expected = evaluate(model, split, protocol).metrics
    found = ranking_metrics(model.score_catalog, split.cases("valid"), metrics, filter_seen)
    assert found == {name: pytest.approx(expected[name].mean) for name in metrics}


def test_scores_that_are_not_numbers_are_refused():
    split = global_time(random_dataset())
    with pytest.raises(DataError, match="contain NaN"):
        ranking_metrics(
            lambda h: np.full((len(h), 30), np.nan, dtype=np.float32),
            split.cases("valid"),
            ["ndcg@5"],
        )
