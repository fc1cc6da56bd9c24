"""The store as its users see it: names, fallbacks, versions, clusters, forgetting, refusals."""

import hashlib
import json
import random
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_gated import COMPOSITIONS, base_model, gated, tokens
from small_store import draw, experts, store

from llmrec.adapters.bundle import Bundle
from llmrec.adapters.materialise import materialise
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.store_files import Settings
from llmrec.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    LlmrecError,
    StorageError,
    UnknownIdError,
)

WEIGHTS = "adapter_model.safetensors"


def tensors(adapter):
    return load_file(adapter.path / WEIGHTS)


def same(found, weights, trained=None):
    expected = materialise(trained or experts(), torch.from_numpy(weights)).tensors
    return found.keys() == expected.keys() and all(
        torch.equal(found[key], value) for key, value in expected.items()
    )


@pytest.mark.parametrize("compose", COMPOSITIONS)
def test_a_users_adapter_says_what_the_model_says_for_the_user(tmp_path, compose):
    from peft import PeftModel

    model = gated(compose)
    opened = store(tmp_path, model.experts(), gate_dtype="float32")
    states = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    opened.put_states(["a", "b"], states)
    for row, user in enumerate(("a", "b")):
        adapter = opened.adapter(user)
        plain = PeftModel.from_pretrained(base_model(), str(adapter.path)).eval()
        with torch.no_grad():
            state = None if compose == "shared" else torch.from_numpy(states[row : row + 1])
            expected = model(input_ids=tokens(2), gate_input=state).logits
            found = plain(input_ids=tokens(2)).logits
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


# ---- names ----


def test_a_name_means_its_content(tmp_path):
    opened = store(tmp_path)
    opened.put(["a", "b", "twin"], draw(3)[[0, 1, 0]])
    first = opened.adapter("a")
    assert opened.adapter("twin").name == first.name != opened.adapter("b").name
    assert 0 < first.number < 2**63
    opened.put(["a"], draw(1, 7))
    changed = opened.adapter("a")
    assert (changed.version, changed.name != first.name) == (2, True)
    assert same(tensors(first), draw(3)[0])  # what an engine may be reading is as it was
    assert same(tensors(changed), draw(1, 7)[0])
    lower = AdapterStore.create(tmp_path / "lower", experts(), rank=2)
    other = AdapterStore.create(tmp_path / "other", experts(seed=1))
    names = {each.name_of(draw(1)[0]) for each in (opened, lower, other)}
    assert len(names) == 3


def test_a_name_is_enough_to_make_an_adapter_again(tmp_path):
    opened = store(tmp_path, keep_versions=1)
    opened.put(["a"], draw(1))
    first = opened.adapter("a").name
    opened.put(["a"], draw(1, 1))
    opened.files.remove([first])
    found = opened.adapter_named(first)
    assert (found.found, found.version) == ("user", 1)
    assert same(tensors(found), draw(1)[0])
    opened.put(["a"], draw(1, 2))  # one earlier version is kept, so the first is gone
    with pytest.raises(UnknownIdError, match="is void"):
        opened.adapter_named(first)
    for never in ("lora-" + "0" * 40, "../../etc", "a\0b", "x" * 5000):
        with pytest.raises(UnknownIdError, match="is void"):
            opened.adapter_named(never)


def test_the_hash_is_the_same_in_every_process(tmp_path):
    """Written down once: a change would orphan the adapters of every store there is."""
    opened = store(tmp_path)
    opened.bundle = Bundle("base", "experts")
    gate = np.eye(4, dtype=np.float32)
    assert opened.name_of(gate) == "lora-abf32012bd28ae59b6a77cfc666efe18f270e4fb"
    about = f"{Bundle('base', 'experts').version} None float32 ".encode()
    assert opened.name_of(gate)[5:] == hashlib.sha256(about + gate.tobytes()).hexdigest()[:40]


@pytest.mark.parametrize("user", ["../../../etc/passwd", "a/b", "..", "con", "'; DROP TABLE gates"])
def test_nothing_of_an_id_reaches_a_path(tmp_path, user):
    opened = store(tmp_path)
    opened.put([user], draw(1))
    adapter = opened.adapter(user)
    assert opened.gate(user).user == user
    assert adapter.path.parent == opened.folder / "adapters"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert opened.forget(user).removed == (adapter.name,)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return store(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("user", ["a\0b", "x" * 257, "", "\ud800", None, 10**30])
@pytest.mark.parametrize("way", ["put", "adapter", "gate", "forget", "put_states", "pin"])
def test_ids_that_are_none_are_refused_everywhere(hostile, user, way):
    opened = hostile
    given = {"put": (draw(1),), "put_states": (np.zeros((1, 6)),)}.get(way, ())
    with pytest.raises(DataError, match="user id"):
        getattr(opened, way)([user] if given else user, *given)
    assert opened.stats()["users"] == 0


# ---- who gets what ----


def test_fallbacks_in_order_and_counted(tmp_path):
    opened = store(tmp_path)
    assert opened.adapter("stranger").found == "even"
    assert same(tensors(opened.adapter("stranger")), np.full((4, 4), 0.25, np.float32))
    opened.put(["a", "b"], draw(2))
    assert opened.adapter("stranger").found == "prior"
    opened.priors.put_groups(["a", "stranger", "newcomer"], ["young", "young", "young"])
    opened.priors.put_profiles(["newcomer"], draw(1, 5))
    opened.priors.fix()
    found = {user: opened.adapter(user) for user in ("a", "newcomer", "stranger", "nobody")}
    assert [each.found for each in found.values()] == ["user", "profile", "group", "prior"]
    assert [each.version for each in found.values()] == [1, 0, 0, 0]
    assert found["stranger"].name == found["a"].name  # the group's mean is the one member's
    assert same(tensors(found["newcomer"]), draw(1, 5)[0])
    stats = opened.stats()
    kinds = ("user", "centroid", "profile", "group", "prior", "even")
    assert [stats[f"served_{kind}"] for kind in kinds] == [1, 0, 1, 1, 2, 2]
    assert stats["fallbacks"] == 6
    for adapter in found.values():  # each of them can be asked for by name
        opened.files.remove([adapter.name])
        assert opened.adapter_named(adapter.name).name == adapter.name
    opened.put(["newcomer"], draw(1, 6))
    assert opened.adapter("newcomer").found == "user"


def test_users_with_few_events_are_drawn_to_the_mean(tmp_path):
    opened = store(tmp_path, prior_events=4.0, gate_dtype="float32")
    opened.put(["a", "b"], draw(2), events=[4, 10**9])
    first = draw(2).mean(0)  # of those who come first; later that of all who are there
    np.testing.assert_allclose(opened.gate("a").gate, (draw(2)[0] + first) / 2, atol=1e-6)
    np.testing.assert_allclose(opened.gate("b").gate, draw(2)[1], atol=1e-6)
    mean = (opened.gate("a").gate + opened.gate("b").gate) / 2
    opened.put(["c"], draw(1, 3), events=[12])
    expected = 0.75 * draw(1, 3)[0] + 0.25 * mean
    np.testing.assert_allclose(opened.gate("c").gate, expected, atol=1e-6)


def test_nobody_is_drawn_to_no_mean_without_a_word(tmp_path, recwarn):
    opened = store(tmp_path, prior_events=4.0)
    opened.put([], np.empty((0, 4, 4)), events=[])
    assert len(opened.gates) == 0
    assert not recwarn


def test_a_mean_that_is_given_holds_until_users_have_doubled(tmp_path):
    opened = store(tmp_path, prior_events=1.0, gate_dtype="float32")
    given = np.full((4, 4), 0.25)
    given[:, 0], given[:, 1] = 0.4, 0.1
    opened.priors.fix_everybody_at(given, 2)
    opened.put(["a", "b"], draw(2), events=[1, 3])
    np.testing.assert_allclose(opened.gate("a").gate, (draw(2)[0] + given) / 2, atol=1e-6)
    np.testing.assert_allclose(opened.gate("b").gate, 0.75 * draw(2)[1] + given / 4, atol=1e-6)
    np.testing.assert_allclose(opened.weights("stranger").weights, given, atol=1e-7)
    opened.put(["c", "d"], draw(2, 3))
    np.testing.assert_allclose(opened.weights("x").weights, opened.priors.mean(), atol=1e-6)
    with pytest.raises(DataError, match="the gate of the mean is not finite"):
        opened.priors.fix_everybody_at(given * np.nan, 2)


def test_clustered_users_share_adapters(tmp_path, monkeypatch):
    opened = store(tmp_path)
    users = [f"u{n}" for n in range(30)]
    opened.put(users, draw(30))
    alone, pinned, leased = opened.adapter("u0"), opened.pin("u1"), opened.adapter("u2", lease=600)
    opened.quantise(3)
    assert not alone.path.exists()
    assert opened.files.in_use([*opened.files.names()]) == [pinned.name, leased.name]
    assert pinned.path.exists()
    assert leased.path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(opened.files, "_clock", lambda: time.time_ns() + 601 * 10**9)
        opened.unpin("u1")
        opened.files.remove([pinned.name, leased.name])
    found = {user: opened.adapter(user) for user in users}
    assert {each.found for each in found.values()} == {"centroid"}
    assert len({each.name for each in found.values()}) == opened.stats()["adapters"] == 3
    again = AdapterStore(opened.folder)  # another process follows when the clusters change
    assert again.adapter("u0").name == found["u0"].name
    assert again.adapter("u0", exact=True).name == alone.name
    opened.quantise(4, seed=1)
    assert again.adapter("u0").name == opened.adapter("u0").name
    for each in found.values():
        with pytest.raises(UnknownIdError, match="is void"):
            opened.adapter_named(each.name)
    opened.quantise(0)
    assert again.adapter("u0").found == "user"


def test_rolling_back(tmp_path):
    opened = store(tmp_path, keep_versions=2)
    for version in range(4):
        opened.put(["a"], draw(1, version), f"day {version}")
    assert [row.source for row in opened.gates.versions("a")] == ["day 3", "day 2", "day 1"]
    name = opened.name_of(draw(1, 2)[0])
    assert opened.gates.rollback("a", 3) == 5
    row = opened.gate("a")
    assert (row.version, row.source) == (5, "rollback to 3")
    assert opened.adapter("a").name == name
    with pytest.raises(
        UnknownIdError, match="version 1 of user 'a' is not kept; there are 5, 4, 3"
    ):
        opened.gates.rollback("a", 1)
    with pytest.raises(UnknownIdError, match="no gate of user 'b'"):
        opened.gates.rollback("b", 1)


def test_a_pin_holds_though_the_adapter_was_evicted_before_it(tmp_path, monkeypatch):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    made, times = opened.adapter, []

    def evicted_once(user):
        found = made(user)
        if not times:
            opened.files.remove([found.name])
        times.append(user)
        return found

    monkeypatch.setattr(opened, "adapter", evicted_once)
    pinned = opened.pin("a")
    assert times == ["a", "a"]
    assert opened.files.in_use([pinned.name]) == [pinned.name]
    times.clear()
    monkeypatch.setattr(opened.pins, "add", lambda user, name: False)
    with pytest.raises(StorageError, match="adapter of user 'a' does not stay"):
        opened.pin("a")


def test_a_damaged_lock_is_told_and_holds_nothing(tmp_path):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    lock = opened.folder / "lock.sqlite"
    lock.write_bytes(b"no database at all" * 100)
    for way in (lambda: opened.adapter("a"), lambda: AdapterStore(opened.folder)):
        with pytest.raises(StorageError, match=r"lock.sqlite cannot be locked.*holds nothing"):
            way()
    lock.unlink()
    lock.mkdir()
    with pytest.raises(StorageError, match=r"lock.sqlite cannot be locked"):
        opened.adapter("a")
    lock.rmdir()
    assert AdapterStore(opened.folder).adapter("a").path.is_dir()


def test_a_store_is_not_made_in_place_of_a_file(tmp_path):
    (tmp_path / "store").write_text("mine")
    with pytest.raises(ArtifactError, match="is a file; choose a folder"):
        store(tmp_path)


@pytest.mark.parametrize("place", ["store", "store/adapters", "store/adapters/mine", "store/x/y"])
def test_nothing_is_exported_into_a_store(tmp_path, place):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    before = sorted(opened.folder.rglob("*"))
    with pytest.raises(ArtifactError, match="is inside the adapter store"):
        opened.export("a", tmp_path / place)
    assert sorted(opened.folder.rglob("*")) == before
    opened.export("a", tmp_path / "mine")
    assert (tmp_path / "mine" / WEIGHTS).is_file()


def test_pinned_adapters_stay_and_can_be_let_go(tmp_path):
    opened = store(tmp_path)
    opened.put(["a", "b", "c"], draw(3))
    pinned = opened.pin("a")
    size = opened.files.names()[pinned.name]
    opened.limit(byte_budget=2 * size + 6000)
    for user in "bcbc":
        opened.adapter(user)
    assert opened.adapter("a").name in opened.files.names()
    opened.put(["a"], draw(1, 8))
    opened.unpin("a")  # the pinned adapter is an earlier version's
    for user in "bc":
        opened.adapter(user)
    assert opened.stats()["adapters"] == 2
    assert opened.name_of(draw(3)[0]) not in opened.files.names()


def test_limits_are_remembered(tmp_path):
    opened = store(tmp_path)
    opened.put(["a"], draw(1))
    opened.adapter("a")
    opened.limit(byte_budget=1, ttl=5.0)
    assert opened.stats()["adapters"] == 0
    again = AdapterStore(opened.folder)
    assert (again.settings.byte_budget, again.settings.ttl) == (1, 5.0)
    with pytest.raises(LlmrecError, match="does not fit into the budget of 1"):
        again.adapter("a")
    again.limit(byte_budget=1 << 20, ttl=0)
    assert again.settings.ttl is None
    assert again.adapter("a").path.is_dir()


# ---- forgetting ----


def everything(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_forgetting_leaves_nothing(tmp_path):
    opened = store(tmp_path)
    users = ["somebody-secret", "other"]
    opened.put(users, draw(2))
    old = opened.adapter(users[0])
    opened.put(users[:1], draw(1, 4))
    opened.priors.put_profiles(users[:1], draw(1, 5))
    opened.priors.put_groups(users[:1], ["young"])
    new, others = opened.adapter(users[0]), opened.adapter("other")
    assert b"somebody-secret" in everything(opened.folder)
    done = opened.forget(users[0])
    assert done.known
    assert set(done.removed) == {old.name, new.name}
    left = everything(opened.folder)
    marks = [b"somebody-secret", old.name.encode(), new.name.encode()]
    marks += [gate.astype(np.float16).tobytes() for gate in (*draw(1), *draw(1, 4), *draw(1, 5))]
    assert [mark in left for mark in marks] == [False] * 6
    assert opened.adapter(users[0]).found == "prior"
    assert opened.adapter("other").name == others.name
    assert not opened.forget(users[0]).known
    assert not opened.forget("never there").known


def test_nobody_is_served_by_the_prior_of_somebody_forgotten(tmp_path):
    """A mean over one is that one's weights."""
    opened = store(tmp_path)
    opened.put(["somebody"], draw(1))
    own, strangers = opened.adapter("somebody"), opened.adapter("stranger", lease=600)
    assert own.name == strangers.name
    done = opened.forget("somebody")
    assert (done.removed, done.in_use) == ((own.name,), (own.name,))
    assert opened.adapter("stranger").found == "even"
    assert list(opened.files.names()) == [opened.adapter("stranger").name]
    with pytest.raises(UnknownIdError, match="is void"):
        opened.adapter_named(own.name)
    left = everything(opened.folder)
    assert draw(1)[0].astype(np.float16).tobytes() not in left
    assert draw(1)[0].astype(np.float64).tobytes() not in left


def test_means_are_fixed_anew_without_somebody_forgotten(tmp_path):
    opened = store(tmp_path, gate_dtype="float32")
    opened.put(["a", "b", "c", "d"], draw(4))
    groups = ["young", "young", "alone", "others", "young", "alone", "others"]
    opened.priors.put_groups(["a", "b", "c", "d", "y", "z", "o"], groups)
    opened.priors.fix()
    names = {who: opened.adapter(who).name for who in ("y", "z", "o", "nobody")}
    assert set(opened.forget("a").removed) == {names["y"], names["nobody"]}
    np.testing.assert_allclose(opened.weights("y").weights, draw(4)[1], atol=1e-6)
    np.testing.assert_allclose(opened.weights("nobody").weights, draw(4)[1:].mean(0), atol=1e-6)
    assert opened.adapter("o").name == names["o"]
    opened.forget("c")  # alone in the group
    assert opened.adapter("z").found == "prior"
    np.testing.assert_allclose(opened.weights("z").weights, draw(4)[[1, 3]].mean(0), atol=1e-6)
    assert opened.adapter("o").name == names["o"]


def test_forgetting_reaches_the_mean_of_a_group_that_was_left(tmp_path):
    opened = store(tmp_path, gate_dtype="float32")
    opened.put(["a", "b", "c"], draw(3))
    opened.priors.put_groups(["a", "b", "c", "y"], ["young", "young", "old", "young"])
    opened.priors.fix()
    name = opened.adapter("y").name
    opened.priors.put_groups(["a", "b"], ["old", "young"])
    assert opened.adapter("y").name == name  # fixed until it is fixed anew, or somebody forgotten
    assert name in opened.forget("a").removed
    np.testing.assert_allclose(opened.weights("y").weights, draw(3)[1], atol=1e-6)
    name = opened.adapter("y").name
    assert not opened.forget("c").removed  # was never among the young
    assert opened.adapter("y").name == name


def test_a_cluster_of_one_is_forgotten_with_that_one(tmp_path):
    opened = store(tmp_path, gate_dtype="float32")
    corners = np.eye(4, dtype=np.float32)[[0, 1, 1]][:, None].repeat(4, 1)
    opened.put(["alone", "b", "c"], corners)
    opened.quantise(2)
    alone, together = opened.adapter("alone", lease=600), opened.adapter("b")
    assert (alone.found, together.found) == ("centroid", "centroid")
    assert opened.forget("c").removed == ()
    assert opened.adapter("b").name == together.name
    done = opened.forget("alone")
    assert (done.removed, done.in_use) == ((alone.name,), (alone.name,))
    assert corners[0].tobytes() not in everything(opened.folder)
    assert opened.adapter("b").name == together.name
    opened.put(["new"], corners[:1])  # joins what is nearest now
    np.testing.assert_array_equal(opened.weights("new").weights, corners[1])
    opened.forget("b")
    opened.forget("new")
    opened.put(["later"], corners[:1])
    assert opened.weights("later").origin.found == "user"  # clusters ended with the last user


def test_no_centroid_keeps_the_mean_of_somebody_forgotten(tmp_path):
    opened = store(tmp_path, gate_dtype="float32")
    corners = np.eye(4, dtype=np.float32)[:3][:, None].repeat(4, 1)
    opened.put(["a", "b", "c"], corners)
    opened.quantise(3)
    opened.forget("c")
    opened.forget("b")  # before that, c's centroid became the mean over a and b
    assert {each.tobytes() for each in opened._clusters.all()} == {corners[0].tobytes()}


def test_forgetting_somebody_without_a_gate_leaves_means(tmp_path):
    opened = store(tmp_path)
    opened.put(["a", "b"], draw(2))
    opened.priors.put_groups(["a", "y"], ["young", "young"])
    opened.priors.fix()
    names = [opened.adapter(who).name for who in ("y", "nobody")]
    opened.put(["b"], draw(1, 4))  # means are fixed, not followed
    assert opened.forget("y").removed == ()
    assert opened.forget("never there").removed == ()
    assert opened.adapter("nobody").name == names[1]
    opened.priors.put_groups(["y"], ["young"])
    assert opened.adapter("y").name == names[0]


def test_an_adapter_shared_with_others_outlives_a_forgotten_user(tmp_path):
    opened = store(tmp_path)
    opened.put(["a", "twin"], draw(1)[[0, 0]])
    name = opened.adapter("a").name
    assert opened.adapter("twin").name == name
    assert opened.forget("a").removed == ()
    assert opened.adapter_named(name).found == "user"
    assert opened.forget("twin").removed == (name,)


def test_an_adapter_forgotten_while_being_served(tmp_path):
    opened = store(tmp_path)
    opened.put(["a", "b"], draw(2))
    served = opened.adapter("a", lease=600)
    pinned = opened.pin("b")
    assert opened.forget("a").in_use == (served.name,)
    assert opened.forget("b").in_use == (pinned.name,)
    assert not served.path.exists()
    for adapter in (served, pinned):
        with pytest.raises(UnknownIdError, match="is void"):
            opened.adapter_named(adapter.name)


def test_a_user_forgotten_while_the_adapter_is_made(tmp_path, monkeypatch):
    opened, other = store(tmp_path), AdapterStore(tmp_path / "store")
    opened.put(["a", "b"], draw(2))
    from llmrec.adapters import store as module

    made = []

    def meanwhile(*given):
        found = materialise(*given)
        if not made:
            made.append(opened.name_of(opened.gate("a").gate))
            thread = threading.Thread(target=other.forget, args=["a"])
            thread.start()
            thread.join()
        return found

    monkeypatch.setattr(module, "materialise", meanwhile)
    adapter = opened.adapter("a")
    assert adapter.found == "prior"
    assert adapter.name != made[0]
    assert list(opened.files.names()) == [adapter.name]
    assert made[0].encode() not in everything(opened.folder)


def test_a_user_forgotten_between_weights_and_name(tmp_path, monkeypatch):
    opened, other = store(tmp_path), AdapterStore(tmp_path / "store")
    opened.put(["somebody-secret", "b"], draw(2))
    name_of = opened.name_of

    def meanwhile(weights):
        other.forget("somebody-secret")
        return name_of(weights)

    monkeypatch.setattr(opened, "name_of", meanwhile)
    assert opened.adapter("somebody-secret").found == "prior"
    assert b"somebody-secret" not in everything(opened.folder)


# ---- refusals ----


def test_a_store_of_something_else_is_refused_by_name(tmp_path):
    trained = experts()
    bundle = Bundle(trained.base.fingerprint, trained.fingerprint, "tok", "ctr", "items", "split")
    AdapterStore.create(tmp_path / "store", trained, bundle)
    assert AdapterStore(tmp_path / "store", bundle).bundle == bundle
    for field in ("base_model", "experts", "tokenizer", "ctr_model", "vocabulary", "split"):
        changed = Bundle(**{**bundle.to_dict(), field: "another"})
        what = field.replace("_", " ")
        with pytest.raises(ArtifactError, match=f"made for {what} .*the {what} given is another"):
            AdapterStore(tmp_path / "store", changed)
    with pytest.raises(ArtifactError, match="made for experts"):
        AdapterStore.create(tmp_path / "new", experts(seed=1), bundle)
    assert not (tmp_path / "new").exists()


def test_every_part_of_a_bundle_is_in_the_names(tmp_path):
    base = {"base_model": "a", "experts": "b", "tokenizer": "c", "ctr_model": "d",
            "vocabulary": "e", "split": "f"}  # fmt: skip
    versions = {Bundle(**base).version}
    versions |= {Bundle(**{**base, field: "x"}).version for field in base}
    assert len(versions) == 7


def test_a_bundle_that_says_little_is_filled(tmp_path):
    made = AdapterStore.create(tmp_path / "store", experts(), Bundle("", "", tokenizer="tok"))
    assert made.bundle.tokenizer == "tok"
    assert AdapterStore(tmp_path / "store").bundle.experts == experts().fingerprint


def test_states_of_another_ctr_model(tmp_path):
    opened = store(tmp_path)
    with pytest.raises(ConfigError, match=r"these gates read 6 numbers.*another CTR model"):
        opened.put_states(["a"], np.zeros((1, 7)))
    with pytest.raises(ConfigError, match="NaN or infinity"):
        opened.put_states(["a"], np.full((1, 6), np.nan))
    with pytest.raises(DataError, match="are they of another model"):
        opened.put(["a"], draw(1, shape=(4, 5)))
    opened.put_states([], np.zeros((0, 6)))
    assert opened.stats()["users"] == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"byte_budget": 0}, "byte_budget"),
        ({"ttl": -1}, "ttl"),
        ({"rank": 99}, "between 1 and the exact 3"),
        ({"dtype": "float31"}, "unknown dtype 'float31'"),
        ({"gate_dtype": "int8"}, "gate_dtype"),
        ({"byte_budgets": 5}, "did you mean 'byte_budget'"),
    ],
)
def test_settings_that_cannot_work(tmp_path, changes, why):
    with pytest.raises(ConfigError, match=why):
        store(tmp_path, **changes)
    assert not (tmp_path / "store").exists()


def test_gates_that_read_the_item_have_no_store(tmp_path):
    with pytest.raises(ConfigError, match="read user and item together"):
        store(tmp_path, experts(gate_input="instance"))


def test_folders_that_are_no_store(tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(ArtifactError, match="is not empty"):
        AdapterStore.create(tmp_path / "else", experts())
    with pytest.raises(ArtifactError, match=r"is not an adapter store: it has no store\.json"):
        AdapterStore(tmp_path / "else")
    made = store(tmp_path).folder
    about = json.loads((made / "store.json").read_text())
    for change, why in (
        ({"format": 9}, "format 9 is not 1"),
        ({"settings": {"rank": 0}}, "rank"),
        ({"bundle": {"what": "x"}}, "does not describe a bundle"),
        ({"bundle": {**about["bundle"], "experts": "x"}}, "are not the experts"),
    ):
        (made / "store.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(ArtifactError, match=why):
            AdapterStore(made)
    (made / "store.json").write_text("[]")
    with pytest.raises(ArtifactError, match="format None is not 1"):
        AdapterStore(made)


def test_damaged_experts_are_refused(tmp_path):
    made = store(tmp_path).folder
    weights = made / "experts" / "gated_lora.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="does not match its hash"):
        AdapterStore(made)


def test_users_in_any_order_give_the_same_adapters(tmp_path):
    """The order of requests, and what was evicted between them, changes no name and no byte."""
    opened = store(tmp_path, byte_budget=12_000)
    users = [f"u{n}" for n in range(8)]
    opened.put(users, draw(8))
    rng, seen = random.Random(0), {}
    for user in rng.choices(users, k=40):
        adapter = opened.adapter(user)
        content = (adapter.path / WEIGHTS).read_bytes()
        assert seen.setdefault(user, (adapter.name, content)) == (adapter.name, content)
    assert opened.stats()["evicted"] > 5
    assert Settings().byte_budget == 10 * 2**30
