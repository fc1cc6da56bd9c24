"""New gates from new events, against gates computed by hand."""

import numpy as np
import pytest
from small_store import draw, experts, store

from llmrec.adapters.bundle import Bundle
from llmrec.adapters.refresh import GateSource, refresh, refresh_from_states
from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, DataError

ITEMS = Vocabulary(["pen", "ink", "paper", "clip"])


def histories(**lists):
    return Histories.from_lists(lists, ITEMS)


def by_share(given):
    """Every gate is the share of each item in the history."""
    rows = [np.bincount(given[row] - 1, minlength=4) / len(given[row]) for row in range(len(given))]
    return np.repeat(np.asarray(rows, np.float32)[:, None], 4, axis=1)


class Model:
    def __init__(self, bundle):
        self.bundle = bundle

    def gates(self, given):
        return by_share(given)


def test_new_updated_and_unchanged_users(tmp_path):
    opened = store(tmp_path)
    first = refresh(opened, by_share, histories(a=["pen"], b=["ink", "pen"], empty=[]))
    assert (first.new, first.updated, first.unchanged) == (2, 0, 1)
    name = opened.adapter("b").name
    second = refresh(
        opened, by_share, histories(a=["pen", "ink"], b=["ink", "pen", "pen", "ink"]), name="monday"
    )
    assert (second.new, second.updated, second.unchanged) == (0, 1, 1)
    row = opened.gate("a")
    assert (row.version, row.source) == (2, "monday")
    np.testing.assert_array_equal(row.gate, np.tile([0.5, 0.5, 0, 0], (4, 1)))
    assert opened.adapter("b").name == name
    assert opened.gate("b").version == 1
    assert opened.gate("empty") is None


def test_an_id_that_no_store_takes_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.adapters.refresh._HISTORIES_AT_ONCE", 1)
    opened = store(tmp_path)
    with pytest.raises(DataError, match="has 300 characters"):
        refresh(opened, by_share, histories(**{"a": ["pen"], "x" * 300: ["ink"]}))
    assert opened.gate("a") is None


def test_drift_and_number_of_events(tmp_path):
    opened = store(tmp_path)
    refresh(opened, by_share, histories(a=["pen"] * 9, b=["pen"]))
    later = histories(a=["pen"] * 9 + ["ink"], b=["pen", "ink"])
    assert refresh(opened, by_share, later, min_drift=0.2).updated == 1
    assert [opened.gate(user).version for user in "ab"] == [1, 2]
    assert refresh(opened, by_share, later, min_events=10).updated == 1
    assert [opened.gate(user).version for user in "ab"] == [2, 2]


def test_only_new_events_count(tmp_path):
    opened = store(tmp_path)
    refresh(opened, by_share, histories(a=["pen"] * 9, b=["pen"] * 9))
    later = histories(a=["pen"] * 9 + ["ink"], b=["pen"] * 9 + ["ink"] * 2, c=["ink"] * 2)
    counts = {"new_events": [1, 2, 0], "min_events": 2}  # to somebody without a gate, all are new
    found = refresh(opened, by_share, later, **counts)
    assert (found.new, found.updated, found.unchanged) == (1, 1, 1)
    assert [opened.gate(user).version for user in "abc"] == [1, 2, 1]
    for wrong in ([1, 2], [1, 2, -1]):
        with pytest.raises(DataError, match="one for each user"):
            refresh(opened, by_share, later, new_events=wrong)


def test_states_are_drawn_to_the_mean_and_kept_where_they_are_the_same(tmp_path):
    opened = store(tmp_path, prior_events=1.0, gate_dtype="float32")
    states = np.random.default_rng(0).normal(size=(2, 6))
    first = refresh_from_states(opened, ["a", "b"], states, events=[3, 1])
    assert (first.new, first.updated, first.unchanged) == (2, 0, 0)
    own = opened.weights_of(states)
    mean = own.mean(0)
    np.testing.assert_allclose(opened.gate("a").gate, 0.75 * own[0] + 0.25 * mean, atol=1e-6)
    np.testing.assert_allclose(opened.gate("b").gate, 0.5 * own[1] + 0.5 * mean, atol=1e-6)
    plain = refresh_from_states(opened, ["c"], states[:1])  # nothing says how few events
    assert plain.new == 1
    np.testing.assert_allclose(opened.gate("c").gate, own[0], atol=1e-6)
    assert refresh_from_states(opened, ["c"], states[:1]).unchanged == 1
    assert opened.gate("c").version == 1
    with pytest.raises(DataError, match="named twice"):
        refresh_from_states(opened, ["c", "c"], states)


def test_few_events_are_drawn_to_the_mean_once(tmp_path):
    opened = store(tmp_path, prior_events=1.0, gate_dtype="float32")
    given = histories(a=["pen", "pen", "pen"], b=["ink", "pen", "ink"])
    refresh(opened, by_share, given)
    own = by_share(given)
    expected = 0.75 * own[0] + 0.25 * own.mean(0)
    np.testing.assert_allclose(opened.gate("a").gate, expected, atol=1e-6)


def test_a_source_says_what_it_belongs_to(tmp_path):
    opened = store(tmp_path, experts(), gate_dtype="float32")
    own = Model(opened.bundle)
    assert isinstance(own, GateSource)
    assert refresh(opened, own, histories(a=["pen"])).new == 1
    with pytest.raises(ArtifactError, match="the experts given is xyz"):
        refresh(opened, Model(Bundle("", "xyz")), histories(a=["ink"]))
    assert opened.gate("a").version == 1


@pytest.mark.parametrize(
    ("source", "given", "why"),
    [
        (lambda given: draw(len(given), shape=(4, 3)), histories(a=["pen"]), "of another model"),
        (lambda given: draw(1), histories(a=["pen"], b=["pen"]), "for 2 users"),
        (lambda given: by_share(given) * np.nan, histories(a=["pen"]), "is not finite"),
    ],
)
def test_bad_gates_change_nothing(tmp_path, source, given, why):
    opened = store(tmp_path)
    with pytest.raises(DataError, match=why):
        refresh(opened, source, given)
    assert opened.stats()["users"] == 0


def test_arguments_out_of_range(tmp_path):
    opened = store(tmp_path)
    twice = Histories.from_lists([["pen"], ["ink"]], ITEMS)
    twice = twice.take([0, 0])
    with pytest.raises(DataError, match="two histories"):
        refresh(opened, by_share, twice)
    for limits in ({"min_events": -1}, {"min_drift": -0.1}):
        with pytest.raises(ConfigError, match="must be 0 or more"):
            refresh(opened, by_share, histories(a=["pen"]), **limits)
