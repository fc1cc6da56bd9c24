"""What users without gates get, against means written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_store import draw

from llmrec.adapters.database import Database
from llmrec.adapters.gate_format import GateFormat
from llmrec.adapters.gate_table import GateTable
from llmrec.adapters.priors import Priors, shrunk
from llmrec.errors import DataError

SHAPE = (2, 3)


@pytest.fixture
def made(tmp_path):
    database = Database(tmp_path / "gates.sqlite")
    form = GateFormat(SHAPE, "float32")
    return GateTable(database, form), Priors(database, form)


def gates_of(n, seed=0):
    return draw(n, seed, SHAPE)


def test_nobody_then_everybody(made):
    table, priors = made
    assert priors.of("stranger") is None
    table.put(["a", "b"], gates_of(2), "gate")
    gate, kind, whose = priors.of("stranger")
    assert (kind, whose) == ("prior", "")
    np.testing.assert_allclose(gate, gates_of(2).mean(0), atol=1e-6)


def test_everybodys_mean_is_fixed_until_users_double(made):
    table, priors = made
    table.put(["a", "b"], gates_of(2), "gate")
    first = priors.everybody()
    table.put(["c"], gates_of(1, 5), "gate")
    np.testing.assert_array_equal(priors.everybody(), first)
    table.put(["d"], gates_of(1, 6), "gate")
    everyone = np.concatenate([gates_of(2), gates_of(1, 5), gates_of(1, 6)])
    np.testing.assert_allclose(priors.everybody(), everyone.mean(0), atol=1e-6)


def test_order_of_fallbacks(made):
    table, priors = made
    table.put(["a", "b", "c"], gates_of(3), "gate")
    priors.put_groups(["a", "b", "x", "y", "z"], ["young", "young", "young", "old", "young"])
    priors.put_profiles(["z"], gates_of(1, 7))
    priors.fix()
    assert [priors.of(user).kind for user in ("z", "x", "y", "nobody")] == [
        "profile", "group", "prior", "prior",  # nobody in "old" has a gate
    ]  # fmt: skip
    np.testing.assert_array_equal(priors.of("z").gate, gates_of(1, 7)[0])
    np.testing.assert_allclose(priors.of("x").gate, gates_of(3)[:2].mean(0), atol=1e-6)
    np.testing.assert_allclose(priors.of("y").gate, gates_of(3).mean(0), atol=1e-6)


def test_groups_of_many(made):
    table, priors = made
    users = list(range(4500))
    gates, names = gates_of(len(users)), [f"g{user % 3}" for user in users]
    table.put(users, gates, "gate")
    priors.put_groups(users, names)
    priors.fix()
    for number in range(3):
        np.testing.assert_allclose(priors.group(f"g{number}"), gates[number::3].mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("users", "groups", "why"),
    [(["a"], [], "1 users were given with 0"), (["a"], [""], "has no name")],
)
def test_groups_that_are_none(made, users, groups, why):
    with pytest.raises(DataError, match=why):
        made[1].put_groups(users, groups)


@given(
    arrays(np.float32, (4, *SHAPE), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)),
    st.lists(st.integers(0, 1000), min_size=4, max_size=4),
    st.floats(0.1, 100),
)
def test_shrinking(gates, mean, events, strength):
    found = shrunk(gates, mean, events, strength)
    for row, count in enumerate(events):
        share = count / (count + strength)
        expected = share * gates[row].astype(float) + (1 - share) * mean.astype(float)
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    np.testing.assert_array_equal(shrunk(gates, mean, events, 0.0), gates)


def test_events_that_are_no_numbers_of_events():
    for events in ([1], [1, -1]):
        with pytest.raises(DataError, match="one number of events"):
            shrunk(gates_of(2), gates_of(1)[0], events, 1.0)
