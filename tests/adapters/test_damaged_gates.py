"""Weights in the file that lost bytes: found, told, and mended by a refresh or by forgetting."""

import numpy as np
import pytest
from small_store import draw, store

from llmrec.adapters.refresh import refresh
from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError


def damaged(folder, value=b"abc"):
    """A store of three users; the gate of the second one is ``value``."""
    opened = store(folder, gate_dtype="float32")
    opened.put(["a", 7, "c"], draw(3))
    with opened._database.transaction() as connection:
        connection.execute("UPDATE gates SET gate = ? WHERE user = '7'", (value,))
    return opened


@pytest.mark.parametrize("value", [b"abc", b"", bytes(65), "x" * 64])
def test_a_damaged_gate_is_a_sentence_with_a_way_out(tmp_path, value):
    opened = damaged(tmp_path, value)
    told = f"has {len(value)} bytes in place of 64; refresh it"
    assert opened.gates.damage() == [f"the gate of user 7 {told}."]
    for way in (opened.gate, opened.adapter, opened.weights):
        with pytest.raises(ArtifactError, match=r"in place of 64.*'llmrec adapters refresh'"):
            way(7)
        assert way("a") is not None


@pytest.mark.parametrize("new_events", [None, [0]])
def test_a_refresh_mends_it(tmp_path, new_events):
    opened = damaged(tmp_path)
    given = Histories.from_lists({7: ["pen"]}, Vocabulary(["pen"]))
    found = refresh(opened, lambda _: draw(1, 4), given, new_events=new_events, min_drift=9)
    assert (found.new, found.updated, found.unchanged) == (0, 1, 0)
    assert opened.gates.damage() == []
    np.testing.assert_array_equal(opened.gate(7).gate, draw(1, 4)[0])
    assert [row.version for row in opened.gates.versions(7)] == [2]
    expected = np.mean([draw(3)[0], draw(1, 4)[0], draw(3)[2]], axis=0)
    np.testing.assert_allclose(opened.priors.mean(), expected, atol=1e-6)


def test_forgetting_removes_it(tmp_path):
    opened = damaged(tmp_path)
    assert opened.forget(7).known
    assert opened.gates.damage() == []
    np.testing.assert_allclose(opened.priors.mean(), draw(3)[[0, 2]].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("earlier", 'an earlier gate of user "a" has 3'),
        ("profiles", 'the profile of user "p" has 3'),
        ("centroids", "centroid 0 has 3"),
        ("priors", "the mean of everybody has 3"),
        ("priors WHERE name", "the mean of group 'young' has 3"),
    ],
)
def test_other_weights_are_looked_at_too(tmp_path, where, told):
    opened = store(tmp_path)
    opened.put(["a", "b"], draw(2))
    opened.put(["a"], draw(1, 9))
    opened.priors.put_profiles(["p"], draw(1))
    opened.priors.put_groups(["a"], ["young"])
    opened.quantise(1)
    assert opened.gates.damage() == []
    table, _, name = where.partition(" WHERE ")
    chosen = " WHERE name != ''" if name else (" WHERE name = ''" if table == "priors" else "")
    with opened._database.transaction() as connection:
        connection.execute(f"UPDATE {table} SET gate = x'616263'{chosen}")
    (found,) = opened.gates.damage()
    assert found.startswith(f"{told} bytes in place of 32; ")
