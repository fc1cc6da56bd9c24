"""From a fitted RecLoRA to a store: whose gates are drawn to a mean, and how often."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from reclora_worlds import fitted_on, liking_world, make_model

from llmrec.adapters.refresh import refresh
from llmrec.adapters.store import AdapterStore
from llmrec.cli import main
from llmrec.data.histories import Histories
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.recommenders.popularity import Popularity
from llmrec.recommenders.reclora import RecLoRA

SPLIT = liking_world()


@pytest.fixture(scope="module")
def model(base_folder):
    return fitted_on(SPLIT, make_model(base_folder))


def test_gates_of_a_new_store_are_drawn_to_the_mean_as_a_refresh_draws_them(model, tmp_path):
    """Everybody has ten events, so that with prior_events=10 a user's own gate counts half."""
    store = model.make_store(tmp_path / "store", gate_dtype="float32", prior_events=10)
    known = model.known_histories
    assert set(known.lengths) == {10}
    stored = np.stack([store.gate(user).gate for user in known.user_ids])
    mean = model.ranker.prior
    assert np.abs(mean - 0.5).max() > 1e-3  # not the even mixture
    np.testing.assert_allclose(stored, 0.5 * model.gates(known) + 0.5 * mean, atol=1e-6)
    assert refresh(store, model, known).unchanged == 24


def test_strangers_get_from_the_store_what_the_model_gives_them(model, tmp_path):
    store = model.make_store(tmp_path / "store", gate_dtype="float32")
    nothing = Histories.from_lists({"stranger": []}, model.vocabulary)
    served = store.weights("stranger")
    np.testing.assert_array_equal(served.weights, model.gates(nothing)[0])
    assert served.origin.found == "prior"
    model.save_pretrained(tmp_path / "bare", include_users=False)
    bare = RecLoRA.from_pretrained(tmp_path / "bare").make_store(tmp_path / "empty")
    assert len(bare.gates) == 0
    np.testing.assert_allclose(bare.weights("x").weights, model.ranker.prior, atol=1e-3)


def test_a_store_that_was_broken_off_is_not_there(model, tmp_path, monkeypatch):
    monkeypatch.setattr(AdapterStore, "put", failing_after(1, AdapterStore.put))
    monkeypatch.setattr("llmrec.recommenders.base._BLOCK", 10)
    with pytest.raises(KeyboardInterrupt):
        model.make_store(tmp_path / "store")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert len(model.make_store(tmp_path / "store").gates) == 24


def failing_after(calls, method):
    """A method that is broken off in a later call."""
    made = []

    def call(*arguments, **options):
        made.append(1)
        if len(made) > calls:
            raise KeyboardInterrupt
        return method(*arguments, **options)

    return call


def test_a_store_is_made_and_refreshed_on_the_command_line(model, tmp_path, capsys):
    def cli(*words):
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in ("adapters", *words, "--json")])
        assert caught.value.code == 0
        return json.loads(capsys.readouterr().out)

    run, folder = tmp_path / "run", tmp_path / "store"
    model.save_pretrained(run)
    settings = ("--byte-budget", 12345, "--gate-dtype", "float32", "--prior-events", 10)
    made = cli("create", folder, "--run", run, *settings)
    assert (made["users"], made["bundle"]) == (24, model.bundle.to_dict())
    store = AdapterStore(folder, model.bundle)
    assert (store.settings.byte_budget, store.settings.ttl) == (12345, None)
    known = model.known_histories
    expected = 0.5 * model.gates(known)[3] + 0.5 * model.ranker.prior
    np.testing.assert_allclose(store.gate(known.user_ids[3]).gate, expected, atol=1e-6)
    events = tmp_path / "events.csv"
    events.write_text(f"user_id,item_id,timestamp,label\n{known.user_ids[3]},1,900,1\n")
    found = cli("refresh", folder, "--run", run, "--events", events)
    assert (found["new"], found["updated"], found["unchanged"]) == (0, 1, 0)
    bare = tmp_path / "bare"
    model.save_pretrained(bare, include_users=False)
    events.write_text(f"user_id,item_id,timestamp,label\n{known.user_ids[3]},2,901,0\n")
    words = ("refresh", folder, "--run", bare, "--events", events)
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in ("adapters", *words)])
    assert (caught.value.code, "saved without users" in capsys.readouterr().err) == (2, True)
    assert AdapterStore(folder).gate(known.user_ids[3]).version == 2
    assert cli(*words, "--whole-histories")["updated"] == 1


def test_a_store_of_a_model_without_experts(tmp_path, capsys):
    run = tmp_path / "run"
    Popularity().fit(SPLIT.train_histories()).save_pretrained(run)
    with pytest.raises(SystemExit) as caught:
        main(["adapters", "create", str(tmp_path / "store"), "--run", str(run)])
    assert caught.value.code == 2
    assert "which has no experts; name a RecLoRA run" in capsys.readouterr().err


def test_a_model_whose_gates_read_no_user_leaves_no_folder(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model.ranker, "inputs", None)
    with pytest.raises(ArtifactError, match="gates of this model do not read users alone"):
        model.make_store(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_an_id_that_no_store_takes_leaves_no_folder(model, tmp_path, monkeypatch):
    known = model.known_histories
    users = [*known.user_ids[:-1], "x" * 300]  # the last of them
    monkeypatch.setattr(model, "_known", dataclasses.replace(known, user_ids=pl.Series(users)))
    with pytest.raises(DataError, match="has 300 characters"):
        model.make_store(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_who_is_served_is_counted_and_who_is_judged_or_looked_at_is_not(base_folder, tmp_path):
    model = make_model(base_folder).use_judged(SPLIT.labelled_cases("valid"))
    fitted_on(SPLIT, model)
    model.make_store(tmp_path / "store")
    model.gates(model.known_histories)
    assert model.ranker.served == 0
    assert model.reports()["gates"]["fallback_rate"] is None
    ranking = {"epochs": 1, "metric": "ndcg@10"}
    ctr = {"name": "din", "dim": 4, "hidden": (8,), "attention_hidden": 4, "training": ranking}
    other = make_model(base_folder, training=ranking, ctr=ctr)
    other.use_catalog(SPLIT.dataset.catalog).fit(SPLIT.train_histories(), SPLIT.cases("valid"))
    assert other.ranker.served == 0
    model.score_catalog(model.known_histories.take([0, 1]))
    assert model.ranker.served == 2


def test_gates_are_not_drawn_to_a_mean_twice(model, tmp_path, monkeypatch):
    shrinking = model.config.model_copy(update={"shrink": 3.0})
    monkeypatch.setattr(model, "config", shrinking)
    with pytest.raises(ConfigError, match=r"shrink=3 and prior_events=10 both draw"):
        model.make_store(tmp_path / "store", prior_events=10)
    assert not (tmp_path / "store").exists()
