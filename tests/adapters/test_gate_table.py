"""Stored gates against a dictionary, in any order of writing, rolling back and forgetting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_store import draw

from llmrec.adapters.database import Database
from llmrec.adapters.gate_format import GateFormat
from llmrec.adapters.gate_table import GateTable
from llmrec.adapters.priors import Priors
from llmrec.errors import ArtifactError, DataError, UnknownIdError

SHAPE = (2, 3)
KEEP = 2
USERS = ("a", "b", 5, "5", "../x")


def tables(folder, keep=KEEP, dtype="float32"):
    database = Database(folder / "gates.sqlite")
    form = GateFormat(SHAPE, dtype)
    return database, GateTable(database, form, keep), Priors(database, form)


def gates_of(n, seed=0):
    return draw(n, seed, SHAPE)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.sampled_from(USERS), min_size=1, unique=True)),
        st.tuples(st.just("rollback"), st.sampled_from(USERS), st.integers(1, 6)),
        st.tuples(st.just("forget"), st.sampled_from(USERS)),
    ),
    max_size=14,
)


class Written:
    """What a store should hold: all versions of every user, in lists."""

    def __init__(self):
        self.users = {}

    def put(self, user, gate, source):
        self.users.setdefault(user, []).append((gate, source))

    def kept(self, user):
        found = list(enumerate(self.users.get(user, []), 1))[-(KEEP + 1) :]
        return [(version, source) for version, (_, source) in reversed(found)]


@settings(max_examples=25, deadline=None)
@given(ACTIONS)
def test_any_order_of_actions_against_a_dictionary(tmp_path_factory, actions):
    database, table, priors = tables(tmp_path_factory.mktemp("gates"))
    expected = Written()
    for number, (kind, *given_) in enumerate(actions):
        if kind == "put":
            gates = gates_of(len(given_[0]), seed=number)
            table.put(given_[0], gates, f"step {number}")
            for user, gate in zip(given_[0], gates, strict=True):
                expected.put(user, gate, f"step {number}")
        elif kind == "rollback":
            user, version = given_
            if version in dict(expected.kept(user)):
                assert table.rollback(user, version) == len(expected.users[user]) + 1
                gate = expected.users[user][version - 1][0]
                expected.put(user, gate, f"rollback to {version}")
            else:
                with pytest.raises(UnknownIdError):
                    table.rollback(user, version)
        else:
            with database.transaction() as connection:
                known = table.delete(connection, given_[0])
            assert known == (expected.users.pop(given_[0], None) is not None)
    assert len(table) == len(expected.users)
    for user in USERS:
        kept = expected.kept(user)
        assert [(row.version, row.source) for row in table.versions(user)] == kept
        if kept:
            np.testing.assert_array_equal(table.get(user).gate, expected.users[user][-1][0])
        else:
            assert table.get(user) is None
    present = [versions[-1][0] for versions in expected.users.values()]
    mean = priors.mean()
    if present:
        np.testing.assert_allclose(mean, np.mean(present, axis=0), atol=1e-6)
    else:
        assert mean is None


def test_rows_come_in_order_and_in_parts(tmp_path):
    _, table, _ = tables(tmp_path)
    users = [f"u{n}" for n in range(1203)]
    gates = gates_of(len(users))
    table.put(users, gates, "gate")
    table.put(users[:1], gates[:1], "again")
    found = list(table.rows())
    assert [row.user for row in found] == users
    np.testing.assert_array_equal(np.stack([row.gate for row in found]), gates)
    assert [row.user for row in table.rows(501)] == users[:501]
    assert list(table.rows(0)) == []


def test_half_precision_is_what_numpy_rounds_to(tmp_path):
    _, table, _ = tables(tmp_path, dtype="float16")
    gates = np.random.default_rng(0).random((3, *SHAPE))
    table.put([1, 2, 3], gates, "gate")
    found = np.stack([table.get(user).gate for user in (1, 2, 3)])
    np.testing.assert_array_equal(found, gates.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("users", "gates", "why"),
    [
        (["a", "a"], gates_of(2), "named twice"),
        (["a", "b"], gates_of(1), r"gates of 2 users must have shape \[2, 2, 3\]"),
        (["a"], np.ones((1, 3, 2)), "are they of another model"),
        (["a", "b"], [gates_of(1)[0], np.full(SHAPE, np.nan)], 'user "b" is not finite in float16'),
        (["a"], np.full((1, *SHAPE), 1e6), "not finite in float16"),
        (["a"], [[["x"] * 3] * 2], "are not numbers"),
        (["good", "a\0"], gates_of(2), "control characters"),
    ],
)
def test_bad_gates_are_refused_and_nothing_is_written(tmp_path, users, gates, why):
    _, table, priors = tables(tmp_path, dtype="float16")
    table.put(["good"], gates_of(1, 9), "gate")
    with pytest.raises(DataError, match=why):
        table.put(users, gates, "gate")
    assert [(row.user, row.version) for row in table.rows()] == [("good", 1)]
    np.testing.assert_allclose(priors.mean(), gates_of(1, 9)[0], atol=1e-3)


def test_nothing_of_a_deleted_gate_is_left_in_the_files(tmp_path):
    database, table, _ = tables(tmp_path)
    table.put(["somebody-secret"], gates_of(1), "gate")
    table.put(["somebody-secret", "other"], gates_of(2, 1), "gate")
    marks = [b"somebody-secret", gates_of(1)[0].tobytes(), gates_of(2, 1)[0].tobytes()]

    def traces():
        whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        return [mark in whole for mark in marks]

    assert traces() == [True] * 3
    with database.transaction() as connection:
        table.delete(connection, "somebody-secret")
    database.rewrite()
    # sums of one user left: what remains is the other's
    assert traces() == [False] * 3
    assert [row.user for row in table.rows()] == ["other"]


def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(tmp_path):
    import sqlite3

    path = tmp_path / "gates.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="not an adapter store of layout"):
        Database(path)
    assert path.read_bytes() == before
    path.write_bytes(b"no database at all, but long enough to be read as one" * 40)
    with pytest.raises(ArtifactError, match="is not an adapter store"):
        Database(path)


def test_only_the_owner_may_read_the_file(tmp_path):
    tables(tmp_path)
    assert (tmp_path / "gates.sqlite").stat().st_mode & 0o777 == 0o600
