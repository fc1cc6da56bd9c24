"""The response cache: several processes, kills, bounds, owners, damage."""

import itertools
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import cache_worker
import pytest
from cache_worker import answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from result_strategies import assert_same, generations

from llmrec.errors import ArtifactError, ConfigError, StorageError
from llmrec.inference import cache as cache_module
from llmrec.inference.cache import ResponseCache
from llmrec.inference.result_bytes import result_to_bytes

WORKER = Path(cache_worker.__file__)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "cache.sqlite"


def ticking():
    ticks = itertools.count(step=1_000)
    return lambda: next(ticks)


def size_of(key):
    return len(key) + sum(map(len, result_to_bytes(answer(key))))


def filled(path, keys, **settings):
    cache = ResponseCache(path, clock=ticking(), **settings)
    for key in keys:
        cache.put({key: answer(key)})
    return cache


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text("abc", min_size=1), generations, max_size=4))
def test_what_was_put_in_comes_out(tmp_path_factory, results):
    cache = ResponseCache(tmp_path_factory.mktemp("cache") / "c.sqlite")
    cache.put(results)
    found = cache.get([*results, "missing"])
    assert found.keys() == results.keys()
    for key, result in results.items():
        assert_same(found[key], result)


def test_another_object_on_the_same_file_sees_it(path):
    filled(path, "ab")
    cache = ResponseCache(path)
    assert cache.get("abc") == {"a": answer("a"), "b": answer("b")}
    assert cache.known("abc") == {"a", "b"}
    assert cache.size() == (2, size_of("a") + size_of("b"))
    assert cache.path == path


def test_more_keys_than_one_query_takes(path):
    keys = [f"{i:04}" for i in range(1203)]
    cache = ResponseCache(path)
    cache.put({key: answer(key) for key in keys})
    assert list(cache.get(keys)) == keys


def test_an_answer_that_is_there_is_kept(path):
    cache = filled(path, "a")
    cache.put({"a": answer("other")})
    assert cache.get("a") == {"a": answer("a")}


def test_a_batch_is_stored_whole_or_not_at_all(path, monkeypatch):
    cache = filled(path, "a")
    monkeypatch.setattr(cache, "_evict", lambda connection: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cache.put({"b": answer("b"), "c": answer("c")})
    monkeypatch.undo()
    assert cache.known("abc") == {"a"}
    cache.put({"d": answer("d")})
    assert cache.size().entries == 2


def test_what_was_used_longest_ago_goes_first(path):
    cache = filled(path, "abcd", max_bytes=4 * size_of("a") + 10)
    cache.get("a")
    cache.put({"e": answer("e")})
    # five are too many; below nine tenths of the bound there is room for three
    assert cache.known("abcde") == {"a", "d", "e"}
    assert cache.size().bytes == 3 * size_of("a")


def test_the_bound_holds_at_every_step(path):
    bound = 10 * size_of("aa")
    cache = ResponseCache(path, max_bytes=bound)
    for i in range(60):
        cache.put({f"{i:02}": answer(f"{i:02}")})
        assert cache.size().bytes <= bound
    with sqlite3.connect(path) as connection:
        total = connection.execute("SELECT sum(bytes) FROM entries").fetchone()[0]
    connection.close()
    assert total == cache.size().bytes, "the running total is true"


def test_a_result_larger_than_the_bound_drives_nothing_out(path):
    cache = filled(path, "ab", max_bytes=3 * size_of("a"))
    cache.put({"c": answer("x" * 1000)})
    assert cache.known("abc") == {"a", "b"}


def test_looking_without_getting_is_not_using(path):
    cache = filled(path, "abcd", max_bytes=4 * size_of("a") + 10)
    cache.known("a")
    cache.put({"e": answer("e")})
    assert "a" not in cache.known("abcde")


def test_forget_leaves_no_trace_of_an_owner(path):
    cache = ResponseCache(path)
    cache.put({"k1": answer("SECRET-ONE")}, owner="user-1")
    cache.put({"k2": answer("SECRET-TWO" * 10_000)}, owner="user-2")
    cache.put({"k3": answer("NOBODYS")})
    assert cache.get(["k2"], owner="user-1")  # an owner by using it
    assert cache.forget("user-1") == 2
    assert cache.known(["k1", "k2", "k3"]) == {"k3"}
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert len(left) < 100_000, "the file is small again"
    assert b"NOBODYS" in left
    assert b"SECRET" not in left
    assert b"user-" not in left, "owners are stored as hashes"
    assert cache.forget("user-1") == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM owners").fetchone() == (0,)
    connection.close()
    assert cache.size() == (1, size_of_entry("k3", "NOBODYS"))


def size_of_entry(key, name):
    return len(key) + sum(map(len, result_to_bytes(answer(name))))


def test_forget_says_when_traces_stay_because_someone_reads(path, monkeypatch):
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.05)
    cache = ResponseCache(path)
    cache.put({"a": answer("a")}, owner="u")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM entries").fetchall()
    with pytest.raises(StorageError, match="run forget again"):
        cache.forget("u")
    assert not cache.known("a")
    reader.close()
    assert cache.forget("u") == 0


def test_two_processes_write_one_cache(path):
    path.parent.mkdir()
    context = multiprocessing.get_context("spawn")
    spans = [(0, 40), (20, 60)]
    workers = [context.Process(target=cache_worker.write, args=(path, *span)) for span in spans]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = ResponseCache(path).get(f"key-{i}" for i in range(60))
    assert found == {f"key-{i}": answer(i) for i in range(60)}
    assert ResponseCache(path).forget("o0") == 80
    assert ResponseCache(path).size().entries == 60


def test_a_kill_in_the_middle_of_writing_loses_no_commit_and_leaves_no_half(path):
    path.parent.mkdir()
    started = path.parent / "started"
    worker = subprocess.Popen([sys.executable, WORKER, "for ever", path, started])
    try:
        while not started.exists():
            assert worker.poll() is None
            time.sleep(0.005)
    finally:
        worker.kill()
        worker.wait()
    cache = ResponseCache(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        keys = [row[0] for row in connection.execute("SELECT key FROM entries")]
    connection.close()
    assert {f"{batch}-{i}" for batch in range(3) for i in range(10)} <= set(keys)
    assert len(keys) % 10 == 0, "batches are whole"
    assert cache.get(keys) == {key: answer(key * 2000) for key in keys}
    cache.put({"after": answer("after")})


def test_threads_share_a_cache(path):
    cache = ResponseCache(path)
    errors = []

    def work(first):
        try:
            for i in range(first, first + 15):
                cache.put({f"{i}": answer(i)})
                assert cache.get([f"{i}"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cache.size().entries == 35


def test_a_forked_process_opens_the_file_itself(path):
    cache = filled(path, "a")
    child = os.fork()
    if child == 0:
        try:
            cache.put({"b": answer("b")})
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert cache.known("ab") == {"a", "b"}


def test_a_cache_travels_to_a_worker(path):
    cache = ResponseCache(path)
    cache.put({"a": answer("a")})
    assert pickle.loads(pickle.dumps(cache)).known("a") == {"a"}


def test_answers_are_for_their_user_alone(path):
    ResponseCache(path)
    assert path.stat().st_mode & 0o077 == 0


def test_results_of_another_version_are_asked_again(path):
    cache = filled(path, "ab")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET version = version + 1 WHERE key = 'a'")
    connection.close()
    assert cache.known("ab") == {"b"}
    cache.put({"a": answer("new")})
    assert cache.get("ab") == {"a": answer("new"), "b": answer("b")}
    assert cache.size().entries == 2


def test_an_entry_that_is_damaged(path):
    cache = filled(path, "a")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET value = '{'")
    connection.close()
    with pytest.raises(ArtifactError, match=r"cache\.sqlite: a stored result is damaged"):
        cache.get("a")


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, " * 100)
    with pytest.raises(ArtifactError, match=r"notes\.txt is no response cache"):
        ResponseCache(path)
    assert path.read_text() == "these are notes, " * 100


def test_a_database_of_something_else(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE things (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="a database of something else"):
        ResponseCache(path)
    assert path.read_bytes() == before


def test_a_layout_of_the_future(path):
    filled(path, "a")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ArtifactError, match="has layout 9"):
        ResponseCache(path)


def test_a_place_where_no_file_can_be(tmp_path):
    with pytest.raises(StorageError, match="cannot be used"):
        ResponseCache(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be used"):
        ResponseCache(tmp_path / "file" / "cache.sqlite")


def test_a_full_disk(path):
    cache = filled(path, "a")
    with cache._connection() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="full"):
        cache.put({key: answer(key * 5000) for key in "bcdef"})
    assert cache.known("abcdef") == {"a"}


def test_a_file_that_stays_busy(path, monkeypatch):
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.05)
    cache = filled(path, "a")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="was busy"):
        cache.put({"b": answer("b")})
    other.execute("ROLLBACK")
    other.close()
    cache.put({"b": answer("b")})


def test_a_bound_that_is_none(path):
    with pytest.raises(ConfigError, match="max_bytes is 0"):
        ResponseCache(path, max_bytes=0)
