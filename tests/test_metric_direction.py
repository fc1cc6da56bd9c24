"""The direction of a metric is that in which good predictions differ from bad ones."""

import doctest

import numpy as np
import pytest

from llmrec import metric_direction
from llmrec.evaluation.metrics import pairs
from llmrec.metric_direction import higher_is_better

LABELS = np.tile([1, 0, 1, 0], 50)
USERS = np.repeat(np.arange(20), 10)
GOOD = np.where(LABELS == 1, 0.9, 0.1)


@pytest.mark.parametrize("metric", ["auc", "accuracy", "logloss", "ece"])
def test_pair_metrics_improve_as_said(metric):
    judge = getattr(pairs, metric)
    assert (judge(LABELS, GOOD) > judge(LABELS, 1 - GOOD)) == higher_is_better(metric)


def test_metrics_within_users_improve_as_said():
    assert pairs.uauc(USERS, LABELS, GOOD) > pairs.uauc(USERS, LABELS, 1 - GOOD)
    assert higher_is_better("uauc")


def test_the_length_of_the_list_changes_nothing():
    assert higher_is_better("ndcg@10")
    assert not higher_is_better("ece@15")


def test_the_example_in_the_documentation_is_true():
    assert doctest.testmod(metric_direction) == (0, 1)
