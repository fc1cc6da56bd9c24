"""A pin is undone by whoever it was made for, whatever served them then and serves them now."""

import pytest
from small_store import draw, store

from llmrec.adapters.store import AdapterStore


def left(opened):
    """Names on disk after everything that may go went."""
    opened.limit(byte_budget=1)
    return list(opened.files.names())


def clustered(opened):
    opened.put(["a", "b", "c", "d"], draw(4))
    opened.quantise(2)
    name = opened.pin("a").name
    opened.quantise(0)
    return name


def stranger(opened):
    opened.put(["b"], draw(1))
    name = opened.pin("a").name
    opened.put(["a"], draw(1, 5))
    return name


def profile(opened):
    opened.priors.put_profiles(["a"], draw(1))
    name = opened.pin("a").name
    opened.priors.put_profiles(["a"], draw(1, 5))
    return name


def nobody_yet(opened):
    name = opened.pin("a").name
    opened.put(["b"], draw(1))
    opened.priors.fix()
    return name


@pytest.mark.parametrize("way", [clustered, stranger, profile, nobody_yet])
def test_what_was_pinned_is_let_go_though_something_else_serves_now(tmp_path, way):
    opened = store(tmp_path)
    name = way(opened)
    assert opened.adapter("a").name != name
    assert name in left(opened)
    opened = AdapterStore(opened.folder)
    opened.unpin("a")
    assert left(opened) == []


def test_what_several_have_pinned_stays_until_the_last_lets_go(tmp_path):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    shared = opened.pin("first").name  # both get the mean
    assert opened.pin("second").name == shared
    opened.unpin("first")
    assert left(opened) == [shared]
    opened.unpin("second")
    assert left(opened) == []


def test_a_pin_from_before_it_was_noted_can_be_undone(tmp_path):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    opened.pin("a")
    with opened._database.transaction() as connection:
        connection.execute("DROP TABLE pins")
    opened = AdapterStore(opened.folder)
    opened.unpin("a")
    assert left(opened) == []


def test_a_forgotten_stranger_leaves_no_pin(tmp_path):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    shared = opened.pin("somebody-secret").name
    done = opened.forget("somebody-secret")
    assert (done.known, done.removed) == (True, ())
    assert b"somebody-secret" not in (opened.folder / "store.sqlite").read_bytes()
    assert shared in opened.files.names()
    assert left(opened) == []
    assert not opened.forget("somebody-secret").known


def test_no_pin_keeps_the_name_of_a_void_adapter(tmp_path):
    opened = store(tmp_path)
    opened.put(["a", "b"], draw(2))
    shared = opened.pin("stranger").name
    done = opened.forget("a")  # who was in the mean
    assert (done.removed, done.in_use) == ((shared,), (shared,))
    assert shared.encode() not in (opened.folder / "store.sqlite").read_bytes()
    assert not opened.pins.has("stranger")
