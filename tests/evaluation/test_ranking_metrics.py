import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError
from llmrec.evaluation.metrics import parse_metric
from llmrec.evaluation.metrics.ranking import TargetRanks, compute, per_case

ORACLE = {
    "hit_rate": ir_measures.Success,
    "recall": ir_measures.R,
    "precision": ir_measures.P,
    "ndcg": ir_measures.nDCG,
    "mrr": ir_measures.RR,
    "map": ir_measures.AP,
}


def tie_free_cases(seed, cases=25, items=30):
    """Random rankings and targets, as ranks and as ir_measures wants them."""
    rng = np.random.default_rng(seed)
    ranks, counts, run, qrels = [], [], {}, {}
    for case in range(cases):
        order = rng.permutation(items)
        targets = rng.choice(items, rng.integers(1, 8), replace=False)
        run[str(case)] = {str(item): float(items - place) for place, item in enumerate(order)}
        qrels[str(case)] = {str(item): 1 for item in targets}
        ranks.extend(int(np.flatnonzero(order == t)[0]) + 1 for t in targets)
        counts.append(len(targets))
    return TargetRanks(ranks, np.concatenate([[0], np.cumsum(counts)])), run, qrels


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_metrics_agree_with_ir_measures_without_ties(seed):
    targets, run, qrels = tie_free_cases(seed)
    names = {ORACLE[base] @ k: f"{base}@{k}" for base in ORACLE for k in (1, 3, 10, 20)}
    expected = {name: {} for name in names.values()}
    for value in ir_measures.iter_calc(list(names), qrels, run):
        expected[names[value.measure]][int(value.query_id)] = value.value
    for name, by_case in expected.items():
        wanted = [by_case[case] for case in range(len(targets))]
        assert per_case(name, targets) == pytest.approx(wanted), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Ranks 1.5 and 4 of one case with two targets; rank 10.5 of another with one.
        ("hit_rate@10", [1, 0]),
        ("hit_rate@1", [0, 0]),  # sharing the first place is not being first
        ("recall@2", [0.5, 0]),
        ("precision@4", [0.5, 0]),
        ("ndcg@3", [(1 / math.log2(2.5)) / (1 + 1 / math.log2(3)), 0]),
        ("ndcg@11", [(1 / math.log2(2.5) + 1 / math.log2(5)) / (1 + 1 / math.log2(3)),
                     1 / math.log2(11.5)]),
        ("mrr@10", [1 / 1.5, 0]),
        ("map@10", [(1 / 1.5 + 2 / 4) / 2, 0]),
    ],
)  # fmt: skip
def test_ties_by_hand(name, expected):
    assert per_case(name, TargetRanks([4, 1.5, 10.5], [0, 2, 3])) == pytest.approx(expected)


def test_the_ideal_list_is_no_longer_than_k():
    assert per_case("ndcg@2", TargetRanks([1, 2, 3, 4], [0, 4])).tolist() == [1.0]


def test_map_divides_by_all_targets():
    assert per_case("map@2", TargetRanks([1, 2, 3, 4], [0, 4])).tolist() == [0.5]


@given(
    groups=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=4),
    k=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_no_metric_exceeds_one_even_with_ties_among_targets(groups, k):
    """Every tied item is a target, so that more than k of them may share a rank within k."""
    ranks, counts = [], []
    for sizes in groups:
        place = 1
        for size in sizes:
            ranks += [place + (size - 1) / 2] * size
            place += size
        counts.append(sum(sizes))
    targets = TargetRanks(ranks, np.concatenate([[0], np.cumsum(counts)]))
    for base in ORACLE:
        values = per_case(f"{base}@{k}", targets)
        assert ((values >= 0) & (values <= 1 + 1e-12)).all(), base


def test_one_target_makes_hit_rate_and_recall_the_same_number():
    targets = TargetRanks(np.random.default_rng(0).integers(1, 30, 50))
    assert np.array_equal(per_case("hit_rate@10", targets), per_case("recall@10", targets))


def test_excluded_targets_and_cases_without_targets_are_misses():
    targets = TargetRanks([np.inf, np.inf, 1], [0, 1, 1, 3])
    assert targets.best().tolist() == [np.inf, np.inf, 1.0]
    for base in ORACLE:
        values = per_case(f"{base}@10", targets)
        assert values[:2].tolist() == [0.0, 0.0]
        assert values[2] > 0


def test_compute_is_the_mean_over_cases():
    assert compute("recall@5", TargetRanks([1, 9, 2], [0, 2, 3])) == 0.75


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ndgc@10", r"unknown metric 'ndgc@10'; did you mean 'ndcg'\?"),
        ("ndcg", r"needs a positive list length, for instance ndcg@10"),
        ("ndcg@0", r"needs a positive list length"),
        ("ndcg@ten", r"needs a positive list length"),
        ("auc@10", r"auc judges pairs and takes no @k"),
    ],
)
def test_wrong_names_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_metric(text)


def test_pair_metrics_have_no_value_per_ranked_target():
    with pytest.raises(ConfigError, match="auc is a pair metric"):
        per_case("auc", TargetRanks([1]))
