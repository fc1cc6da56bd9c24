import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
from event_strategies import by_user, dataset_of, event_lists, rows_of
from hypothesis import assume, given
from hypothesis import strategies as st

from llmrec.data import Dataset, Interactions, global_time, leave_one_out, make_split, ratio
from llmrec.data import given as given_split
from llmrec.data.splits import TEST, TRAIN, VALID, Split
from llmrec.errors import ConfigError, DataError

SPLITS = ("leave_one_out", "ratio", "global_time")


def split_or_none(events, name):
    """A split, or None where the cut leaves a part empty."""
    try:
        return make_split(dataset_of(events), name)
    except (DataError, ConfigError):
        return None


def targets_of(cases):
    rows = np.split(cases.targets, cases.target_offsets[1:-1])
    vocabulary = cases.histories.vocabulary
    users = cases.histories.user_ids.to_list()
    return {u: vocabulary.decode(r).to_list() for u, r in zip(users, rows, strict=True)}


@given(event_lists(least=3), st.sampled_from(SPLITS))
def test_every_event_has_one_part_and_parts_never_go_back(events, name):
    split = split_or_none(events, name)
    assume(split is not None)
    assert split.parts.shape == (len(events),)
    assert set(split.parts.tolist()) <= {TRAIN, VALID, TEST}
    for part in np.split(split.parts, split.dataset.user_offsets[1:-1]):
        assert (np.diff(part.astype(int)) >= 0).all()


@given(event_lists(least=3), st.sampled_from(SPLITS))
def test_inputs_and_targets_together_are_the_users_events(events, name):
    split = split_or_none(events, name)
    assume(split is not None)
    users = by_user(events)
    parts = {
        user: list(zip(own, codes.tolist(), strict=True))
        for (user, own), codes in zip(
            users.items(), np.split(split.parts, split.dataset.user_offsets[1:-1]), strict=True
        )
    }
    for part, code in (("valid", VALID), ("test", TEST)):
        expected_inputs, expected_targets = {}, {}
        for user, own in parts.items():
            before = [event[1] for event, c in own if c < code]
            after = [event[1] for event, c in own if c == code]
            if before and after:
                expected_inputs[user] = before
                expected_targets[user] = list(dict.fromkeys(after))
        if not expected_inputs:
            with pytest.raises(DataError, match=f"no user has a {part} event"):
                split.cases(part)
            continue
        cases = split.cases(part)
        assert rows_of(cases.histories) == expected_inputs
        assert targets_of(cases) == expected_targets
    train = {u: [e[1] for e, c in own if c == TRAIN] for u, own in parts.items()}
    assert rows_of(split.train_histories()) == {u: row for u, row in train.items() if row}
    known = {u: [e[1] for e, c in own if c <= VALID] for u, own in parts.items()}
    both = split.train_histories(include_valid=True)
    assert rows_of(both) == {u: row for u, row in known.items() if row}


@given(event_lists(least=3), st.data())
def test_a_canary_planted_in_a_test_event_reaches_no_input(events, data):
    canary = 999
    users = by_user(events)
    user = data.draw(st.sampled_from(sorted(users)))
    assume(len(users[user]) >= 2)
    planted = [*events, (user, canary, 100)]  # later than everything else
    split = leave_one_out(dataset_of(planted))
    code = int(split.dataset.item_vocabulary.encode([canary])[0])
    seen = [split.train_histories(), split.train_histories(include_valid=True)]
    seen += [split.cases(part).histories for part in ("valid", "test")]
    assert all(code not in histories.items for histories in seen)
    assert code not in split.cases("valid").targets
    assert targets_of(split.cases("test"))[user] == [canary]


@given(event_lists(least=3))
def test_leave_one_out_equals_pandas(events):
    split = leave_one_out(dataset_of(events))
    frame = pd.DataFrame(events, columns=["user", "item", "time"])
    frame = frame.sort_values(["user", "time"], kind="stable").reset_index(drop=True)
    groups = frame.groupby("user")
    from_end = groups.cumcount(ascending=False)
    long = groups["item"].transform("size") >= 3
    expected = np.where(
        long & (from_end == 0), TEST, np.where(long & (from_end == 1), VALID, TRAIN)
    )
    assert split.parts.tolist() == expected.tolist()
    assert split.n_too_short == int((groups.size() < 3).sum())


@given(event_lists(least=3), st.integers(1, 8), st.integers(1, 9))
def test_ratio_equals_whole_number_arithmetic(events, tenths, more):
    assume(tenths + more < 10)
    split = ratio(dataset_of(events), tenths / 10, more / 10)
    expected, short = [], 0
    for own in by_user(events).values():
        n = len(own)
        first, second = n * tenths // 10, n * (tenths + more) // 10
        if first < 1 or second in (first, n):
            short += 1
            first = second = n
        expected += [TRAIN] * first + [VALID] * (second - first) + [TEST] * (n - second)
    assert split.parts.tolist() == expected
    assert split.n_too_short == short


@given(event_lists(least=3), st.integers(1, 11), st.integers(1, 5))
def test_global_time_puts_an_event_at_a_cut_into_the_later_part(events, first, width):
    second = first + width
    times = [event[2] for event in events]
    expected_parts = [
        (t >= first) + (t >= second) for own in by_user(events).values() for *_, t in own
    ]
    if set(expected_parts) != {0, 1, 2}:
        with pytest.raises(DataError, match="event with cuts"):
            global_time(dataset_of(events), first, second)
        return
    split = global_time(dataset_of(events), first, second)
    assert split.parts.tolist() == expected_parts
    assert split.train_histories().times.max() < first <= second <= max(times)
    assert split.train_histories().origin.newest_event < first


def test_global_time_places_cuts_by_share():
    events = [(1, 1, t) for t in range(100)]
    split = global_time(dataset_of(events), train=0.7, valid=0.2)
    assert np.bincount(split.parts).tolist() == [70, 20, 10]


@given(event_lists(least=2), st.data())
def test_labelled_cases_see_only_strictly_earlier_events(events, data):
    users = by_user(events)
    ordered = [event for own in users.values() for event in own]
    labels = {event: data.draw(st.integers(0, 1)) for event in ordered}
    parts = {}
    for own in users.values():
        codes = [data.draw(st.sampled_from(["train", "valid", "test"])) for _ in own]
        order = {"train": 0, "valid": 1, "test": 2}
        parts |= dict(zip(own, sorted(codes, key=order.get), strict=True))
    dataset = dataset_of(
        events, label=[labels[e] for e in events], split=[parts[e] for e in events]
    )
    for part in ("train", "valid", "test"):
        cases = given_split(dataset).labelled_cases(part)
        judged = [event for event in ordered if parts[event] == part]
        assert cases.labels.tolist() == [labels[event] for event in judged]
        decoded = dataset.item_vocabulary.decode(cases.items).to_list()
        assert decoded == [event[1] for event in judged]
        for row, (user, _, moment) in enumerate(judged):
            earlier = [event[1] for event in users[user] if event[2] < moment]
            found = cases.histories.vocabulary.decode(cases.histories[row]).to_list()
            assert found == earlier
            assert cases.histories.user_ids[row] == user


def test_the_hash_changes_with_data_parameters_and_parts():
    events = [(1, i, i) for i in range(20)]
    dataset = dataset_of(events)
    other = dataset_of([*events[:-1], (1, 3, 19)])
    splits = [
        leave_one_out(dataset),
        leave_one_out(other),
        ratio(dataset),
        ratio(dataset, 0.7, 0.2),
        global_time(dataset),
    ]
    assert len({split.hash for split in splits}) == 5
    assert leave_one_out(dataset).hash == leave_one_out(dataset_of(events)).hash
    moved = leave_one_out(dataset).parts.copy()
    moved[0] = 3
    assert Split(dataset, "leave_one_out", {}, moved).hash != leave_one_out(dataset).hash


def test_origin_says_how_far_the_events_go():
    split = leave_one_out(dataset_of([(1, 1, 5), (1, 2, 6), (1, 3, 7), (1, 4, 8)]))
    origin = split.train_histories().origin
    assert (origin.part, origin.newest_event, origin.split_hash) == ("train", 6, split.hash)
    assert split.train_histories(include_valid=True).origin.part == "valid"
    assert split.cases("valid").histories.origin.part == "train"
    assert split.cases("test").histories.origin.part == "valid"
    assert split.cases("test").histories.origin.newest_event == 7


def test_cases_can_be_taken_by_number():
    events = [(u, i, 10 * u + i) for u in (1, 2, 3) for i in range(1, 5)]
    cases = leave_one_out(dataset_of(events)).cases("test")
    few = cases.take([2, 0])
    assert few.histories.user_ids.to_list() == [3, 1]
    assert targets_of(few) == {3: [4], 1: [4]}


def test_targets_are_distinct_and_in_order_of_first_appearance():
    events = [(1, 1, 0), (1, 2, 1), (1, 9, 2), (1, 3, 3), (1, 9, 4), (1, 9, 5), (1, 3, 6)]
    cases = global_time(dataset_of(events), 1, 2).cases("test")
    assert targets_of(cases) == {1: [9, 3]}
    assert cases.target_offsets.tolist() == [0, 2]


def test_short_users_stay_in_training_and_are_counted():
    split = leave_one_out(dataset_of([(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2), (2, 3, 3)]))
    assert split.n_too_short == 1
    assert rows_of(split.train_histories()) == {1: [1, 2], 2: [1]}


def test_mistakes_get_a_sentence():
    clockless = dataset_of([(1, 1, 0), (1, 2, 0), (1, 3, 0)], clock=False)
    with pytest.raises(DataError, match=r"order-only.*global-time"):
        global_time(clockless)
    with pytest.raises(DataError, match="no column 'label'"):
        leave_one_out(clockless).labelled_cases("test")
    labelled = dataset_of([(1, 1, 0), (1, 2, 0), (1, 3, 0)], clock=False, label=[0, 1, 0])
    with pytest.raises(DataError, match="order-only; judged pairs"):
        leave_one_out(labelled).labelled_cases("test")
    with pytest.raises(ConfigError, match="cases are made for"):
        leave_one_out(clockless).cases("train")
    with pytest.raises(ConfigError, match="did you mean 'leave_one_out'"):
        make_split(clockless, "leave_one")
    with pytest.raises(ConfigError, match="split ratio"):
        make_split(clockless, "ratio", trian=0.5)
    with pytest.raises(ConfigError, match="sum to below 1"):
        ratio(clockless, 0.9, 0.1)
    with pytest.raises(
        ConfigError,
        match="split ratio has no parameter 'trian'; did you mean 'train'",
    ):
        make_split(clockless, "ratio", trian=0.5)
    with pytest.raises(ConfigError, match="no parameter 'dataset'; it takes none"):
        make_split(clockless, "leave_one_out", dataset=1)
    with pytest.raises(ConfigError, match="no parameter 'name'; known names are train, valid"):
        make_split(clockless, "ratio", name="x")
    with pytest.raises(ConfigError, match="must be before"):
        global_time(dataset_of([(1, 1, 1), (1, 2, 2), (1, 3, 3)]), 3, 2)


@pytest.mark.parametrize(
    "shares", [{"train": 0.5, "valid": 0.9}, {"train": 1.5}, {"valid": -0.1}, {"valid": math.nan}]
)
def test_shares_of_a_global_time_split_are_checked(shares):
    dataset = dataset_of([(1, 1, t) for t in range(100)])
    with pytest.raises(ConfigError, match=r"global_time split: train=.*must be positive and sum"):
        global_time(dataset, **shares)
    with pytest.raises(ConfigError, match="global_time split"):
        global_time(dataset, valid_from=60, **shares)
    both = global_time(dataset, valid_from=60, test_from=80, **shares)  # nobody asks for shares
    assert np.bincount(both.parts).tolist() == [60, 20, 20]


@pytest.mark.parametrize("parts", [[0, 1], [None, "test"], [["train"], ["test"]]])
def test_a_given_split_that_is_no_text_is_refused(parts):
    with pytest.raises(DataError, match=r"column 'split' .*use \['train', 'valid', 'test'\]"):
        given_split(dataset_of([(1, 1, 1), (1, 2, 2)], split=parts))


def test_a_given_split_may_be_categorical():
    parts = pl.Series(["train", "test"], dtype=pl.Categorical)
    split = given_split(dataset_of([(1, 1, 1), (1, 2, 2)], split=parts))
    assert split.parts.tolist() == [TRAIN, TEST]


def test_events_without_a_label_are_not_judged_but_are_in_the_histories():
    events = [(1, 1, 1), (1, 2, 2), (1, 3, 3), (1, 4, 4)]
    parts = ["train", "test", "test", "test"]
    split = given_split(dataset_of(events, label=[1, 0, None, 1], split=parts))
    cases = split.labelled_cases("test")
    assert cases.items.tolist() == [2, 4]
    assert cases.labels.tolist() == [0, 1]
    assert [cases.histories[row].tolist() for row in range(2)] == [[1], [1, 2, 3]]
    unsaid = given_split(dataset_of(events, label=[1, None, None, None], split=parts))
    with pytest.raises(DataError, match="no test event has a label under split given"):
        unsaid.labelled_cases("test")


def test_a_given_split_is_checked():
    events = [(1, 1, 1), (1, 2, 2)]
    with pytest.raises(DataError, match="no column 'split'"):
        given_split(dataset_of(events))
    with pytest.raises(DataError, match=r"values \['dev'\]"):
        given_split(dataset_of(events, split=["train", "dev"]))
    with pytest.raises(DataError, match="goes back in time for user 1"):
        given_split(dataset_of(events, split=["test", "train"]))


def test_large_random_log_keeps_every_promise():
    rng = np.random.default_rng(7)
    frame = pl.DataFrame(
        {
            "user_id": rng.integers(0, 300, 5000),
            "item_id": rng.integers(0, 200, 5000),
            "timestamp": rng.integers(0, 10_000, 5000),
        }
    )
    split = global_time(Dataset("random", Interactions(frame, "drop")))
    cases = split.cases("test")
    cut = split.params["test_from"]
    assert (cases.histories.times < cut).all()
    assert len(cases) == len(set(cases.histories.user_ids.to_list()))
