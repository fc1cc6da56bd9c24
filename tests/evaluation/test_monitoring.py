import numpy as np
import pytest
from scripted_recommender import noise, random_dataset
from sklearn.metrics import log_loss, roc_auc_score

from llmrec.data import global_time
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation import evaluate
from llmrec.evaluation.monitoring import (
    PAIR_METRICS,
    pair_metrics,
    ranking_metrics,
    require_pair_metric,
    require_ranking_metric,
)
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


def test_figures_of_pairs_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, users = rng.integers(0, 2, 300), rng.integers(0, 9, 300)
    found = rng.random(300)
    expected = {
        "auc": roc_auc_score(labels, found),
        "uauc": np.mean([roc_auc_score(labels[users == u], found[users == u]) for u in range(9)]),
        "logloss": log_loss(labels, found),
    }
    assert pair_metrics(users, labels, found) == pytest.approx(expected)
    assert tuple(expected) == PAIR_METRICS
    one_answer_each = np.arange(300)
    assert set(pair_metrics(one_answer_each, labels, found)) == {"auc", "logloss"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ndgc@10", "x.metric: unknown metric 'ndgc@10'; did you mean 'ndcg'"),
        ("auc", "x.metric: auc is not computed while training"),
        ("coverage@10", "x.metric: coverage@10 is not computed while training"),
    ],
)
def test_what_ranks_do_not_give_is_refused(name, sentence):
    with pytest.raises(ConfigError, match=sentence):
        require_ranking_metric(name, "x.metric")


def test_what_pairs_do_not_give_is_refused():
    require_pair_metric("logloss", "x.metric")
    with pytest.raises(ConfigError, match="use one of auc, uauc, logloss"):
        require_pair_metric("gauc", "x.metric")
