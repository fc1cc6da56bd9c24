"""Few2Many: which events are learnt from, and that gates never saw their answers."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from reclora_worlds import fitted_on, liking_world, make_model

from llmrec.data import Histories, Vocabulary
from llmrec.data.ragged import offsets_of
from llmrec.errors import DataError
from llmrec.recommenders.reclora.rows import late_rows
from llmrec.recommenders.reclora.states import GateInputs, Strangers, raw_states

SPLIT = liking_world()
ALL = {"most": 10_000, "seed": 0, "negatives": 1, "liked_above": 3}


def test_rows_are_the_later_events_with_what_was_before():
    train = SPLIT.train_histories()
    rows = late_rows(train, 50, **ALL)
    assert len(rows) == 24 * 5  # steps 5 to 9 of every user
    frame = SPLIT.dataset.interactions.frame.filter(pl.col("timestamp").is_between(50, 90))
    assert rows.labels.tolist() == frame["label"].to_list()
    assert train.vocabulary.decode(rows.items).to_list() == frame["item_id"].to_list()
    assert (rows.histories.lengths == np.tile(np.arange(5, 10), 24)).all()
    assert rows.histories.times.max() < 90


def test_the_subset_is_fixed_and_even():
    train = SPLIT.train_histories()
    some = late_rows(train, 50, **{**ALL, "most": 40})
    again = late_rows(train, 50, **{**ALL, "most": 40})
    assert len(some) == 40
    np.testing.assert_array_equal(some.items, again.items)
    other = late_rows(train, 50, **{**ALL, "most": 40, "seed": 1})
    assert not np.array_equal(some.items, other.items)


def test_without_answers_others_are_drawn():
    train = dataclasses.replace(SPLIT.train_histories(), labels=None)
    rows = late_rows(train, None, **{**ALL, "negatives": 3})
    assert len(rows) == 4 * train.items.size
    asked = rows.items.reshape(-1, 4)
    assert (asked[:, 1:] != asked[:, :1]).all()
    assert rows.labels.reshape(-1, 4).tolist() == [[1, 0, 0, 0]] * train.items.size
    counts = np.bincount(asked[:, 1:].ravel(), minlength=9)[1:]
    assert counts.min() > 0.5 * counts.mean()


def test_nothing_late_is_refused():
    with pytest.raises(DataError, match="lower ctr_share"):
        late_rows(SPLIT.train_histories(), 10_000, **ALL)


def test_the_ctr_model_is_frozen_and_sees_no_answer(base_folder):
    train = SPLIT.train_histories()
    model = fitted_on(SPLIT, make_model(base_folder))
    ctr = model.ctr
    assert ctr.trained_until is not None
    before = ctr.fingerprint
    rows = late_rows(train, ctr.trained_until, **ALL)
    assert (rows.histories.lengths > 0).all()
    # learning again from the early part alone gives the same model: nothing later went into it
    early = train.prefixes(
        np.arange(len(train)), (train.times.reshape(24, -1) < ctr.trained_until).sum(1)
    )
    alone = type(ctr)(ctr.config.model_copy(update={"train_share": 1.0})).fit(early)
    for kind in ("user", "instance"):
        expected = raw_states(alone, kind, rows.histories, rows.items)
        np.testing.assert_array_equal(raw_states(ctr, kind, rows.histories, rows.items), expected)
    # and the answer of a row plays no part in its state
    turned = dataclasses.replace(train, labels=1 - train.labels)
    other = late_rows(turned, ctr.trained_until, **ALL)
    assert (other.labels == 1 - rows.labels).all()
    assert ctr.fingerprint == before


def test_scaled_and_shuffled_inputs(base_folder):
    model = fitted_on(SPLIT, make_model(base_folder))
    rows = late_rows(SPLIT.train_histories(), model.ctr.trained_until, **ALL)
    states = raw_states(model.ctr, "user", rows.histories, rows.items)
    plain = GateInputs.fit("user", states)
    found = plain.of(model.ctr, rows.histories, None)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    spread = found.std(axis=0)
    assert np.isclose(spread[states.std(axis=0) > 1e-4], 1, atol=1e-3).all()
    shuffled = GateInputs.fit("user", states, rows.histories.user_ids)
    drawn = shuffled.of(model.ctr, rows.histories, None)
    # every row gets one of the states, the same at every call
    np.testing.assert_array_equal(drawn, shuffled.of(model.ctr, rows.histories, None))
    assert (np.abs(drawn[:, None] - found[None]).sum(-1).min(axis=1) < 1e-5).all()
    assert not shuffled.arrays().keys() & shuffled.personal_arrays().keys()
    everything = shuffled.arrays() | shuffled.personal_arrays()
    again = GateInputs.from_arrays("user", everything)
    np.testing.assert_array_equal(again.of(model.ctr, rows.histories, None), drawn)


@pytest.mark.parametrize("rows_of", [[1] * 6, [1, 5, 1, 1, 2, 10], [40, 1, 1]])
def test_a_stranger_is_somebody_else_and_all_others_are_drawn_alike(rows_of):
    """The only number of a state names its user and row."""
    owners = np.repeat(np.arange(len(rows_of)), rows_of)
    states = (100 * owners + np.arange(owners.size)).astype(np.float32)[:, None]
    users = pl.Series(owners).cast(pl.String)
    found = Strangers.of(users, states)
    for user in [*range(len(rows_of)), "nobody"]:
        drawn = found.instead_of(moments_of(str(user)))[:, 0]
        others = states[owners != user, 0] if user != "nobody" else states[:, 0]
        values, counts = np.unique(drawn, return_counts=True)
        assert set(values) <= set(others)
        expected = 4_000 / others.size
        seen = dict(zip(values.tolist(), counts.tolist(), strict=True))
        drawn_of_each = np.array([seen.get(float(value), 0) for value in others])
        assert ((drawn_of_each - expected) ** 2 / expected).sum() < others.size + 5 * np.sqrt(
            2 * others.size
        )


def moments_of(user, n=4_000):
    """Histories of one user, of other lengths and with other newest items."""
    lengths = 1 + np.arange(n) % 63
    items = np.random.default_rng(0).integers(1, 1_000, lengths.sum()).astype(np.int32)
    ids = Vocabulary(range(1_000), "item")
    return Histories(pl.Series([user] * n), items, offsets_of(lengths), ids)


def test_one_user_alone_has_no_stranger():
    with pytest.raises(DataError, match="of one user alone"):
        Strangers.of(pl.Series(["a", "a"]), np.zeros((2, 3), dtype=np.float32))


def test_whitened_inputs_are_uncorrelated():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(500, 3)) * [3.0, 1.0, 0.8] @ rng.normal(size=(3, 3)) + 7
    states = np.column_stack([mixed, np.full(500, 2.0)]).astype(np.float32)  # one never varies
    inputs = GateInputs.fit("user", states, whitened=True)
    found = inputs.scaled(states).astype(np.float64)
    covariance = np.cov(found, rowvar=False, ddof=0)
    np.testing.assert_allclose(covariance, np.diag([0, 1, 1, 1]), atol=1e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    again = GateInputs.from_arrays("user", inputs.arrays())
    np.testing.assert_array_equal(again.scaled(states), inputs.scaled(states))
    other = GateInputs.fit("user", states, pl.Series(range(500)), whitened=True)
    kept, expected = other.strangers.states, inputs.scaled(states)
    np.testing.assert_array_equal(np.sort(kept, axis=0), np.sort(expected, axis=0))


def test_a_state_of_one_number_is_whitened():
    states = np.random.default_rng(0).normal(3, 2, (50, 1)).astype(np.float32)
    found = GateInputs.fit("user", states, whitened=True).scaled(states)
    assert found.shape == (50, 1)
    assert found.var() == pytest.approx(1, abs=1e-4)


def test_whitening_keeps_a_direction_that_hardly_varies_small():
    rng = np.random.default_rng(1)
    once = rng.normal(size=400)
    states = np.column_stack([once, once + 1e-4 * rng.normal(size=400)]).astype(np.float32)
    found = GateInputs.fit("user", states, whitened=True).scaled(states)
    spread = found.std(axis=0)
    assert spread.max() == pytest.approx(1, abs=1e-3)
    assert spread.min() < 0.01
