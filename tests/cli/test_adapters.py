"""``llmrec adapters`` on a small store."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from small_gated import base_model, settings
from small_store import draw, experts

from llmrec.adapters.access import Tokens
from llmrec.adapters.bundle import Bundle
from llmrec.adapters.database import Database
from llmrec.adapters.diagnostics import diagnose
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.store import AdapterStore
from llmrec.errors import StorageError
from llmrec.recommenders.reclora.base_model import open_base
from llmrec.runs.forgetting import AdaptersOfUsers, forget_user
from llmrec.testing.sized_llama import character_tokenizer
from llmrec.testing.tiny_llama import save_tiny_llama

KEY = "k" * 40


@pytest.fixture
def opened(tmp_path):
    store = AdapterStore.create(tmp_path / "store", experts(), gate_dtype="float32")
    store.put(["ann", "bob", 5], draw(3))
    return store


def told(outcome):
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out)


def test_list(llmrec_cli, opened):
    opened.adapter("ann")
    found = told(llmrec_cli("adapters", "list", opened.folder, "--limit", 2, "--json"))
    assert [row["user"] for row in found["listed"]] == ["ann", "bob"]
    assert (found["users"], found["adapters"], found["warnings"]) == (3, 1, [])
    assert found["bundle"]["experts"] == opened.experts.fingerprint
    shown = llmrec_cli("adapters", "list", opened.folder).out
    assert "3 users, 1 adapters on disk" in shown
    assert "gate entropy" in shown
    opened.put(["\u202eevil"], draw(1))  # would turn the line around
    assert "\u202e" not in llmrec_cli("adapters", "list", opened.folder).out


def test_a_report_tells_of_a_store_or_of_what_its_server_saw(
    llmrec_cli, opened, small_run, tmp_path
):
    for user in ("ann", "bob", "ann", "nobody"):
        opened.adapter(user)
    seen = tmp_path / "server.json"
    seen.write_text(json.dumps(diagnose(opened)))
    page = tmp_path / "page.html"
    words = ("report", small_run, "--adapters", opened.folder, "--adapters", seen)
    assert llmrec_cli(*words, "--output", page).status == 0
    markup = page.read_text()
    section = markup[markup.index("<h2>Adapter stores</h2>") :]
    assert "<bdi>store</bdi></th><th" in section
    assert "<bdi>server</bdi></th></tr>" in section
    # this process opened the store anew and served nobody; the other one served four
    assert '<th scope="row">Requests</th><td>–</td><td>4</td>' in section
    assert "Nothing was served yet by the one that looked at store." in section


@pytest.mark.parametrize("text", ["[1]", '{"users": 3}'])
def test_a_report_of_something_else_than_a_store_is_refused(llmrec_cli, small_run, tmp_path, text):
    other = tmp_path / "other.json"
    other.write_text(text)
    shown = llmrec_cli("report", small_run, "--adapters", other, "--output", tmp_path / "page")
    assert shown.status == 2
    assert "no number 'expert_cosine'" in shown.err
    assert not (tmp_path / "page").exists()


def test_export_is_what_peft_reads(llmrec_cli, opened, tmp_path):
    from peft import PeftModel

    folder = tmp_path / "ann"
    words = ("adapters", "export", opened.folder, "ann", "--output", folder)
    assert told(llmrec_cli(*words, "--json"))["rank"] == 3
    assert PeftModel.from_pretrained(base_model(), str(folder)).peft_config["default"].r == 3
    assert "rank 2, relative error 0." in llmrec_cli(*words, "--rank", 2).out
    outcome = llmrec_cli(*words, "--rank", 9)
    assert (outcome.status, "between 1 and the exact 3" in outcome.err) == (2, True)


def test_verify_compares_and_reads_all_files(llmrec_cli, opened, tmp_path):
    base_model().save_pretrained(tmp_path / "base")
    character_tokenizer(8).save_pretrained(str(tmp_path / "base"))
    words = ("adapters", "verify", opened.folder, "ann", "--base", tmp_path / "base", "--json")
    found = told(llmrec_cli(*words, "--dtype", "float64", "--dtype", "float32"))
    by_dtype = {each["dtype"]: each for each in found["compared"]}
    assert by_dtype["float64"]["largest"] <= 1e-9
    assert by_dtype["float32"]["largest"] <= 1e-4
    adapter = opened.adapter("ann")
    weights = adapter.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    outcome = llmrec_cli("adapters", "verify", opened.folder)
    assert (outcome.status, "0 adapters are whole, 1 were damaged" in outcome.out) == (1, True)
    assert llmrec_cli("adapters", "verify", opened.folder).status == 0
    base_model(seed=8).save_pretrained(tmp_path / "base")
    outcome = llmrec_cli(*words)
    assert (outcome.status, "trained on the base model" in outcome.err) == (2, True)


def test_refresh_from_states(llmrec_cli, opened, tmp_path):
    states = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    table = pl.DataFrame({"user_id": ["ann", "new"], "state": states.tolist()})
    table.write_parquet(tmp_path / "states.parquet")
    words = ("adapters", "refresh", opened.folder, "--states")
    night = (tmp_path / "states.parquet", "--source", "night", "--json")
    unknown = {"overtaken": 0, "events_of_unknown_items": 0}
    found = told(llmrec_cli(*words, *night))
    assert found == {"new": 1, "updated": 1, "unchanged": 0, **unknown}
    assert told(llmrec_cli(*words, *night)) == {"new": 0, "updated": 0, "unchanged": 2, **unknown}
    row = AdapterStore(opened.folder).gate("ann")
    assert (row.version, row.source) == (2, "night")
    np.testing.assert_allclose(row.gate, opened.weights_of(states)[0], atol=1e-6)
    wide = pl.DataFrame({"user_id": ["ann"], "state": [[0.0] * 7]})
    wide.write_parquet(tmp_path / "wide.parquet")
    pl.DataFrame({"user_id": ["a", "b"], "state": [[0.0], [0.0, 1.0]]}).write_parquet(
        tmp_path / "ragged.parquet"
    )
    pl.DataFrame({"user": ["a"]}).write_parquet(tmp_path / "columns.parquet")
    (tmp_path / "half.parquet").write_bytes(b"PAR1 half")
    for name, why in (
        ("wide", "are they of another CTR model"),
        ("ragged", "not lists of one width"),
        ("columns", "has no column 'user_id'"),
        ("half", "cannot be read"),
        ("missing", "cannot be read"),
    ):
        outcome = llmrec_cli(*words, tmp_path / f"{name}.parquet")
        assert (outcome.status, why in outcome.err) == (2, True), outcome.err
    outcome = llmrec_cli(*words, tmp_path / "states.csv")
    assert (outcome.status, "must be one of .parquet" in outcome.err) == (2, True)
    assert AdapterStore(opened.folder).gate("ann").version == 2


def test_a_refresh_tells_of_users_who_were_forgotten_meanwhile(
    llmrec_cli, opened, tmp_path, monkeypatch
):
    table = pl.DataFrame({"user_id": ["ann", "new"], "state": [[0.5] * 6] * 2})
    table.write_parquet(tmp_path / "states.parquet")
    real = AdapterStore.weights_of

    def weights_of(self, states):
        self.forget("ann")
        return real(self, states)

    monkeypatch.setattr(AdapterStore, "weights_of", weights_of)
    words = ("adapters", "refresh", opened.folder, "--states", tmp_path / "states.parquet")
    assert "1 were forgotten, or got another gate" in llmrec_cli(*words).out
    assert [opened.gate(user) is None for user in ("ann", "new")] == [True, False]


def test_limits_hold_for_states(llmrec_cli, opened, tmp_path):
    states = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    table = pl.DataFrame({"user_id": ["ann", "bob", "new"], "state": states.tolist()})
    path = tmp_path / "states.parquet"
    table.write_parquet(path)
    words = ("adapters", "refresh", opened.folder, "--states", path, "--json")
    outcome = llmrec_cli(*words, "--min-events", 5)
    assert (outcome.status, "nothing says how many events are new" in outcome.err) == (2, True)
    found = told(llmrec_cli(*words, "--min-drift", 1))
    assert (found["new"], found["updated"], found["unchanged"]) == (1, 0, 2)
    with_counts = table.with_columns(new_events=pl.Series([5, 4, 0]), events=pl.Series([9, 9, 4]))
    with_counts.write_parquet(path)
    before = [opened.gate(user).version for user in ("ann", "bob", "new")]
    found = told(llmrec_cli(*words, "--min-events", 5))
    assert (found["new"], found["updated"], found["unchanged"]) == (0, 1, 2)
    assert [opened.gate(user).version for user in ("ann", "bob", "new")] == [before[0] + 1, 1, 1]
    with_counts.with_columns(new_events=pl.Series([0.5, 1, 2])).write_parquet(path)
    outcome = llmrec_cli(*words)
    assert (outcome.status, "must be a whole number" in outcome.err) == (2, True)


def test_states_of_another_ctr_model_are_refused_by_name(llmrec_cli, tmp_path):
    trained = experts()
    bundle = Bundle(trained.base.fingerprint, trained.fingerprint, ctr_model="abc")
    store = AdapterStore.create(tmp_path / "store", trained, bundle)
    table = pl.DataFrame({"user_id": ["ann", "bob"], "state": [[0.5] * 6, [1.0] * 6]})
    path = tmp_path / "states.parquet"
    words = ("adapters", "refresh", store.folder, "--states", path)
    for model, why in (
        (None, "has no column 'ctr_model'"),
        (["xyz", "xyz"], "made for ctr model abc, but the ctr model given is xyz"),
        (["abc", "xyz"], "one hash, the same in all rows"),
    ):
        given = table if model is None else table.with_columns(ctr_model=pl.Series(model))
        given.write_parquet(path)
        outcome = llmrec_cli(*words)
        assert (outcome.status, why in outcome.err) == (2, True), outcome.err
    assert len(store.gates) == 0
    table.with_columns(ctr_model=pl.lit("abc")).write_parquet(path)
    assert told(llmrec_cli(*words, "--json"))["new"] == 2


def test_refresh_from_a_run_that_gives_no_gates(llmrec_cli, opened, small_run, tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\n1,1,5\n")
    words = ("adapters", "refresh", opened.folder, "--run", small_run)
    outcome = llmrec_cli(*words, "--events", tmp_path / "events.csv")
    assert (outcome.status, "gives no gates; name a RecLoRA run" in outcome.err) == (2, True)
    outcome = llmrec_cli(*words)
    assert (outcome.status, "give --run with --events, or --states" in outcome.err) == (2, True)


def test_refresh_from_a_run(llmrec_cli, opened, small_run, tmp_path, monkeypatch):
    import llmrec
    from llmrec.runs import loading

    model = llmrec.load(small_run)
    known = model.known_histories
    user, items = known.user_ids[0], model.vocabulary.ids.to_list()
    seen = []

    def gates(histories):
        seen.append(histories)
        return np.broadcast_to(draw(1)[0], (len(histories), 4, 4))

    model.bundle, model.gates = opened.bundle, gates
    monkeypatch.setattr(loading, "load", lambda path: model)
    (tmp_path / "events.csv").write_text(
        f"user_id,item_id,timestamp,rating\n{user},{items[0]},9999999999,5\n"
        f"99999,{items[1]},9999999998,5\n99999,88888,9999999999,5\n"
    )
    words = ("--run", small_run, "--events", tmp_path / "events.csv", "--json")
    found = told(llmrec_cli("adapters", "refresh", opened.folder, *words))
    counted = {"new": 2, "updated": 0, "unchanged": 0, "overtaken": 0}
    assert found == {**counted, "events_of_unknown_items": 1}
    (histories,) = seen
    rows = dict(zip(histories.user_ids.to_list(), range(2), strict=True))
    expected = [*known[0].tolist(), model.vocabulary.encode(pl.Series([items[0]]))[0]]
    assert histories[rows[user]].tolist() == expected
    assert len(histories[rows[99999]]) == 1


def test_a_later_refresh_remembers_the_events_of_earlier_ones(
    llmrec_cli, opened, small_run, tmp_path, monkeypatch
):
    import llmrec
    from llmrec.runs import loading

    model = llmrec.load(small_run)
    known = model.known_histories
    user, other = known.user_ids[0], known.user_ids[1]
    items, seen = model.vocabulary.ids.to_list(), {}

    def gates(histories):
        for row, who in enumerate(histories.user_ids):
            seen[who] = model.vocabulary.decode(histories[row]).to_list()
        sizes = histories.lengths % 4
        return np.eye(4, dtype=np.float32)[sizes][:, None].repeat(4, 1)

    model.bundle, model.gates = opened.bundle, gates
    monkeypatch.setattr(loading, "load", lambda path: model)

    def day(*events, **options):
        lines = [f"{who},{item},{2_000_000_000 + when},5" for who, item, when in events]
        path = tmp_path / "events.csv"
        path.write_text("\n".join(["user_id,item_id,timestamp,rating", *lines]))
        more = [part for name, value in options.items() for part in (f"--{name}", value)]
        words = ("--run", small_run, "--events", path, *more, "--json")
        seen.clear()
        found = told(llmrec_cli("adapters", "refresh", opened.folder, *words))
        return found["new"], found["updated"], found["unchanged"]

    trained = model.vocabulary.decode(known[0]).to_list()
    assert day((user, items[0], 1), (99999, items[1], 2)) == (2, 0, 0)
    assert day((user, items[2], 3)) == (0, 1, 0)
    assert seen == {user: [*trained, items[0], items[2]]}
    # the same file again brings nothing, and events too few for now are kept for later
    assert day((user, items[2], 3)) == (0, 0, 1)
    assert seen == {}
    assert day((user, items[3], 4), (99999, items[3], 4), **{"min-events": 2}) == (0, 0, 2)
    assert day((user, items[4], 5), **{"min-events": 2}) == (0, 1, 1)
    assert seen == {user: [*trained, items[0], items[2], items[3], items[4]]}
    assert day((other, items[0], 6)) == (1, 1, 0)  # who waited is asked, too
    assert seen[99999] == [items[1], items[3]]
    assert len(opened.events) == 7
    assert told(llmrec_cli("adapters", "forget", opened.folder, user, "--json"))["known"]
    assert not opened.events.has(user)
    assert len(opened.events) == 3
    assert day((user, items[5], 7)) == (1, 0, 0)
    assert seen == {user: [*trained, items[5]]}


def test_forgetting_finds_somebody_of_whom_only_events_are_kept(llmrec_cli, opened):
    events = pl.DataFrame({"user_id": [77, 77], "item_id": [1, 2], "timestamp": [5, 6]})
    opened.events.add(events, [])
    assert opened.events.waiting() == [77]
    assert told(llmrec_cli("adapters", "forget", opened.folder, "77", "--json"))["known"]
    assert len(opened.events) == 0


def test_verify_looks_at_the_file_of_gates_and_events(llmrec_cli, opened):
    import sqlite3

    events = {"user_id": list(range(500)), "item_id": ["an item"] * 500}
    opened.events.add(pl.DataFrame(events), [])
    assert llmrec_cli("adapters", "verify", opened.folder).status == 0
    file = opened.folder / "store.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'events_by_user'"
        (page,) = connection.execute(query).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    content = bytearray(file.read_bytes())
    middle = page * size - 200  # a few keys of the index, at the end of its page
    content[middle : middle + 50] = bytes(50)
    file.write_bytes(content)
    outcome = llmrec_cli("adapters", "verify", opened.folder)
    assert (outcome.status, "the file of gates is damaged: " in outcome.out) == (1, True)


def test_rollback(llmrec_cli, opened):
    opened.put(["ann"], draw(1, 5), "monday")
    rows = told(llmrec_cli("adapters", "rollback", opened.folder, "ann", "--json"))
    assert [row["version"] for row in rows] == [2, 1]
    llmrec_cli("adapters", "rollback", opened.folder, "ann", "--version", 1)
    np.testing.assert_array_equal(opened.gate("ann").gate, draw(3)[0])
    outcome = llmrec_cli("adapters", "rollback", opened.folder, "ann", "--version", 9)
    assert (outcome.status, "is not kept; there are 3, 2, 1" in outcome.err) == (2, True)


def test_limit(llmrec_cli, opened):
    opened.adapter("ann")
    words = ("adapters", "limit", opened.folder, "--byte-budget", 10, "--ttl", 60)
    found = told(llmrec_cli(*words, "--json"))
    assert found == {"byte_budget": 10, "ttl": 60.0, "adapters": 0, "adapter_bytes": 0}
    assert "ttl None" in llmrec_cli("adapters", "limit", opened.folder, "--ttl", 0).out


def test_forget(llmrec_cli, opened):
    name = opened.adapter("ann", lease=600).name
    shown = llmrec_cli("adapters", "forget", opened.folder, "ann").out
    assert "gate removed, 1 adapters deleted" in shown
    assert f"where a server runs, tell it to unload: {name}" in shown
    assert "not removable" in shown
    found = told(llmrec_cli("adapters", "forget", opened.folder, "ann", "--json"))
    assert found == {"known": False, "removed": [], "in_use": []}
    assert told(llmrec_cli("adapters", "forget", opened.folder, "5", "--json"))["known"]
    outcome = told(llmrec_cli("forget", "bob", "--adapters", opened.folder, "--json"))
    assert outcome["removed"][0]["removed"] == 1
    assert len(opened.gates) == 0


def test_all_removed_adapters_are_to_be_unloaded(llmrec_cli, opened):
    """An engine holds weights after their lease is over, and those of earlier gates."""
    names = [opened.adapter("ann").name]
    opened.put(["ann"], draw(1, 5))
    names.append(opened.adapter("ann").name)
    shown = llmrec_cli("adapters", "forget", opened.folder, "ann").out
    assert f"tell it to unload: {', '.join(sorted(names))}" in shown


@pytest.mark.parametrize(
    "again", [("adapters", "forget", None, "5"), ("forget", "5", "--adapters", None)]
)
def test_half_done_forgetting_of_a_number_is_finished(llmrec_cli, opened, monkeypatch, again):
    def full(self):
        raise StorageError("no room")

    name = opened.adapter(5).name
    words = ("adapters", "forget", opened.folder, "5")
    with monkeypatch.context() as patch:
        patch.setattr(Database, "rewrite", full)
        assert "no room" in llmrec_cli(*words).err
    assert opened.gate(5) is None
    assert name in llmrec_cli(*(opened.folder if word is None else word for word in again)).out
    with opened._database.connection() as connection:
        assert connection.execute("SELECT * FROM forgetting").fetchall() == []
    assert not told(llmrec_cli(*words, "--json"))["known"]


LONG = "9" * 23


def test_digits_that_are_no_number_name_the_text_alone(llmrec_cli, opened, monkeypatch, tmp_path):
    opened.put([7, LONG], draw(2))
    monkeypatch.setenv("LLMREC_ADAPTER_KEY", KEY)
    found = told(llmrec_cli("adapters", "forget", opened.folder, "007", "--json"))
    assert (found["known"], opened.gate(7) is None) == (False, False)
    token = told(llmrec_cli("adapters", "token", opened.folder, "007", "--json"))["token"]
    assert Tokens(KEY).holder(token).user == "007"
    words = ("adapters", "export", opened.folder, LONG, "--output", tmp_path / "long")
    assert told(llmrec_cli(*words, "--json"))["rank"] == 3
    outcome = llmrec_cli("adapters", "forget", opened.folder, "007", "--number")
    assert (outcome.status, "is not how a whole number" in outcome.err) == (2, True)
    outcome = llmrec_cli("adapters", "forget", opened.folder, "9" * 5000)
    assert (outcome.status, "has 5000 characters" in outcome.err) == (2, True)
    assert told(llmrec_cli("adapters", "forget", opened.folder, LONG, "--json"))["known"]


def test_forgetting_everywhere_takes_the_text_and_the_number_that_it_is_how_to_write(opened):
    opened.put(["7", 7, LONG], draw(3))
    store = AdaptersOfUsers(opened.folder)
    assert store.forget("007").count == 0
    assert opened.gate(7) is not None
    assert store.forget(LONG).count == 1
    assert store.forget("7").count == 2
    assert opened.gate(7) is opened.gate("7") is None
    (failed,) = forget_user("9" * 5000, [store])
    assert "has 5000 characters" in failed.error


def test_a_number_and_its_text_are_told_apart(llmrec_cli, opened):
    opened.put(["5"], draw(1))
    outcome = llmrec_cli("adapters", "forget", opened.folder, "5")
    assert (outcome.status, "say --number for the second" in outcome.err) == (2, True)
    assert told(llmrec_cli("adapters", "forget", opened.folder, "5", "--number", "--json"))["known"]
    assert opened.gate("5") is not None
    outcome = llmrec_cli("adapters", "forget", opened.folder, "ann", "--number")
    assert (outcome.status, "is not how a whole number" in outcome.err) == (2, True)


def test_token(llmrec_cli, opened, monkeypatch):
    monkeypatch.delenv("LLMREC_ADAPTER_KEY", raising=False)
    words = ("adapters", "token", opened.folder)
    outcome = llmrec_cli(*words, "ann")
    assert (outcome.status, "set LLMREC_ADAPTER_KEY" in outcome.err) == (2, True)
    monkeypatch.setenv("LLMREC_ADAPTER_KEY", KEY)
    assert Tokens(KEY).holder(llmrec_cli(*words, "ann").out.strip()).user == "ann"
    assert Tokens(KEY).holder(told(llmrec_cli(*words, "5", "--json"))["token"]).user == 5
    assert Tokens(KEY).holder(llmrec_cli(*words, "--operator").out.strip()).user is None
    outcome = llmrec_cli(*words, "ann", "--hours", "inf")
    assert (outcome.status, "would never be over" in outcome.err) == (2, True)
    for more in ((), ("ann", "--operator")):
        outcome = llmrec_cli(*words, *more)
        assert (outcome.status, "name a user, or say --operator" in outcome.err) == (2, True)


def test_serve_checks_and_then_starts_vllm(llmrec_cli, opened, tmp_path, monkeypatch):
    base_model().save_pretrained(tmp_path / "base")
    monkeypatch.setenv("LLMREC_ADAPTER_KEY", KEY)
    started = []
    monkeypatch.setattr("llmrec.adapters.vllm_server.serve", lambda *given: started.append(given))
    words = ("adapters", "serve", opened.folder, tmp_path / "base", "--port", 81)
    assert llmrec_cli(*words, "--", "--dtype", "float32").status == 0
    ((command, environment),) = started
    assert command[-2:] == ["--dtype", "float32"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["LLMREC_ADAPTER_STORE"] == os.path.abspath(opened.folder)
    for more, why in (
        (("--host", "0.0.0.0"), "can be reached by others"),
        (("--", "--middleware", "x"), "is set by this command"),
    ):
        outcome = llmrec_cli(*words, *more)
        assert (outcome.status, why in outcome.err) == (2, True)
    assert len(started) == 1


def test_serve_refuses_another_tokenizer(llmrec_cli, tmp_path, monkeypatch):
    base, other = save_tiny_llama(tmp_path / "base"), tmp_path / "other"
    shutil.copytree(base, other)
    words = json.loads((other / "tokenizer.json").read_text())
    words["model"]["vocab"] = {
        word: {65: 66, 66: 65}.get(number, number)
        for word, number in words["model"]["vocab"].items()
    }
    (other / "tokenizer.json").write_text(json.dumps(words))
    opened = open_base(str(base), "float32", "cpu")
    lora = GatedLora(opened.network, settings(), str(base)).experts()
    bundle = Bundle(lora.base.fingerprint, lora.fingerprint, opened.tokens.fingerprint)
    AdapterStore.create(tmp_path / "store", lora, bundle)
    monkeypatch.setenv("LLMREC_ADAPTER_KEY", KEY)
    started = []
    monkeypatch.setattr("llmrec.adapters.vllm_server.serve", lambda *given: started.append(given))
    outcome = llmrec_cli("adapters", "serve", tmp_path / "store", other)
    assert (outcome.status, "was made for tokenizer" in outcome.err) == (2, True)
    (other / "tokenizer.json").unlink()
    (other / "tokenizer_config.json").unlink()
    assert llmrec_cli("adapters", "serve", tmp_path / "store", other).status == 2
    assert not started
    assert llmrec_cli("adapters", "serve", tmp_path / "store", base).status == 0
    assert len(started) == 1


@pytest.mark.parametrize("verb", ["list", "verify", "limit"])
def test_a_folder_that_is_no_store(llmrec_cli, tmp_path, verb):
    outcome = llmrec_cli("adapters", verb, tmp_path)
    assert (outcome.status, "is not an adapter store" in outcome.err) == (2, True)


@pytest.mark.parametrize("verb", ["export", "rollback", "verify"])
def test_an_unknown_user(llmrec_cli, opened, tmp_path, verb):
    more = ("--output", tmp_path / "x") if verb == "export" else ()
    outcome = llmrec_cli("adapters", verb, opened.folder, "nobody", *more)
    assert (outcome.status, "no gate of user 'nobody'" in outcome.err) == (2, True)
