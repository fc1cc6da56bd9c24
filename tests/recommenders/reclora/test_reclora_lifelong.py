"""Updates of experts on newer events: which rows, what moves, and how far."""

import dataclasses

import numpy as np
import pytest
import torch
from reclora_worlds import fitted_on, liking_world, make_model

from llmrec.adapters.refresh import refresh
from llmrec.errors import ArtifactError, DataError, ProtocolError, TrainingError
from llmrec.evaluation import require_unseen
from llmrec.evaluation.metrics.pairs import logloss
from llmrec.recommenders.reclora import RecLoRA
from llmrec.recommenders.reclora.lifelong import ExpertUpdate, update_experts
from llmrec.recommenders.reclora.network import AnswerLoss
from llmrec.recommenders.reclora.rows import newer_rows

SPLIT = liking_world()
NEW = 80  # seconds; steps 8 and 9 are new, the CTR model learnt steps 0 to 4


@pytest.fixture
def model(base_folder):
    return fitted_on(SPLIT, make_model(base_folder))


def update(**changes):
    training = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, **changes.pop("training", {})}
    return ExpertUpdate(training=training, **changes)


def weights_of(model):
    kept = {n: p for n, p in model.ranker.lora.named_parameters() if p.requires_grad}
    return torch.cat([p.detach().flatten().double() for p in kept.values()])


def rows(replay, most=1_000, since=50, moment=NEW):
    train = SPLIT.train_histories()
    return newer_rows(train, since, moment, most, replay, 0, 1, 3.0)


def test_all_new_rows_and_a_share_of_the_old_ones_are_learnt():
    found = rows(0.5)
    moments = 10 * found.histories.lengths  # step s has s events before it
    assert (moments >= NEW).sum() == 24 * 2
    assert (moments < NEW).sum() == 24
    assert moments.min() >= 50  # what the CTR model learnt is not replayed
    assert len(rows(0.0)) == 24 * 2
    assert len(rows(100.0)) == 24 * 5  # no more than there are
    assert len(rows(1.0, most=10)) == 20
    np.testing.assert_array_equal(rows(0.5).items, found.items)


def test_rows_carry_their_own_answers():
    found = rows(0.5)
    users = found.histories.user_ids.str.slice(1).cast(int).to_numpy()
    items = SPLIT.train_histories().vocabulary.decode(found.items).to_numpy()
    np.testing.assert_array_equal(found.labels, items % 2 == users % 2)


def test_an_update_learns_from_what_is_new_and_leaves_the_rest_alone(model):
    train = SPLIT.train_histories().with_vocabulary(model.vocabulary)
    new = newer_rows(train, None, NEW, 1_000, 0.0, 0, 1, 3.0)
    ranker, ctr = model.ranker, model.ctr.fingerprint
    base = {name: p for name, p in ranker.lora.named_parameters() if not p.requires_grad}
    frozen = {name: value.clone() for name, value in base.items()}
    assert frozen
    before, prior = weights_of(model), ranker.prior.copy()
    loss = logloss(new.labels, model.score_pairs(new.histories, new.items))
    log = update_experts(model, train, NEW, update(mu=0.0, replay=0.0))
    assert logloss(new.labels, model.score_pairs(new.histories, new.items)) < loss
    assert log[-1]["moved"] == pytest.approx(float((weights_of(model) - before).norm()), rel=1e-6)
    assert model.ctr.fingerprint == ctr
    assert all(torch.equal(frozen[name], value) for name, value in base.items())
    assert not np.array_equal(ranker.prior, prior)  # newcomers get the mean of the new gates
    assert not ranker.lora.training


def test_a_stronger_pull_keeps_weights_nearer(base_folder):
    moved = []
    for mu in (0.0, 1.0, 100.0):
        model = fitted_on(SPLIT, make_model(base_folder))
        train = SPLIT.train_histories()
        moved.append(update_experts(model, train, NEW, update(mu=mu))[-1]["moved"])
    assert moved[0] > moved[1] > moved[2] > 0


def test_the_pull_counts_once_per_prompt(model):
    """The loop divides by the prompts, so a mean loss gains exactly (mu / 2) ||change||^2."""
    from llmrec.adapters.proximal import Proximal
    from llmrec.recommenders.reclora.training import _learnt

    ranker = model.ranker
    _, source = _learnt(ranker, rows(0.0))
    batch = source.batch(np.arange(6), np.random.default_rng(0))
    pull = Proximal(ranker.lora, 3.0)
    with torch.no_grad():
        for weight in (p for p in ranker.lora.parameters() if p.requires_grad):
            weight.add_(0.01)
    plain = AnswerLoss(ranker.lora, ranker.answers, 0).eval()(batch)
    pulled = AnswerLoss(ranker.lora, ranker.answers, 0, pull).eval()(batch)
    number = weights_of(model).numel()
    assert float((pulled - plain).detach()) / 6 == pytest.approx(1.5 * number * 1e-4, rel=1e-3)


def test_the_same_update_gives_the_same_bits(base_folder):
    found = []
    for _ in range(2):
        model = fitted_on(SPLIT, make_model(base_folder))
        update_experts(model, SPLIT.train_histories(), NEW, update())
        found.append(weights_of(model))
    assert torch.equal(*found)


def test_updated_experts_are_others_and_an_older_store_refuses_their_gates(model, tmp_path):
    train, before = SPLIT.train_histories(), model.bundle
    old = model.make_store(tmp_path / "old", gate_dtype="float32")
    gate = old.gate(train.user_ids[3]).gate.copy()
    update_experts(model, train, NEW, update())
    assert model.bundle.experts == model.experts().fingerprint != before.experts
    with pytest.raises(ArtifactError, match="this store was made for experts"):
        refresh(old, model, train)
    np.testing.assert_array_equal(old.gate(train.user_ids[3]).gate, gate)
    new = model.make_store(tmp_path / "new", gate_dtype="float32")
    assert new.bundle == dataclasses.replace(before, experts=model.experts().fingerprint)
    model.save_pretrained(tmp_path / "model")
    again = RecLoRA.from_pretrained(tmp_path / "model")
    assert again.bundle == new.bundle
    assert again.experts().fingerprint == again.bundle.experts
    assert refresh(new, again, train).unchanged == len(train)


def test_reports_are_those_of_the_updated_gates(model):
    before = dict(model.reports()["gates"])
    update_experts(model, SPLIT.train_histories(), NEW, update(mu=0.0))
    found = model.reports()["gates"]
    assert found["entropy"] != before["entropy"]
    assert model.details["gates"]["entropy"] == found["entropy"]


def test_an_updated_model_has_seen_what_it_learnt(model, tmp_path):
    require_unseen(model.seen, SPLIT, "valid")
    before = model.seen
    update_experts(model, SPLIT.train_histories(), NEW, update())
    assert model.seen == before  # nothing it had not seen
    update_experts(model, SPLIT.train_histories(include_valid=True), NEW, update())
    for each in (model, saved_and_loaded(model, tmp_path / "model")):
        assert {origin.part for origin in each.seen} == {"train", "valid"}
        with pytest.raises(ProtocolError, match="up to and including its valid part"):
            require_unseen(each.seen, SPLIT, "valid")
        require_unseen(each.seen, SPLIT, "test")


def saved_and_loaded(model, folder):
    model.save_pretrained(folder)
    return RecLoRA.from_pretrained(folder)


def test_an_update_that_breaks_off_leaves_the_model_as_it_was(model, monkeypatch):
    before, prior, bundle = weights_of(model), model.ranker.prior.copy(), model.bundle
    calls, forward = [], AnswerLoss.forward

    def broken(self, batch):
        calls.append(batch)
        return forward(self, batch) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(AnswerLoss, "forward", broken)
    with pytest.raises(TrainingError, match="the loss is nan"):
        update_experts(model, SPLIT.train_histories(include_valid=True), NEW, update())
    assert len(calls) == 3
    assert torch.equal(weights_of(model), before)
    np.testing.assert_array_equal(model.ranker.prior, prior)
    assert (model.bundle, len(model.seen)) == (bundle, 1)
    assert not model.ranker.lora.training


def test_what_cannot_be_learnt_is_refused_and_nothing_changes(model):
    train, before = SPLIT.train_histories(), weights_of(model)
    with pytest.raises(DataError, match="as new as 1000"):
        update_experts(model, train, 1_000)
    timeless = dataclasses.replace(train, times=None)
    with pytest.raises(DataError, match="events with a clock"):
        update_experts(model, timeless, NEW)
    with pytest.raises(ArtifactError, match="not fitted"):
        update_experts(make_model(model.config.base), train, NEW)
    assert torch.equal(weights_of(model), before)
