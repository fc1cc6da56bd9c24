"""What others do to a store while a refresh computes gates for it."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_store import draw, store

from llmrec.adapters.refresh import Refreshed, refresh, refresh_from_states
from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError, UnknownIdError

USERS = ("stays", "goes", "changes", "new", "comes")


def histories():
    return Histories.from_lists({user: ["pen"] for user in USERS}, Vocabulary(["pen"]))


def filled(folder, **settings):
    opened = store(folder, gate_dtype="float32", **settings)
    opened.put(USERS[:3], draw(3))
    return opened


def meanwhile(opened):
    opened.forget("goes")
    opened.put(["changes", "comes"], draw(2, 7))


def require_only_the_others(opened, found):
    assert found == Refreshed(new=1, updated=1, unchanged=0, overtaken=3)
    assert opened.gate("goes") is None
    for user, gate in zip(("changes", "comes"), draw(2, 7), strict=True):
        np.testing.assert_array_equal(opened.gate(user).gate, gate)
    assert [opened.gate(user).source for user in ("stays", "new")] == ["refresh"] * 2
    rows = [row.gate for row in opened.gates.rows()]
    np.testing.assert_allclose(opened.priors.mean(), np.mean(rows, axis=0), atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 100])
def test_who_is_forgotten_or_changed_while_a_refresh_runs_is_left_alone(
    tmp_path, monkeypatch, at_once
):
    monkeypatch.setattr("llmrec.adapters.refresh._HISTORIES_AT_ONCE", at_once)
    opened, asked = filled(tmp_path), []

    def source(given):
        if not asked:
            meanwhile(opened)
        asked.extend(given.user_ids)
        return draw(len(given), 3 + len(asked))

    found = refresh(opened, source, histories())
    assert asked == list(USERS)
    require_only_the_others(opened, found)


def test_so_it_is_with_states(tmp_path, monkeypatch):
    opened = filled(tmp_path)
    real = opened.weights_of

    def weights_of(states):
        meanwhile(opened)
        return real(states)

    monkeypatch.setattr(opened, "weights_of", weights_of)
    states = np.random.default_rng(0).normal(size=(5, 6))
    require_only_the_others(opened, refresh_from_states(opened, USERS, states))


def test_rolling_back_brings_nobody_back(tmp_path, monkeypatch):
    opened = filled(tmp_path)
    opened.put(["goes"], draw(1, 5))
    real = opened.gates.versions

    def versions(user):
        found = real(user)
        opened.forget(user)
        return found

    monkeypatch.setattr(opened.gates, "versions", versions)
    with pytest.raises(UnknownIdError, match="was forgotten"):
        opened.gates.rollback("goes", 1)
    assert opened.gate("goes") is None


class Drawn:
    """A model that draws gates of people with few events to a mean."""

    config = SimpleNamespace(shrink=5.0)

    def __init__(self, bundle):
        self.bundle = bundle

    def gates(self, given):
        return draw(len(given))


def test_gates_are_not_drawn_to_a_mean_twice(tmp_path):
    opened = filled(tmp_path / "both", prior_events=10)
    with pytest.raises(ConfigError, match="shrink=5 and prior_events=10"):
        refresh(opened, Drawn(opened.bundle), histories())
    assert opened.gate("stays").version == 1
    alone = filled(tmp_path / "alone")
    assert refresh(alone, Drawn(alone.bundle), histories()).new == 2
