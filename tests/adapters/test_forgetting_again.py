"""Forgetting that was cut short: who asks again is told all of it, and nothing is left."""

import shutil
import sqlite3

import numpy as np
import pytest
from small_store import draw, store

from llmrec.adapters import database
from llmrec.adapters.database import Database
from llmrec.adapters.store import AdapterStore
from llmrec.errors import StorageError


def everything(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def to_forget(folder):
    """A store with adapters of three users, one leased; the id of the one, and what to expect."""
    opened = store(folder)
    opened.put(["somebody-secret", "b"], draw(2))
    served = opened.adapter("somebody-secret", lease=600)
    opened.adapter("b")
    return opened, served


def require_forgotten(opened, served):
    """Whoever asks again after a failure is told everything, once, and nothing is left."""
    again = opened.forget("somebody-secret")
    assert (again.known, again.removed, again.in_use) == (True, (served.name,), (served.name,))
    left = everything(opened.folder)
    gate = draw(2)[0].astype(np.float16).tobytes()
    assert [mark in left for mark in (b"somebody-secret", served.name.encode(), gate)] == [
        False
    ] * 3
    assert not served.path.exists()
    assert len(opened.files.names()) == 1
    last = opened.forget("somebody-secret")
    assert (last.known, last.removed, last.in_use) == (False, (), ())


@pytest.mark.parametrize("opened_again", [False, True])
def test_forgetting_that_is_killed_half_way_can_be_done_again(tmp_path, monkeypatch, opened_again):
    opened, served = to_forget(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            opened.forget("somebody-secret")
    assert served.name not in opened.files.names()  # whoever opens the store removes the folder
    if opened_again:
        opened = AdapterStore(opened.folder)
        assert not served.path.exists()
    require_forgotten(opened, served)


def killed(*_, **__):
    raise KeyboardInterrupt


def test_forgetting_without_room_can_be_done_again(tmp_path, monkeypatch):
    opened, served = to_forget(tmp_path)

    def full(self):
        raise StorageError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "rewrite", full)
        with pytest.raises(StorageError, match="no room"):
            opened.forget("somebody-secret")
    require_forgotten(opened, served)


def test_forgetting_beside_a_reader_is_refused_and_can_be_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    opened, served = to_forget(tmp_path)
    reader = sqlite3.connect(opened.folder / "store.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM gates").fetchone() == (2,)
    with pytest.raises(StorageError, match="is being read by another"):
        opened.forget("somebody-secret")
    assert b"somebody-secret" in everything(opened.folder)
    assert opened.gate("somebody-secret") is None
    reader.close()
    require_forgotten(opened, served)


def test_a_store_made_before_forgetting_was_noted_can_be_opened(tmp_path):
    opened, _ = to_forget(tmp_path)
    with opened._database.transaction() as connection:
        connection.execute("DROP TABLE forgetting")
    assert AdapterStore(opened.folder).forget("somebody-secret").known
