"""Training: equal to SASRec without objectives, the bank, and resuming bit for bit."""

import numpy as np
import pytest
import torch
from small_sra_cl import (
    SMALL,
    model_of,
    parts_of,
    random_histories,
    without_seconds,
)
from torch.nn import functional

from llmrec.data.splits import Cases
from llmrec.errors import TrainingError
from llmrec.recommenders.sasrec import SASRec
from llmrec.recommenders.sra_cl.bank import StateBank, encode_events
from llmrec.recommenders.sra_cl.batches import ContrastWindows
from llmrec.recommenders.sra_cl.contrast import info_nce
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.objective import Step
from llmrec.training.checkpoint import load_latest
from llmrec.training.trainer import Trainer

TRAIN = random_histories([7, 3, 12, 5, 2, 9, 4, 6, 1, 8], seed=4)
VALID = Cases(TRAIN, (TRAIN.items[TRAIN.offsets[:-1]]).copy(), np.arange(len(TRAIN) + 1), "valid")
EVENTS = TrainingEvents.of(TRAIN)
OFF = {"alpha": 0.0, "beta": 0.0}


def same_bits(left, right):
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


class TestWithoutObjectives:
    """All weights at 0 is SASRec: weights and log, bit for bit."""

    def fit(self, cls, **options):
        options = {"dropout": 0.3, "attention_dropout": 0.2, **options}
        kept = {name: options.pop(name) for name in ("alpha", "beta") if name in options}
        model = cls(
            **SMALL, **options, **(kept if cls is not SASRec else {}),
            training={"epochs": 4, "batch_size": 3, "accumulation": 2, "average": 0.9},
        )  # fmt: skip
        model.fit(TRAIN, VALID)
        return model

    @pytest.mark.parametrize(
        "options",
        [{}, {"targets": "prefix"}, {"loss": "sampled", "negatives": 5, "norm": "pre"}],
        ids=str,
    )
    def test_equals_sasrec(self, options):
        from llmrec.recommenders.sra_cl import SRACL

        plain, ours = self.fit(SASRec, **options), self.fit(SRACL, **OFF, **options)
        assert same_bits(ours.encoder.state_dict(), plain.encoder.state_dict())
        assert without_seconds(ours.log) == without_seconds(plain.log)
        assert any("valid" in row for row in ours.log)

    @pytest.mark.parametrize(
        "weight", [{"alpha": 0.1}, {"beta": 0.1}, {"coarse_intent": 0.1}, {"fine_intent": 0.1}]
    )
    def test_each_objective_makes_a_difference_after_the_warm_up(self, weight):
        plain = model_of(TRAIN, **OFF).fit(TRAIN)
        ours = model_of(TRAIN, **{**OFF, **weight}).fit(TRAIN)
        losses = [[row["loss"] for row in model.log] for model in (plain, ours)]
        # dropout draws are equal in the first epoch: nothing else is drawn while contrasts wait
        assert losses[0][1] != losses[1][1]
        assert not same_bits(ours.encoder.state_dict(), plain.encoder.state_dict())
        name = {"alpha": "inter_user", "beta": "intra_user"}.get(*weight, *weight)
        assert [f"loss_{name}" in row for row in ours.log] == [False, True, True]


def test_the_loss_is_the_sum_of_its_terms_per_target():
    options = {"alpha": 0.3, "beta": 0.7, "coarse_intent": 0.2, "temperature": 0.5}
    model = model_of(TRAIN, dropout=0.0, synthesis_dropout=0.0, warmup_epochs=0, **options)
    module, source = parts_of(model, TRAIN)
    module.start_epoch(0)
    module.train()
    batch = source.batch(np.arange(5), np.random.default_rng(0))
    base = batch.base
    encoder = module.next_item.encoder
    states = encoder(base.items, base.rows)
    step = Step(encoder, base, states, batch.anchors, batch.anchors.alike())
    parts = [
        info_nce(each(step, drawn), 0.5)
        for each, drawn in zip(module.objectives, batch.drawn, strict=True)
    ]
    mean = 0.3 * parts[0] + 0.7 * parts[1] + 0.2 * parts[2]
    expected = module.next_item(base) + base.n_targets * mean
    torch.testing.assert_close(module(batch), expected)
    figures = module.end_epoch()
    names = ["loss_inter_user", "loss_intra_user", "loss_coarse_intent"]
    assert [figures[name] for name in names] == pytest.approx([p.item() for p in parts], rel=1e-5)


class TestBank:
    """The rows of a step's targets, and nothing else, are rewritten after the step."""

    def step(self, bank, epoch=1, train=True, **options):
        settings = {"dropout": 0.0, "warmup_epochs": 0, "neighbor_bank": bank, **OFF}
        model = model_of(TRAIN, **{**settings, "alpha": 0.5, **options})
        module, source = parts_of(model, TRAIN)
        module.train(train)
        module.start_epoch(epoch)
        with torch.no_grad():
            module.bank.states.normal_(generator=torch.manual_seed(0))
        before = module.bank.states.clone()
        batch = source.batch(np.array([0, 3, 5]), np.random.default_rng(0))
        module(batch).backward()
        return module, batch.base, before

    def test_write_through(self):
        module, base, before = self.step("write_through")
        rows = base.events[base.learn_at]
        with torch.no_grad():
            states = module.next_item.encoder(base.items, base.rows)[base.learn_at]
        expected = before.clone()
        for row, state in zip(rows.tolist(), states, strict=True):
            expected[row] = state
        assert torch.equal(module.bank.states, expected)
        assert not torch.equal(expected, before)
        rows_and_targets = TRAIN.items[rows.numpy() + 1]
        np.testing.assert_array_equal(rows_and_targets, base.targets)  # row t precedes target t

    def test_no_gradient_reaches_it(self):
        module, *_ = self.step("write_through")
        assert not module.bank.states.requires_grad
        assert module.bank.states.grad is None
        assert module.bank.read(torch.tensor([1, 2])).grad_fn is None
        assert "bank.states" not in dict(module.named_parameters())
        assert all(p.grad is not None for p in module.parameters())

    @pytest.mark.parametrize(("bank", "train"), [("refresh", True), ("write_through", False)])
    def test_stays_as_it_is(self, bank, train):
        module, _, before = self.step(bank, train=train)
        assert torch.equal(module.bank.states, before)

    def test_momentum(self):
        options = {"bank_momentum": 0.75, "dropout": 0.4}
        model = model_of(TRAIN, neighbor_bank="momentum", warmup_epochs=0, **options)
        module, source = parts_of(model, TRAIN)
        module.start_epoch(0)
        module.train()
        encoder, slow = module.next_item.encoder, module.slow.encoder
        first = {name: p.detach().clone() for name, p in encoder.named_parameters()}
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(torch.randn_like(parameter))
        batch = source.batch(np.array([0, 3]), np.random.default_rng(0))
        module(batch)
        for name, parameter in slow.named_parameters():
            expected = 0.75 * first[name] + 0.25 * dict(encoder.named_parameters())[name]
            torch.testing.assert_close(parameter, expected.detach())
            assert not parameter.requires_grad
        assert slow.training  # its mode is restored, yet its states are without dropout
        base = batch.base
        states = slow.eval()(base.items, base.rows)[base.learn_at]
        written = module.bank.states[base.events[base.learn_at]]
        torch.testing.assert_close(written, states)

    def test_refreshed_every_so_many_epochs_after_the_warm_up(self):
        model = model_of(TRAIN, neighbor_bank="refresh", refresh_every=2, warmup_epochs=1)
        module, _ = parts_of(model, TRAIN)
        encoder = module.next_item.encoder
        refreshed, logged = [], []
        for epoch in range(6):
            with torch.no_grad():
                encoder.items.weight.normal_(generator=torch.manual_seed(epoch))
            before = module.bank.states.clone()
            module.start_epoch(epoch)
            fresh = encode_events(encoder, EVENTS, SMALL["max_length"])
            assert torch.equal(module.bank.states, fresh) or torch.equal(module.bank.states, before)
            refreshed.append(torch.equal(module.bank.states, fresh))
            figures = module.end_epoch()
            logged.append("bank_freshness" in figures)
            if logged[-1]:
                expected = functional.cosine_similarity(before, fresh).mean().item()
                assert figures["bank_freshness"] == pytest.approx(expected, rel=1e-4)
                assert abs(expected) < 0.99
        assert refreshed == [False, True, False, True, False, True]
        assert logged == [False, False, False, True, False, True]  # nothing to compare at first

    def test_freshness_is_a_mean_over_a_fixed_sample(self):
        old, new = torch.randn(2, 3000, 4, generator=torch.manual_seed(2)).unbind()
        bank = StateBank(3000, 4)
        bank.refresh(old)
        cosines = [functional.cosine_similarity(old[r], new[r], dim=0) for r in range(0, 3000, 2)]
        assert bank.refresh(new) == pytest.approx(torch.stack(cosines).mean().item(), rel=1e-4)
        assert bank.refresh(new) == pytest.approx(1.0)
        assert torch.equal(bank.states, new)

    def test_without_readers_there_is_no_bank(self):
        for options in ({**OFF, "beta": 0.1}, {"neighbor_bank": "none"}, {**OFF}):
            module, _ = parts_of(model_of(TRAIN, **options), TRAIN)
            assert module.bank is None
            assert module.slow is None


class Killed(BaseException):
    """Ends a training from inside, as a kill would."""


class TestResume:
    """An interrupted training continues bit for bit, with all that it remembers."""

    OPTIONS = {  # noqa: RUF012  # a constant
        "write_through": {"coarse_intent": 0.2, "fine_intent": 0.2},
        "momentum": {"bank_momentum": 0.9, "fine_intent": 0.1, "refresh_every": 2},
        "none": {"views": 2, "encode_again": True},
    }
    STEPS = 5  # of an epoch: 9 users with a target in 13 windows, 3 a step
    VALUES = (0.1, 0.5, 0.3, 0.2)  # of validation: the second epoch is the best

    def train(self, bank, folder=None, resume=False):
        training = {"epochs": 4, "batch_size": 3, "checkpoint_steps": 1, "average": 0.8}
        model = model_of(
            TRAIN, neighbor_bank=bank, dropout=0.3, training=training, **self.OPTIONS[bank]
        )
        module, source = parts_of(model, TRAIN)
        values = iter(self.VALUES[load_latest(folder).progress["epoch"] if resume else 0 :])
        trainer = Trainer(model.config.training, folder, resume)
        log = trainer.fit(module, source, lambda: {"ndcg@10": next(values)})
        return module.state_dict(), without_seconds(log)

    @pytest.mark.parametrize("bank", OPTIONS)
    @pytest.mark.parametrize("step", [2, 8])
    def test_killed(self, bank, step, tmp_path, monkeypatch):
        straight, log = self.train(bank)
        with monkeypatch.context() as patch:
            real, calls = ContrastWindows.batch, iter(range(100))

            def batch(self, rows, generator):
                if next(calls) == step:
                    raise Killed
                return real(self, rows, generator)

            patch.setattr(ContrastWindows, "batch", batch)
            with pytest.raises(Killed):
                self.train(bank, tmp_path)
        reached = load_latest(tmp_path).progress
        assert (reached["epoch"], reached["step"]) == (step // self.STEPS, step)
        resumed, again = self.train(bank, tmp_path, resume=True)
        assert same_bits(resumed, straight)
        assert again == log
        kept = {"write_through": {"bank.states", "objectives.3.centroids"}, "none": {"sums"}}
        assert kept.get(bank, {"slow.encoder.items.weight"}) <= resumed.keys()

    def test_best_weights_hold_what_lasts_and_checkpoints_all(self, tmp_path):
        self.train("momentum", tmp_path)
        found = load_latest(tmp_path)
        scratch = {name for name in found.weights if not name.startswith("next_item.")}
        lasting = {name for name in scratch if "synthesis" in name}
        assert lasting
        assert {"bank.states", "sums", "epoch", "objectives.2.centroids"} < scratch
        assert found.best.keys() == found.weights.keys() - (scratch - lasting)


def test_the_papers_settings_train():
    model = model_of(
        TRAIN, paper_compat=True, training={"epochs": 2, "metric": "mrr@10"}, max_length=5
    ).fit(TRAIN, VALID)
    losses = [row for row in model.log if "loss" in row]
    assert all({"loss_inter_user", "loss_intra_user"} <= row.keys() for row in losses)
    assert all(0 <= row["valid"]["mrr@10"] <= 1 for row in model.log if "valid" in row)
    assert "bank_freshness" not in losses[-1]


@pytest.mark.parametrize("attention", ["gat_v1", "gat_v2", "bilinear", "cosine"])
def test_every_attention_trains(attention):
    training = {"epochs": 8, "batch_size": 16, "learning_rate": 1e-2}
    model = model_of(TRAIN, attention=attention, dropout=0.0, training=training).fit(TRAIN)
    first, last = model.log[1], model.log[-1]
    assert np.isfinite([last["loss_inter_user"], last["loss_intra_user"]]).all()
    assert last["loss"] < first["loss"]
    assert 0.5 < last["bank_freshness"] <= 1.0001


@pytest.mark.parametrize("weight", ["alpha", "beta", "coarse_intent", "fine_intent"])
def test_a_larger_weight_brings_pairs_closer(weight):
    """Against a training in which the objective is computed but hardly counts."""
    training = {"epochs": 12, "batch_size": 16, "learning_rate": 1e-2}
    losses = []
    for value in (1e-9, 3.0):
        model = model_of(TRAIN, dropout=0.0, training=training, **{**OFF, weight: value})
        (name,) = (key for key in model.fit(TRAIN).log[-1] if key.startswith("loss_"))
        losses.append(model.log[-1][name])
    assert losses[1] < losses[0]


def test_a_training_with_other_contrasts_is_not_resumed(tmp_path):
    settings = {"training": {"epochs": 1}, "checkpoints": tmp_path}
    model_of(TRAIN, alpha=0.1, **settings).fit(TRAIN)
    with pytest.raises(TrainingError, match=r"other settings \(alpha 0\.1 -> 0\.2\)"):
        model_of(TRAIN, alpha=0.2, resume=True, **settings).fit(TRAIN)
