"""Training events, text vectors of sequences and states of all events, against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sra_cl import (
    N_ITEMS,
    SMALL,
    encode_one,
    encoder_of,
    histories_of,
    prefix,
    random_histories,
)

from llmrec.recommenders.sasrec.windows import SequenceWindows
from llmrec.recommenders.sra_cl import bank
from llmrec.recommenders.sra_cl.bank import encode_events
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.semantics import decayed_means

rows_of_items = st.lists(
    st.lists(st.integers(1, N_ITEMS), max_size=6), min_size=1, max_size=6
).filter(any)


@settings(deadline=None, max_examples=50)
@given(rows_of_items)
def test_events(rows):
    events = TrainingEvents.of(histories_of(rows))
    expected, start = [], 0
    for user, items in enumerate(rows):
        for place, item in enumerate(items):
            target = items[place + 1] if place + 1 < len(items) else 0
            expected.append((item, user, start, start + len(items), target))
        start += len(items)
    columns = events.items, events.users, events.starts, events.ends, events.targets
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert len(events) == len(expected)
    assert events.first_rows.tolist() == sorted({start for _, _, start, _, _ in expected})


def test_sequences_end_at_their_row_and_stay_with_their_user():
    train = random_histories([4, 0, 9, 1])
    rows = np.array([3, 0, 13, 4, 9, 3])
    items, packed = TrainingEvents.of(train).sequences(rows, 6)
    expected = [prefix(train, row, 6) for row in rows]
    assert items.tolist() == [item for row in expected for item in row]
    assert packed.last.tolist() == (np.cumsum([len(row) for row in expected]) - 1).tolist()


@settings(deadline=None, max_examples=50)
@given(rows_of_items, st.sampled_from([0.1, 0.8, 1.0]), st.integers(0, 1000))
def test_decayed_means(rows, decay, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(N_ITEMS, 3)).astype(np.float32)
    vectors[rng.random(N_ITEMS) < 0.3] = 0  # items without a text
    found = decayed_means(vectors, TrainingEvents.of(histories_of(rows)), decay)
    assert found.dtype == np.float16
    row = 0
    for items in rows:
        for end in range(1, len(items) + 1):
            known = items[:end]
            total = sum(decay ** (end - 1 - age) * vectors[i - 1] for age, i in enumerate(known))
            length = np.linalg.norm(total)
            expected = total / length if length else total
            np.testing.assert_allclose(found[row], expected, atol=2e-3)
            row += 1


def window_of(place, n_events, longest):
    """Where the window begins that gives the state of event ``place``, both within the user.

    A user whose events fit is one window. Otherwise the newest event, which training never learns
    at, ends a window of its own; windows of ``longest`` end at the event before it, then half of
    that earlier, and so on; each is used for its newest half, the oldest, which begins at the
    first event, for all.
    """
    if n_events <= longest:
        return 0
    if place == n_events - 1:
        return n_events - longest
    step, end = max(1, longest // 2), n_events - 1
    while end > longest and place < end - step:
        end -= step
    return max(end - longest, 0)


def expected_states(train, encoder, longest):
    found = []
    for user in range(len(train)):
        items = train[user].tolist()
        for place in range(len(items)):
            start = window_of(place, len(items), longest)
            found.append(encode_one(encoder, items[start : place + 1])[-1])
    return torch.stack(found)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize("longest", [1, 5, 6])
def test_states_of_all_events_under_any_blocking(at_once, longest, monkeypatch):
    monkeypatch.setattr(bank, "_ROWS_AT_ONCE", at_once)
    train = random_histories([3, 17, 1, 0, 6, 7, 12, 5])
    encoder = encoder_of(dropout=0.5, attention_dropout=0.3).train()
    found = encode_events(encoder, TrainingEvents.of(train), longest)
    assert encoder.training  # as before
    assert not found.requires_grad
    expected = expected_states(train, encoder, longest)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("longest", [2, 5, 6])
def test_states_are_those_that_training_learns_at(longest):
    """The bank's row of a target is what a step without dropout would write there."""
    train = random_histories([3, 17, 1, 6, 7, 12, 5])
    encoder = encoder_of()
    bank_rows = encode_events(encoder, TrainingEvents.of(train), longest)
    source = SequenceWindows(train, longest)
    batch = source.batch(np.arange(len(source)), np.random.default_rng(0))
    states = encoder(batch.items, batch.rows)[batch.learn_at]
    found = bank_rows[batch.events[batch.learn_at]]
    assert len(states) == train.items.size - len(train)
    torch.testing.assert_close(found, states, rtol=1e-4, atol=1e-5)


def test_users_that_fit_are_encoded_prefix_by_prefix():
    train = random_histories([3, 6, 1, 5])
    encoder = encoder_of()
    found = encode_events(encoder, TrainingEvents.of(train), SMALL["max_length"])
    for row in range(train.items.size):
        alone = encode_one(encoder, prefix(train, row, 99))[-1]
        torch.testing.assert_close(found[row], alone, rtol=1e-4, atol=1e-5)
