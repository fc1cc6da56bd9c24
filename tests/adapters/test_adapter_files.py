"""Adapters on disk: the budget against a list, damage, age, leases and other processes."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import two_writers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_store import draw, experts, store

from llmrec.adapters.adapter_files import AdapterFiles
from llmrec.adapters.database import Database
from llmrec.adapters.materialise import PlainLora, materialise
from llmrec.adapters.pins import Pins
from llmrec.adapters.store import AdapterStore
from llmrec.errors import StorageError

WEIGHTS = "adapter_model.safetensors"
SCRIPT = Path(__file__).with_name("two_writers.py")


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        self.seconds += 1e-3
        return int(self.seconds * 1e9)


class Adapters:
    """Files with a clock of their own, and adapters of one size."""

    def __init__(self, folder, many=3, **options):
        self.clock, self.made = Clock(), []
        self.plain = PlainLora({"base_model.model.x.lora_A.weight": torch.ones(64, 64)}, {}, 0.25)
        database = Database(folder / "store.sqlite")
        self.pins = Pins(database)
        probe = AdapterFiles(folder / "probe", database, 1 << 30)
        self.size = probe.get("probe", lambda: self.plain)[1].bytes
        probe.remove(["probe"])
        budget = many * self.size + 5000  # the estimate of a size is generous
        self.files = AdapterFiles(
            folder / "adapters", database, budget, clock=self.clock, **options
        )

    def get(self, name, lease=0.0, **options):
        return self.files.get(name, lambda: self._make(name), lease, **options)

    def _make(self, name):
        self.made.append(name)
        return self.plain

    @property
    def on_disk(self):
        return {path.name for path in self.files.folder.iterdir()}


USES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["use", "pin", "unpin"])), max_size=25
)


@settings(max_examples=15, deadline=None)
@given(USES)
def test_the_least_recently_used_goes_first(tmp_path_factory, uses):
    made = Adapters(tmp_path_factory.mktemp("lru"), many=3)
    expected, pinned = [], set()  # the most recently used last
    for name, kind in uses:
        if kind == "pin" and name in expected:
            made.pins.add(name, name)
            pinned.add(name)
        elif kind == "unpin":
            made.pins.remove(name)
            pinned.discard(name)
        elif kind == "use":
            others = [other for other in expected if other not in pinned]
            if name not in expected and len(expected) == 3:
                if not others:
                    with pytest.raises(StorageError, match="pinned or being served"):
                        made.get(name)
                    continue
                expected.remove(others[0])
            if name in expected:
                expected.remove(name)
            made.get(name)
            expected.append(name)
        assert list(made.files.names()) == expected
        assert made.on_disk == set(expected)
        assert made.files.total_bytes() <= made.files.budget


def test_age(tmp_path):
    made = Adapters(tmp_path, ttl=60.0)
    for name in ("old", "kept", "fresh"):
        made.get(name)
    made.pins.add("u", "kept")
    made.clock.seconds += 50
    made.get("fresh")
    made.clock.seconds += 20
    made.files.shrink()
    assert made.on_disk == {"kept", "fresh"}
    assert made.files.counts["expired"] == 1
    made.clock.seconds += 70
    made.get("new")  # making one removes what is too old, too
    assert made.on_disk == {"kept", "new"}


def test_a_leased_adapter_stays_until_the_lease_ends(tmp_path):
    made = Adapters(tmp_path, many=1)
    made.get("served", lease=30.0)
    with pytest.raises(StorageError, match=f"of which {made.size:,} are pinned or being served"):
        made.get("other")
    assert made.on_disk == {"served"}
    made.clock.seconds += 31
    made.get("other")
    assert made.on_disk == {"other"}


def test_a_smaller_budget_evicts(tmp_path):
    made = Adapters(tmp_path, many=3)
    for name in "abc":
        made.get(name)
    made.files.budget = made.size + 1
    made.files.shrink()
    assert made.on_disk == {"c"}
    assert made.files.counts["evicted"] == 2


def test_an_adapter_that_may_not_be_made_any_more(tmp_path):
    made = Adapters(tmp_path)
    assert made.get("void", allowed=lambda: False) is None
    assert made.on_disk == set()


# ---- damage ----


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


DAMAGES = {
    "a bit of the weights": lambda folder: flip(folder / WEIGHTS),
    "half of the weights": lambda folder: (folder / WEIGHTS).write_bytes(b"half"),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no configuration": lambda folder: (folder / "adapter_config.json").unlink(),
    "another configuration": lambda folder: (folder / "adapter_config.json").write_text("{}"),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("later", [False, True], ids=["same process", "after opening"])
def test_a_damaged_adapter_is_found_by_its_hash_and_rebuilt(tmp_path, damage, later):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    first = opened.adapter("a")
    whole = {path.name: path.read_bytes() for path in first.path.iterdir()}
    DAMAGES[damage](first.path)
    if later:
        opened = AdapterStore(tmp_path / "store")
    again = opened.adapter("a")
    assert (again.name, again.path) == (first.name, first.path)
    assert {path.name: path.read_bytes() for path in again.path.iterdir()} == whole
    expected = 0 if later and damage == "no folder" else 1  # opening removes such entries
    assert opened.stats()["damaged"] == expected
    opened.adapter("a")
    assert opened.stats()["damaged"] == expected


def test_reading_everything_finds_what_times_and_sizes_hide(tmp_path):
    opened = store(tmp_path)
    opened.put(["a", "b"], draw(2))
    damaged, whole = opened.adapter("a"), opened.adapter("b")
    before = (damaged.path / WEIGHTS).stat()
    flip(damaged.path / WEIGHTS)
    os.utime(damaged.path / WEIGHTS, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert opened.files.damaged() == [damaged.name]
    assert list(opened.files.names()) == [whole.name]
    assert opened.adapter("a").name == damaged.name


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("how", ["asked for", "verified", "opened anew"])
def test_a_damaged_adapter_keeps_its_pin_and_its_lease(tmp_path, damage, how):
    opened = store(tmp_path)
    opened.put(["pinned", "leased", "neither"], draw(3))
    pinned, leased = opened.pin("pinned"), opened.adapter("leased", lease=600.0)
    neither, names = opened.adapter("neither"), [pinned.name, leased.name]
    for adapter in (pinned, leased, neither):
        DAMAGES[damage](adapter.path)
    if how == "verified":
        assert len(opened.files.damaged()) == 3
        assert opened.files.names() == {}
        assert opened.files.damaged() == []
    elif how == "opened anew":
        opened = AdapterStore(tmp_path / "store")
    assert [opened.adapter(user).name for user in ("pinned", "leased")] == names
    opened.adapter("neither")
    assert opened.files.in_use([*names, neither.name]) == names
    opened.files.budget = 1
    opened.files.shrink()
    assert set(opened.files.names()) == set(names)
    opened.unpin("pinned")
    opened.files.shrink()
    assert list(opened.files.names()) == [leased.name]
    assert opened.files.damaged() == []


def test_a_lost_adapter_that_is_unpinned_leaves_nothing(tmp_path):
    made = Adapters(tmp_path)
    made.get("a")
    made.pins.add("u", "a")
    shutil.rmtree(made.files.folder / "a")
    assert made.files.damaged() == ["a"]
    assert made.files.total_bytes() == 0
    assert made.files.in_use(["a"]) == ["a"]
    made.pins.remove("u")
    made.files.sweep()
    assert made.files.in_use(["a"]) == []
    made.get("a")
    made.files.budget = 1
    made.files.shrink()
    assert made.on_disk == set()


def test_an_adapter_that_another_process_mended_meanwhile_is_not_lost(tmp_path, monkeypatch):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    adapter, other = opened.adapter("a"), AdapterStore(tmp_path / "store")
    weights = adapter.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    making = opened._database.making

    def mended_first():
        other.adapter("a")
        return making()

    monkeypatch.setattr(opened._database, "making", mended_first)
    assert opened.files.damaged() == []
    assert adapter.path.is_dir()
    assert list(opened.files.names()) == [adapter.name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch, number):
    opened = store(tmp_path)
    opened.put(["a", "b"], draw(2))
    before = opened.adapter("a")
    write = PlainLora.write

    def full(self, folder):
        write(self, folder)
        (folder / "adapter_config.json").unlink()
        raise OSError(number, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(PlainLora, "write", full)
        with pytest.raises(StorageError, match="cannot be written"):
            opened.adapter("b")
        assert opened.adapter("a") == before
    assert [path.name for path in (tmp_path / "store" / "adapters").iterdir()] == [before.name]
    assert list(opened.files.names()) == [before.name]
    assert opened.adapter("b").path.is_dir()


def test_a_full_disk_under_the_register(tmp_path):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    with opened._database.connection() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="cannot be used: database or disk is full"):
        opened.put([f"u{n}" for n in range(5000)], draw(5000))
    assert [row.user for row in opened.gates.rows()] == ["a"]
    with opened._database.connection() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    opened.put([f"u{n}" for n in range(5000)], draw(5000))
    assert opened.stats()["users"] == 5001


# ---- several at once ----


def other(folder, mode):
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process


def start(*processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def test_two_processes_write_at_once_and_one_dies(tmp_path, capsys):
    opened = store(tmp_path)
    folder = opened.folder
    users = [f"u{n}" for n in range(24)]
    opened.put(users, draw(24))
    names = {user: opened.name_of(opened.weights(user).weights) for user in users}
    dying, making = other(folder, "die"), other(folder, "make")
    start(dying)
    assert dying.wait(60) == 9
    left = [path.name for path in (folder / "adapters").iterdir()]
    assert len(left) == 1  # half an adapter under another name
    start(making)
    two_writers.make_everything(AdapterStore(folder))
    told = making.communicate(timeout=120)[0].split("\n")[:-1]
    assert making.returncode == 0
    said = capsys.readouterr().out.split("\n")[:-1]
    assert told == said  # names and numbers are the same in every process
    assert [line.split()[0] for line in said] == list(names.values())
    here = AdapterStore(folder)
    assert set(here.files.names()) == set(names.values())
    assert {path.name for path in (folder / "adapters").iterdir()} == set(names.values())
    assert here.files.damaged() == []
    assert [here.gate(user).version for user in users] == [3] * 10 + [1] * 14
    expected = materialise(here.experts, torch.from_numpy(here.gate("u3").gate))
    found = load_file(here.adapter("u3").path / WEIGHTS)
    assert all((found[key] == value).all() for key, value in expected.tensors.items())


def test_threads_share_a_store(tmp_path):
    opened = store(tmp_path)
    opened.put([f"u{n}" for n in range(6)], draw(6))
    found, errors = [], []
    barrier = threading.Barrier(4)

    def work():
        try:
            barrier.wait()
            found.append([opened.adapter(f"u{n}").name for n in range(6)])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({tuple(names) for names in found}) == 1
    assert opened.stats()["made"] == 6
    assert opened.stats()["found"] == 18


def test_a_reader_that_takes_a_lease_is_not_robbed(tmp_path):
    """Whoever has a lease keeps the files, although another had already chosen to evict them."""
    made = Adapters(tmp_path, many=1)
    made.get("served")
    evict = made.files._evict

    def meanwhile(names, *counted):
        made.files._held("served", 60.0)
        evict(names, *counted)

    made.files._evict = meanwhile
    made.get("other")
    assert "served" in made.on_disk


def test_what_peft_reads(tmp_path):
    opened = store(tmp_path, experts("sum_products"), dtype="float16")
    opened.put(["a"], draw(1))
    adapter = opened.adapter("a")
    config = json.loads((adapter.path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (12, 12 * 16 / 3)
    assert {str(t.dtype) for t in load_file(adapter.path / WEIGHTS).values()} == {"torch.float16"}
    assert (opened.folder / "adapters").stat().st_mode & 0o777 == 0o700
