"""Ranks counted by torch are those of the harness, with ties, several targets and seen items."""

import numpy as np
import pytest
import torch

from llmrec.data import global_time, leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import DataError
from llmrec.evaluation.monitoring import ranking_metrics
from llmrec.recommenders.sasrec import SASRec
from llmrec.recommenders.sasrec.validation import ranking_metrics_on_device

DATA = simulate("simulate:tiny@1").dataset
METRICS = ["ndcg@10", "mrr@5", "recall@20"]


def rounded_scores(histories):
    """Few different values, so that many items tie."""
    rng = np.random.default_rng(int(histories.items.sum()))
    return rng.integers(0, 9, (len(histories), len(histories.vocabulary))).astype(np.float32)


@pytest.mark.parametrize("filter_seen", [True, False])
@pytest.mark.parametrize(
    "make", [leave_one_out, lambda data: global_time(data, train=0.5, valid=0.25)]
)
def test_metrics_are_those_of_the_numpy_ranks(make, filter_seen):
    cases = make(DATA).cases("valid")
    # blocks differ in size, so score by the histories alone
    one = lambda h: np.concatenate([rounded_scores(h.take([i])) for i in range(len(h))])  # noqa: E731
    expected = ranking_metrics(one, cases, METRICS, filter_seen)
    found = ranking_metrics_on_device(
        lambda h: torch.from_numpy(one(h)), cases, METRICS, filter_seen
    )
    assert found == pytest.approx(expected)
    assert 0 < found["ndcg@10"] < 1


@pytest.mark.parametrize("repeat_bias", [True, False])
def test_scores_on_the_device_are_those_of_the_catalog(repeat_bias):
    split = leave_one_out(DATA)
    training = {"epochs": 2, "learning_rate": 0.01}
    model = SASRec(dim=8, max_length=5, repeat_bias=repeat_bias, training=training)
    model.fit(split.train_histories())
    cases = split.cases("valid")
    with torch.inference_mode():
        found = model._score_on_device(cases.histories)
    np.testing.assert_allclose(found, model._score_catalog(cases.histories), rtol=1e-5, atol=1e-6)


def test_scores_that_are_not_numbers_are_refused():
    cases = leave_one_out(DATA).cases("valid")
    with pytest.raises(DataError, match="contain NaN"):
        ranking_metrics_on_device(lambda h: torch.full((len(h), 80), torch.nan), cases, METRICS)
