from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scripted_recommender import toy_split

from llmrec.errors import ConfigError, ProtocolError
from llmrec.evaluation import Evaluation, compare
from llmrec.evaluation.comparison import average_seeds
from llmrec.evaluation.protocol import Judging, Protocol
from llmrec.evaluation.significance import holm, mean_interval, sign_flip_test

PROTOCOL = Protocol.of(toy_split(), Judging(metrics=("ndcg@10", "mrr@10", "coverage@10")))


def judged(ndcg, mrr=None, users=None, protocol=PROTOCOL):
    users = users if users is not None else list(range(len(ndcg)))
    frame = pl.DataFrame(
        {"user_id": users, "ndcg@10": ndcg, "mrr@10": ndcg if mrr is None else mrr}
    )
    return Evaluation("toy", "m", "", protocol, frame, {})


def test_a_row_holds_effect_interval_and_test():
    rng = np.random.default_rng(0)
    a, b = rng.random(300), rng.random(300) + 0.1
    table = compare({"a": judged(a), "b": judged(b)}, metrics=["ndcg@10"])
    row = table.row(0, named=True)
    difference = b - a
    assert (row["model"], row["reference"], row["n_users"]) == ("b", "a", 300)
    assert row["difference"] == pytest.approx(difference.mean())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(mean_interval(difference), rel=1e-4)
    assert row["effect_size"] == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert row["p"] == sign_flip_test(difference)[0] == row["p_holm"]


def test_metrics_without_a_value_per_user_are_left_out():
    table = compare({"a": judged([0.1, 0.2]), "b": judged([0.3, 0.2])})
    assert table["metric"].to_list() == ["ndcg@10", "mrr@10"]


def test_all_pairs_or_against_a_reference():
    models = {name: judged([0.1, 0.2, i / 10]) for i, name in enumerate("abc")}
    every = compare(models, ["ndcg@10"])
    assert list(zip(every["model"], every["reference"], strict=True)) == [
        ("b", "a"), ("c", "a"), ("c", "b"),
    ]  # fmt: skip
    against = compare(models, ["ndcg@10"], reference="b")
    assert against["model"].to_list() == ["a", "c"]
    assert against["p_holm"].to_numpy() == pytest.approx(holm(against["p"].to_numpy()))


def test_users_are_matched_by_id_not_by_position():
    a = judged([0.0, 1.0], users=["x", "y"])
    b = judged([1.0, 0.0], users=["y", "x"])
    row = compare({"a": a, "b": b}, ["ndcg@10"]).row(0, named=True)
    assert (row["difference"], row["p"], row["effect_size"]) == (0.0, 1.0, None)


def test_seeds_are_averaged_per_user_first():
    seeds = [judged([0.0, 1.0]), judged([1.0, 0.0])]
    assert average_seeds(seeds)["ndcg@10"].to_list() == [0.5, 0.5]
    row = compare({"two seeds": seeds, "one": judged([0.5, 0.5])}, ["ndcg@10"]).row(0, named=True)
    assert (row["n_users"], row["difference"]) == (2, 0.0)


def test_users_without_a_value_in_either_model_are_left_out():
    a, b = judged([None, 0.5, 0.1]), judged([0.2, 0.7, 0.1])
    row = compare({"a": a, "b": b}, ["ndcg@10"]).row(0, named=True)
    assert row["n_users"] == 2
    assert row["difference"] == pytest.approx(0.1)


def test_unlike_protocols_are_refused():
    other = Protocol.of(toy_split(), Judging(metrics=("ndcg@10",), filter_seen=False))
    with pytest.raises(ProtocolError, match="filter_seen"):
        compare({"a": judged([0.1]), "b": judged([0.1], protocol=other)})


def test_unlike_users_are_refused():
    with pytest.raises(ProtocolError, match=r"only one of them has 2"):
        compare({"a": judged([0.1, 0.2]), "b": judged([0.1, 0.2, 0.3])})
    with pytest.raises(ProtocolError, match="different users"):
        average_seeds([judged([0.1], users=[1]), judged([0.1], users=["1"])])


def test_wrong_arguments_are_refused():
    models = {"a": judged([0.1]), "b": judged([0.1])}
    with pytest.raises(ConfigError, match="at least two"):
        compare({"a": judged([0.1])})
    with pytest.raises(ConfigError, match="unknown reference 'c'"):
        compare(models, reference="c")
    with pytest.raises(ConfigError, match=r"'ndgc@10' has no value per user.*'ndcg@10'"):
        compare(models, metrics=["ndgc@10"])
    empty = replace(models["a"], per_user=models["a"].per_user.select("user_id"))
    with pytest.raises(ConfigError, match="share no metric"):
        compare({"a": empty, "b": empty})
