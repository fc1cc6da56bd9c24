"""No group in two parts, whatever the order and the set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError, ProtocolError
from llmrec.signatures.splits import leave_one_out, require_disjoint, split_groups


@given(st.lists(st.integers(0, 40), min_size=60, max_size=200), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_parts_are_disjoint_and_whole(groups, seed):
    if len(set(groups)) < 4:
        return
    split = split_groups(groups, seed=seed)
    rows = [split.rows(part, groups) for part in ("learn", "valid", "calibrate", "test")]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(groups)))
    require_disjoint({str(i): [groups[j] for j in part] for i, part in enumerate(rows)})
    assert split_groups(sorted(groups), seed=seed).hash == split.hash


def test_shares_are_met_and_every_part_has_something():
    groups = np.repeat(np.arange(60), np.random.default_rng(0).integers(50, 400, 60)).tolist()
    split = split_groups(groups, {"learn": 0.6, "valid": 0.2, "test": 0.2})
    shares = {p: split.rows(p, groups).size / len(groups) for p in ("learn", "valid", "test")}
    assert abs(shares["learn"] - 0.6) < 0.06
    assert abs(shares["valid"] - 0.2) < 0.06


def test_one_split_serves_every_mode_and_model():
    """Made of all groups at once, a question is on one side wherever it comes up."""
    first, second = ["q1", "q2", "q3", "q4"], ["q4", "q2"]
    split = split_groups(first + second, {"learn": 0.5, "test": 0.5})
    learnt = {first[i] for i in split.rows("learn", first)}
    assert not learnt & {second[i] for i in split.rows("test", second)}
    with pytest.raises(DataError, match="does not know the groups 'q9'"):
        split.rows("test", ["q9"])
    with pytest.raises(ConfigError, match="no part 'train'; it has learn, test"):
        split.rows("train", first)


def test_a_question_in_two_parts_is_refused_by_name():
    with pytest.raises(ProtocolError, match="the group 'q2' is in learn and in test"):
        require_disjoint({"learn": ["q1", "q2"], "valid": ["q3"], "test": ["q2"]})


def test_leaving_one_out():
    splits = leave_one_out(["b", "a", "b"])
    assert splits["a"].rows("test", ["b", "a", "b"]).tolist() == [1]
    assert splits["b"].rows("rest", ["b", "a", "b"]).tolist() == [1]
    with pytest.raises(DataError, match="leaving one of 1 groups out"):
        leave_one_out(["a", "a"])


def test_impossible_splits_are_refused():
    with pytest.raises(ConfigError, match="sum to 1"):
        split_groups(list("abc"), {"learn": 0.5, "test": 0.2})
    with pytest.raises(DataError, match="3 groups cannot be split into 4 parts"):
        split_groups(list("abc"))
