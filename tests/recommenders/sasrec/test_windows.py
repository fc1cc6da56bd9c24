"""Training rows: every event after a user's first is a target exactly once."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError
from llmrec.recommenders.sasrec.windows import NegativeSampler, SequenceWindows

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(lambda n: max(n) >= 2)


def histories_of(lengths):
    """Every event has an item of its own: item code = event number + 1."""
    total = sum(lengths)
    return Histories(
        pl.Series("user_id", range(len(lengths)), dtype=pl.Int64),
        np.arange(1, total + 1, dtype=np.int32),
        offsets_of(lengths),
        Vocabulary(range(max(total, 1))),
    )


def rows_of(windows, chosen=None):
    """Each row as ``(inputs, learn positions, targets)``, read from one batch of all rows."""
    chosen = np.arange(len(windows)) if chosen is None else np.asarray(chosen)
    batch = windows.batch(chosen, np.random.default_rng(0))
    ends = (batch.rows.last + 1).tolist()
    starts = [0, *ends[:-1]]
    items, learn_at = batch.items.tolist(), batch.learn_at.tolist()
    pairs = list(zip(learn_at, batch.targets.tolist(), strict=True))
    return [
        (
            items[start:end],
            [at - start for at, _ in pairs if start <= at < end],
            [target for at, target in pairs if start <= at < end],
        )
        for start, end in zip(starts, ends, strict=True)
    ]


def expected_targets(lengths):
    offsets = offsets_of(lengths)
    return [
        code + 1
        for user, n in enumerate(lengths)
        for code in range(offsets[user] + 1, offsets[user] + n)
    ]


@pytest.mark.parametrize("prefixes", [False, True])
@given(lengths=LENGTHS, max_length=st.integers(1, 12))
def test_every_later_event_is_a_target_exactly_once(prefixes, lengths, max_length):
    windows = SequenceWindows(histories_of(lengths), max_length, prefixes)
    rows = rows_of(windows)
    targets = [target for _, _, found in rows for target in found]
    assert sorted(targets) == expected_targets(lengths)
    assert windows.n_targets == len(targets)


@pytest.mark.parametrize("prefixes", [False, True])
@given(lengths=LENGTHS, max_length=st.integers(1, 12))
def test_targets_are_the_next_events_of_the_same_user(prefixes, lengths, max_length):
    ends = set(np.cumsum(lengths).tolist())
    for inputs, learn_at, targets in rows_of(
        SequenceWindows(histories_of(lengths), max_length, prefixes)
    ):
        assert 1 <= len(inputs) <= max_length
        assert inputs == list(range(inputs[0], inputs[0] + len(inputs)))
        assert [inputs[at] + 1 for at in learn_at] == targets
        assert ends.isdisjoint(
            inputs
        )  # a last event is never an input, so no user runs into the next


@given(lengths=LENGTHS, max_length=st.integers(2, 12))
def test_windows_give_context(lengths, max_length):
    """Half a window of context at least, or everything there is, before any learning."""
    starts = set((offsets_of(lengths)[:-1] + 1).tolist())
    for inputs, learn_at, _ in rows_of(SequenceWindows(histories_of(lengths), max_length)):
        assert learn_at == list(range(learn_at[0], len(inputs)))
        assert inputs[0] in starts or learn_at[0] >= max_length - max_length // 2
        if inputs[0] in starts:
            assert learn_at[0] == 0
        else:
            assert len(inputs) == max_length


@given(lengths=LENGTHS, max_length=st.integers(1, 12))
def test_prefix_rows_are_all_pairs_of_newest_events_and_target(lengths, max_length):
    histories = histories_of(lengths)
    expected = Counter()
    for row in range(len(histories)):
        events = histories[row].tolist()
        for end in range(1, len(events)):
            expected[tuple(events[:end][-max_length:]), events[end]] += 1
    found = Counter()
    for inputs, learn_at, targets in rows_of(SequenceWindows(histories, max_length, prefixes=True)):
        assert learn_at == [len(inputs) - 1]
        found[tuple(inputs), targets[0]] += 1
    assert found == expected


@given(lengths=LENGTHS, seed=st.integers(0, 5))
def test_batches_of_any_rows_in_any_order(lengths, seed):
    windows = SequenceWindows(histories_of(lengths), 6)
    rows = rows_of(windows)
    order = np.random.default_rng(seed).permutation(len(windows))[: 1 + seed]
    assert rows_of(windows, order) == [rows[number] for number in order]


def test_written_out():
    # one user with the events 1 to 8, window 4: the newest learns at its last two positions
    assert rows_of(SequenceWindows(histories_of([8]), 4)) == [
        ([4, 5, 6, 7], [2, 3], [7, 8]),
        ([2, 3, 4, 5], [2, 3], [5, 6]),
        ([1, 2, 3], [0, 1, 2], [2, 3, 4]),
    ]


def test_users_with_one_event_are_ignored():
    assert rows_of(SequenceWindows(histories_of([1, 3, 0, 1]), 5)) == [([2, 3], [0, 1], [3, 4])]


def test_nobody_long_enough():
    with pytest.raises(DataError, match="no training history has two events"):
        SequenceWindows(histories_of([1, 0, 1]), 5)


def test_negatives_are_drawn_per_batch():
    sampler = NegativeSampler(6, np.full(8, 1 / 8))
    windows = SequenceWindows(histories_of([8]), 4, sampler=sampler)
    draws = [windows.batch(np.array([0]), np.random.default_rng(s)).negatives for s in (1, 1, 2)]
    assert draws[0].tolist() == draws[1].tolist() != draws[2].tolist()
    assert len(draws[0]) == 6
    assert SequenceWindows(histories_of([8]), 4).batch(np.array([0]), None).negatives is None
