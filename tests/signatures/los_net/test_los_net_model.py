"""Fitting, refusing, fine-tuning and saving."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from los_net_training import QUICK
from sklearn.metrics import roc_auc_score

from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.signatures.los_net import LOSNet, LOSNetConfig
from llmrec.signatures.los_net.batches import SignatureBatches
from llmrec.signatures.los_net.columns import columns_of
from llmrec.signatures.los_net.holdout import hold_out
from llmrec.testing.signatures import labelled_signatures

SMALL = {"k": 8, "hidden": 16, "training": {**QUICK, "epochs": 2}}


def test_learns_and_wrong_answers_get_the_higher_risk(fitted, drawn):
    records, labels = drawn[1]
    risk = fitted.predict_risk(records)
    assert risk.dtype == np.float32
    assert roc_auc_score(labels, risk) > 0.9
    assert risk[labels == 1].mean() > 0.5 > risk[labels == 0].mean()


def test_same_seed_same_bits(drawn):
    records, labels = drawn[0]
    one, other = (LOSNet(**SMALL).fit(records, labels) for _ in range(2))
    np.testing.assert_array_equal(one.predict_logit(records), other.predict_logit(records))
    changed = LOSNet(**{**SMALL, "training": {**SMALL["training"], "seed": 1}})
    again = changed.fit(records, labels).predict_logit(records)
    assert np.abs(again - one.predict_logit(records)).max() > 1e-3


def test_members_are_averaged(drawn):
    records, labels = drawn[0]
    model = LOSNet(**SMALL, members=2).fit(records, labels)
    alone = []
    for network in model.networks:
        single = LOSNet(model.config.model_copy(update={"members": 1}))
        single._networks = [network]
        alone.append(single.predict_logit(records[:9]))
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(model.predict_logit(records[:9]), np.mean(alone, 0), atol=1e-6)


def test_balanced_training_keeps_the_shares(drawn):
    records, labels = drawn[0]
    rare = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:25]])
    chosen, given = [records[i] for i in rare], labels[rare]
    options = {**SMALL, "training": {**QUICK, "epochs": 8, "metric": "neg_logloss"}}
    model = LOSNet(**options, balanced=True).fit(chosen, given)
    assert model.shift == pytest.approx(np.log(8.0), rel=0.1)
    assert model.predict_risk(chosen).mean() == pytest.approx(given.mean(), abs=0.08)


def test_no_records_and_empty_answers(fitted):
    assert fitted.predict_risk([]).shape == (0,)
    empty, _ = labelled_signatures(2, seed=0, lengths=(0, 0))
    assert np.isfinite(fitted.predict_risk(empty)).all()


def test_fewer_columns_lose_little_where_training_drew_them(fitted, drawn):
    _, labels = drawn[1]
    aucs = []
    for k in (8, 4, 2):
        narrow, _ = labelled_signatures(300, seed=1, k=k)
        aucs.append(roc_auc_score(labels, fitted.predict_risk(narrow)))
    assert min(aucs) > 0.85
    wide, _ = labelled_signatures(300, seed=1, k=30)
    np.testing.assert_allclose(
        fitted.predict_risk(wide), fitted.predict_risk(drawn[1][0]), atol=2e-3
    )


# ---- refusals ----


def test_fewer_columns_than_trained_on_are_refused(drawn):
    model = LOSNet(**SMALL).fit(*drawn[0])
    narrow, _ = labelled_signatures(5, seed=1, k=4)
    with pytest.raises(DataError, match=r"4 values per position.*trained on 8.*random_k"):
        model.predict_risk(narrow)
    with pytest.warns(UserWarning, match="scores may be off"):
        assert np.isfinite(model.predict_risk(narrow, on_mismatch="warn")).all()


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"mode": "processed_logprobs"}, "mode processed_logprobs"),
        ({"kind": "input"}, "kind input"),
        ({"fingerprint": {"tokenizer": "other"}}, "tokenizer other"),
    ],
)
def test_other_sources_are_refused_by_name(fitted, about, named):
    records, _ = labelled_signatures(3, seed=2, **about)
    with pytest.raises(DataError, match=named):
        fitted.predict_risk(records)
    with pytest.warns(UserWarning, match=named):
        fitted.predict_risk(records, on_mismatch="warn")


def test_policies_on_fingerprints(drawn):
    records, labels = drawn[0]
    other, _ = labelled_signatures(3, seed=2, fingerprint={"model": "b", "tokenizer": "drawn"})
    strict = LOSNet(**SMALL, fingerprint_policy="model").fit(records, labels)
    with pytest.raises(DataError, match="model b"):
        strict.predict_risk(other)
    LOSNet(**SMALL).fit(records, labels).predict_risk(other)


def test_another_normaliser_warns(drawn):
    records, labels = drawn[0]
    model = LOSNet(**SMALL, normaliser="full").fit(records, labels)
    bare = [dataclasses.replace(r, row_mean=None, row_std=None) for r in records[:5]]
    with pytest.raises(DataError, match="full_approx"):
        model.predict_risk(bare)
    with pytest.warns(UserWarning, match="trained with normaliser=full"):
        found = model.predict_risk(bare, normaliser="full_approx")
    assert np.isfinite(found).all()


def test_one_hot_ranks_stay_with_their_vocabulary(drawn):
    records, labels = drawn[0]
    model = LOSNet(**SMALL, rank_encoding="one_hot").fit(records, labels)
    assert np.isfinite(model.predict_risk(records[:3])).all()
    other = [dataclasses.replace(records[0], vocab_size=51)]
    with pytest.raises(DataError, match=r"bound to 50 tokens.*51"):
        model.predict_risk(other)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.ones(20), "label 1 on all 20 records"),
        (np.arange(20) % 3, "record 2 has label 2"),
        (np.ones(19), "one label each"),
        (np.full(20, np.nan), "record 0 has label nan"),
    ],
)
def test_labels_that_teach_nothing(labels, sentence):
    records, _ = labelled_signatures(20, seed=0)
    with pytest.raises(DataError, match=sentence):
        LOSNet(**SMALL).fit(records, labels)


def test_unfitted_and_unknown_settings():
    with pytest.raises(ConfigError, match="not fitted"):
        LOSNet().predict_risk([])
    with pytest.raises(ConfigError, match="normalizer"):
        LOSNet(normalizer="topk")
    with pytest.raises(ConfigError, match="heads"):
        LOSNet(hidden=100)


def test_given_training_settings_keep_the_other_defaults():
    training = LOSNet(training={"epochs": 3}).config.training
    assert (training.epochs, training.metric, training.patience) == (3, "auc", 30)
    assert training.learning_rate == LOSNetConfig().training.learning_rate


# ---- held-out groups ----


def test_groups_stay_on_one_side():
    rng = np.random.default_rng(0)
    labels = (rng.random(500) < 0.3).astype(np.float32)
    groups = [f"g{i}" for i in rng.integers(60, size=500)]
    train, valid = hold_out(labels, groups, 0.2, seed=0)
    assert not {groups[i] for i in train} & {groups[i] for i in valid}
    assert sorted([*train, *valid]) == list(range(500))
    assert 0.1 < len(valid) / 500 < 0.3
    assert abs(labels[valid].mean() - labels[train].mean()) < 0.1
    assert valid.tolist() != hold_out(labels, groups, 0.2, seed=1)[1].tolist()


def test_records_alone_are_held_out_in_equal_shares():
    labels = (np.arange(1000) < 100).astype(np.float32)
    _, valid = hold_out(labels, None, 0.2, seed=0)
    assert len(valid) == pytest.approx(200, abs=2)
    assert labels[valid].sum() == pytest.approx(20, abs=2)


def test_too_few_groups():
    labels = np.array([1, 0, 1, 0], dtype=np.float32)
    with pytest.raises(DataError, match="1 groups of 4 records"):
        hold_out(labels, ["a"] * 4, 0.5, seed=0)
    with pytest.raises(DataError, match="4 records have 2 groups"):
        hold_out(labels, ["a", "b"], 0.5, seed=0)


# ---- what is drawn while training ----


def test_batches_draw_beginnings_and_columns(drawn):
    records, labels = drawn[0]
    config = LOSNetConfig(k=8, random_k=True, random_prefix=True, window=10, stride=5)
    source = SignatureBatches(columns_of(records, 8), config, labels)
    rows = np.arange(len(records))
    batch = source.batch(rows, np.random.default_rng(0))
    again = source.batch(rows, np.random.default_rng(0))
    torch.testing.assert_close(batch.inputs.values, again.inputs.values)
    positions = source.fixed(rows).inputs.values.shape[0]
    assert 0.6 < len(batch.inputs.values) / positions < 0.9
    received = batch.inputs.channels[:, 9] * 8
    assert set(received.round().int().unique().tolist()) == set(range(1, 9))


# ---- transfer ----


def test_fine_tuning_learns_the_new_source_and_leaves_the_model(fitted):
    about = {"fingerprint": {"tokenizer": "other"}, "contrast": 3.0}
    few, labels = labelled_signatures(120, seed=5, **about)
    upside_down = 1 - labels
    before = {n: p.clone() for n, p in fitted.networks[0].state_dict().items()}
    tuned = fitted.fine_tune(few, upside_down, epochs=25, learning_rate=3e-3)
    assert roc_auc_score(upside_down, tuned.predict_risk(few)) > 0.8
    for name, value in fitted.networks[0].state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert [origin.identity for origin in tuned.origins] == [(("tokenizer", "other"),)]


def test_fine_tuning_starts_from_the_model(fitted, drawn):
    few = (drawn[0][0][:40], drawn[0][1][:40])
    tuned = fitted.fine_tune(*few, epochs=1, learning_rate=1e-9)
    np.testing.assert_allclose(tuned.predict_logit(few[0]), fitted.predict_logit(few[0]), atol=1e-4)


# ---- saving ----


def test_saved_models_predict_the_same(drawn, tmp_path):
    records, labels = drawn[0]
    model = LOSNet(**SMALL, members=2, balanced=True).fit(records, labels)
    model.save_pretrained(tmp_path / "model")
    again = LOSNet.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_logit(records), model.predict_logit(records))
    assert again.config == model.config
    assert again.origins == model.origins
    assert again.log == model.log
    other, _ = labelled_signatures(2, seed=0, mode="unknown")
    with pytest.raises(DataError, match="mode unknown"):
        again.predict_risk(other)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save_pretrained(folder)
    return folder


def change(folder, **values):
    manifest = json.loads((folder / "los_net.json").read_text())
    (folder / "los_net.json").write_text(json.dumps(manifest | values))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "los_net.json").unlink(), "has no los_net.json"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "does not match its hash"),
        (lambda f: change(f, format=99), "format 99 is not 1"),
        (lambda f: change(f, model="sasrec"), "does not describe a LOS-Net"),
        (lambda f: change(f, config={"k": 8, "colour": 1}), "colour"),
        (lambda f: change(f, config=LOSNetConfig(k=9).model_dump(mode="json")), "do not fit"),
        (lambda f: (f / "los_net.json").write_text("{"), "not valid JSON"),
    ],
)
def test_damaged_directories_are_refused(saved, tmp_path, damage, sentence):
    copy = shutil.copytree(saved, tmp_path / "copy")
    damage(copy)
    with pytest.raises(ArtifactError, match=sentence):
        LOSNet.from_pretrained(copy)


def test_a_foreign_directory_is_not_overwritten(fitted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="not a directory that llmrec wrote"):
        fitted.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="not fitted"):
        LOSNet().save_pretrained(tmp_path / "x")
