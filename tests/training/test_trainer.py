"""The training loop on a toy system: what it computes, and how it stops."""

import time

import numpy as np
import pytest
import torch
from toy_training import (
    ToyModel,
    ToySource,
    accuracy_of,
    fit,
    same_bits,
    scripted,
    without_seconds,
)

from llmrec.errors import ConfigError, DataError, TrainingError
from llmrec.training import TrainingConfig
from llmrec.training.seeds import epoch_generator
from llmrec.training.trainer import Trainer


def test_steps_are_those_of_a_loop_written_out():
    """Mean over all targets of a step, AdamW, decay on matrices only, warm-up, clipping."""
    settings = {"learning_rate": 0.05, "weight_decay": 0.1, "adam_beta2": 0.9, "seed": 4}
    settings |= {"warmup_steps": 3, "schedule": "linear", "clip_norm": 0.4, "epochs": 2}
    model, source = ToyModel(), ToySource()
    log = fit(model, source, batch_size=8, **settings)

    other = ToyModel()
    matrices = [p for p in other.parameters() if p.ndim == 2]
    vectors = [p for p in other.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1.0,
        betas=(0.9, 0.9),
    )
    rates = [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3]  # 3 steps of warm-up, then down to zero at step 6
    losses = []
    for epoch in range(2):
        order = epoch_generator(4, epoch).permutation(21)
        total = 0.0
        for step, rows in enumerate(np.array_split(order, 3)):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * rates[3 * epoch + step]
            batch = source.batch(rows, np.random.default_rng())
            loss = other(batch) / batch.n_targets
            total += loss.item() * batch.n_targets
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(other.parameters(), 0.4)
            optimizer.step()
        losses.append(total / sum(len(targets) for targets in source.targets))

    for name, value in other.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert [row["loss"] for row in log] == pytest.approx(losses, rel=1e-5)
    assert [row["step"] for row in log] == [3, 6]


def test_every_row_is_visited_once_per_epoch_in_a_new_order():
    visited = []
    fit(ToyModel(), ToySource(before=lambda rows: visited.append(rows.tolist())), epochs=2)
    assert [len(rows) for rows in visited] == [7, 7, 7] * 2  # as equal as possible, at most 8
    first, second = (np.concatenate(visited[part]).tolist() for part in (slice(3), slice(3, 6)))
    assert sorted(first) == sorted(second) == list(range(21))
    assert first != second


@pytest.mark.parametrize("accumulation", [2, 3, 50])
def test_accumulation_changes_nothing_but_rounding(accumulation):
    whole, parts = ToyModel(), ToyModel()
    log = fit(whole, learning_rate=0.02)
    again = fit(parts, learning_rate=0.02, accumulation=accumulation)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-6, atol=1e-6)
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in log], rel=1e-6)


def test_same_seed_same_bits_and_another_seed_other_bits():
    models = [ToyModel(dropout=0.3) for _ in range(3)]
    logs = [
        fit(model, ToySource(noise=0.1), seed=seed)
        for model, seed in zip(models, (5, 5, 6), strict=True)
    ]
    assert same_bits(models[0].weights(), models[1].weights())
    assert logs[0] == logs[1]
    assert not same_bits(models[0].weights(), models[2].weights())


def test_log_rows():
    model = ToyModel()
    trainer = Trainer(
        TrainingConfig(epochs=3, batch_size=21, metric="accuracy", validate_every=2),
        progress_bar=False,
    )
    log = trainer.fit(model, ToySource(), scripted(0.25, 0.5))
    assert without_seconds(log)[1:3] == [
        {"step": 2, "epoch": 2, "loss": log[1]["loss"], "learning_rate": 1e-3},
        {"step": 2, "epoch": 2, "valid": {"accuracy": 0.25}},
    ]
    assert [row["epoch"] for row in log] == [1, 2, 2, 3, 3]  # the last epoch is always validated
    seconds = [row["seconds"] for row in log]
    assert seconds == sorted(seconds)
    assert log[0]["loss"] > log[-2]["loss"] > 0


def test_early_stopping_puts_the_best_weights_back():
    model, snapshots = ToyModel(), []
    reported = iter([0.1, 0.05, 0.4, 0.3, 0.4, 0.2, 0.9])

    def validate():
        assert not model.training
        snapshots.append(model.weights())
        return {"accuracy": next(reported)}

    log = fit(model, validate=validate, epochs=7, patience=3)
    values = [row["valid"]["accuracy"] for row in log if "valid" in row]
    assert values == [0.1, 0.05, 0.4, 0.3, 0.4, 0.2]  # every new best starts the count again
    assert same_bits(model.weights(), snapshots[2])  # an equal value later is not better


def test_where_lower_is_better_the_lowest_is_best():
    model, snapshots = ToyModel(), []
    reported = iter([0.7, 0.5, 0.9, 0.6, 0.6])

    def validate():
        snapshots.append(model.weights())
        return {"logloss": next(reported)}

    log = fit(model, validate=validate, epochs=5, patience=3, metric="logloss")
    assert len([row for row in log if "valid" in row]) == 5
    assert same_bits(model.weights(), snapshots[1])


def test_no_epoch_begins_after_the_time_limit_and_the_last_one_is_validated():
    reported = iter([0.1, 0.2])

    def validate():
        return {"accuracy": next(reported)}

    limits = {"max_minutes": 1e-9, "epochs": 9, "validate_every": 4}
    log = fit(ToyModel(), validate=validate, **limits)
    assert [row["epoch"] for row in log] == [1, 1]
    assert log[-1]["valid"] == {"accuracy": 0.1}
    unlimited = fit(ToyModel(), **{**limits, "max_minutes": 10.0})
    assert len(unlimited) == 9


def test_weights_are_validated_though_the_time_ends_behind_an_epoch(monkeypatch):
    class Slow(ToyModel):
        def end_epoch(self):
            time.sleep(0.3)
            return {}

        def start_epoch(self, epoch):
            pass

    log = fit(Slow(), validate=lambda: {"accuracy": 0.5}, epochs=9, validate_every=5,
              max_minutes=0.1 / 60)  # fmt: skip
    assert log[-1]["valid"] == {"accuracy": 0.5}
    assert log[-1]["epoch"] < 9


def test_without_validation_the_last_weights_stay():
    short, long = ToyModel(), ToyModel()
    fit(short, epochs=1)
    fit(long, epochs=2)
    assert not same_bits(short.weights(), long.weights())


def test_missing_metric_is_a_sentence():
    with pytest.raises(
        TrainingError, match=r"does not report 'accuracy', only \['auc', 'ndcg@10'\]"
    ):
        fit(ToyModel(), validate=lambda: {"ndcg@10": 0.1, "auc": 0.5})


class TestBadLoss:
    """A loss that is not a number stops the training and leaves usable weights."""

    def train(self, model, validate, epochs=4, **settings):
        source = ToySource()
        seen = []

        def poison(rows):
            seen.append(rows)
            if len(seen) == 8:  # epoch 2 of 0, 1, 2; the second of its three steps
                source.features[rows[2]] = np.nan

        source.before = poison
        with pytest.raises(TrainingError) as caught:
            fit(model, source, validate, epochs=epochs, **settings)
        return str(caught.value), seen[7]

    def test_step_and_batch_are_named_and_the_best_weights_kept(self):
        model, snapshots = ToyModel(), []

        def validate():
            snapshots.append(model.weights())
            return {"accuracy": -len(snapshots)}  # the first is the best

        message, rows = self.train(model, validate)
        assert "the loss is nan at step 7 (epoch 2, batch 1, " in message
        assert f"first training row {rows[0]})" in message
        assert "the weights of epoch 1 are kept" in message
        assert "learning_rate" in message
        assert same_bits(model.weights(), snapshots[0])

    @pytest.mark.parametrize("average", [None, 0.5])
    def test_weights_that_give_no_numbers_are_not_kept(self, average):
        model, snapshots = ToyModel(), []

        def validate():
            snapshots.append(model.weights())
            if len(snapshots) == 3:
                raise DataError("the scores of user 'x' contain NaN.")
            return {"accuracy": -len(snapshots)}

        with pytest.raises(TrainingError) as caught:
            fit(model, validate=validate, epochs=5, average=average)
        message = str(caught.value)
        assert "after epoch 3 the model cannot be judged: the scores of user 'x'" in message
        assert "the weights of epoch 1 are kept" in message
        assert same_bits(model.weights(), snapshots[0])

    def test_without_validation_the_last_finite_weights_stay(self):
        model = ToyModel()
        message, _ = self.train(model, None)
        assert "no validated weights exist yet" in message
        assert all(torch.isfinite(value).all() for value in model.weights().values())

    def test_the_checkpoint_before_it_survives(self, tmp_path):
        self.train(ToyModel(), None, checkpoints=tmp_path)
        resumed, clean = ToyModel(), ToyModel()
        fit(resumed, checkpoints=tmp_path, resume=True, epochs=4)
        fit(clean, epochs=4)
        assert same_bits(resumed.weights(), clean.weights())


def test_bf16_computes_in_bf16_and_keeps_float32_weights():
    dtypes = set()
    model = ToyModel()
    model.layers[0].register_forward_hook(lambda _, __, output: dtypes.add(output.dtype))
    fit(model, precision="bf16")
    assert dtypes == {torch.bfloat16}
    assert all(value.dtype == torch.float32 for value in model.weights().values())


def test_trainings_of_different_precision_follow_each_other():
    losses = [fit(ToyModel(), precision=p)[-1]["loss"] for p in ("bf16", "float32", "bf16")]
    assert losses[0] == losses[2] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do fp16")
def test_fp16_without_a_gpu_is_refused():
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        fit(ToyModel(), precision="fp16")


def test_average_is_validated_and_kept():
    model = ToyModel()
    by_hand = {name: value.double() for name, value in model.weights().items()}
    steps = []
    source = ToySource(before=lambda _: steps.append(model.weights()))
    fit(model, source, epochs=4, batch_size=21, learning_rate=0.1, average=0.5)
    plain = ToyModel()
    fit(plain, ToySource(), epochs=4, batch_size=21, learning_rate=0.1)
    # weights after step n are those found before step n + 1; the last are the plain training's
    for step, weights in enumerate([*steps[1:], plain.weights()], 1):
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in weights.items():
            by_hand[name] = decay * by_hand[name] + (1 - decay) * value.double()
    for name, value in model.weights().items():
        torch.testing.assert_close(value.double(), by_hand[name], rtol=1e-5, atol=1e-6)

    validated = ToyModel()
    seen = []
    check = accuracy_of(validated)

    def validate():
        seen.append(validated.weights())
        return check()

    fit(validated, validate=validate, epochs=1, batch_size=21, learning_rate=0.1, average=0.5)
    assert same_bits(validated.weights(), seen[0])


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_a_launch_that_would_part_the_module_is_refused(monkeypatch, kind):
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    with pytest.raises(ConfigError, match=f"told to use {kind}, which the training loop does not"):
        fit(ToyModel())
