"""A training that was interrupted and resumed equals one that was not, bit for bit."""

import numpy as np
import pytest
import torch
from toy_training import ToyModel, ToySource, accuracy_of, fit, same_bits, scripted

from llmrec.errors import TrainingError
from llmrec.training.checkpoint import load_latest
from llmrec.training.setup import make_accelerator

SETTINGS = {"epochs": 5, "seed": 2, "learning_rate": 0.05, "patience": 50, "accumulation": 2}


class Killed(BaseException):
    """Ends a training from inside, as a kill would: nothing catches it."""


def killer(calls):
    """Raises at the given number of calls."""
    left = iter(range(1, calls + 1))

    def before(_):
        if next(left) == calls:
            raise Killed

    return before


def train(checkpoints=None, resume=False, before=None, **settings):
    model = ToyModel(dropout=0.3)
    source = ToySource(noise=0.1, before=before)
    log = fit(model, source, accuracy_of(model), checkpoints, resume, **{**SETTINGS, **settings})
    return model.weights(), log


@pytest.fixture(scope="module")
def uninterrupted():
    return train(), train(average=0.9)


def assert_equal(found, expected):
    assert same_bits(found[0], expected[0])
    assert found[1] == expected[1]


def test_the_scale_of_a_loss_in_fp16_is_gone_on_with(tmp_path, monkeypatch):
    """It doubles at each of the three steps of an epoch here."""

    def scaled(config, skips_parameters):
        made = make_accelerator(config, skips_parameters)
        made.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
        return made

    monkeypatch.setattr("llmrec.training.trainer.make_accelerator", scaled)
    train(tmp_path, epochs=2)
    assert load_latest(tmp_path).progress["scaler"]["scale"] == 4 * 2**6
    train(tmp_path, resume=True, epochs=4)
    assert load_latest(tmp_path).progress["scaler"]["scale"] == 4 * 2**12


@pytest.mark.parametrize("done", [1, 3, 5])
def test_more_epochs_later(done, uninterrupted, tmp_path):
    train(tmp_path, epochs=done)
    assert_equal(train(tmp_path, resume=True), uninterrupted[0])


@pytest.mark.parametrize("steps", [None, 1, 2])
def test_killed_inside_an_epoch(steps, uninterrupted, tmp_path):
    # 21 rows make 3 steps of 2 micro-batches: the 17th batch is in the last step of epoch 2
    with pytest.raises(Killed):
        train(tmp_path, before=killer(17), checkpoint_steps=steps)
    reached = load_latest(tmp_path).progress
    assert (reached["epoch"], reached["step_in_epoch"]) == (2, {None: 0, 1: 2, 2: 2}[steps])
    assert_equal(train(tmp_path, resume=True, checkpoint_steps=steps), uninterrupted[0])


def test_killed_twice_with_an_average_of_the_weights(uninterrupted, tmp_path):
    for calls in (9, 8):
        with pytest.raises(Killed):
            train(tmp_path, True, before=killer(calls), average=0.9, checkpoint_steps=1)
    assert_equal(train(tmp_path, True, average=0.9), uninterrupted[1])
    assert not same_bits(uninterrupted[0][0], uninterrupted[1][0])


def test_patience_goes_on_counting(tmp_path):
    settings = {"patience": 3, "validate_every": 1}
    fit(ToyModel(), None, scripted(0.5, 0.1), tmp_path, epochs=2, **settings)
    model = ToyModel()
    log = fit(model, None, scripted(0.2, 0.1, 0.9), tmp_path, True, epochs=9, **settings)
    assert [row["valid"]["accuracy"] for row in log if "valid" in row] == [0.5, 0.1, 0.2, 0.1]
    best = ToyModel()
    fit(best, epochs=1)
    assert same_bits(model.weights(), best.weights())


def test_a_finished_training_is_not_trained_again(uninterrupted, tmp_path):
    train(tmp_path)
    assert_equal(train(tmp_path, resume=True, before=killer(1)), uninterrupted[0])


def test_nothing_to_resume_from_starts_at_the_beginning(uninterrupted, tmp_path):
    assert_equal(train(tmp_path / "empty", resume=True), uninterrupted[0])


def test_half_written_checkpoint_is_passed_over_and_replaced(uninterrupted, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, before=killer(17))
    newest = sorted(tmp_path.iterdir())[-1]
    (newest / "manifest.json").unlink()
    assert_equal(train(tmp_path, resume=True), uninterrupted[0])
    assert load_latest(tmp_path).progress["epoch"] == 5


def test_truncated_tensors_are_passed_over(uninterrupted, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, before=killer(17))
    weights = sorted(tmp_path.iterdir())[-1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert load_latest(tmp_path).progress["epoch"] == 1
    assert_equal(train(tmp_path, resume=True), uninterrupted[0])


def test_starting_anew_in_a_used_folder_does_not_mix_trainings(uninterrupted, tmp_path):
    train(tmp_path, seed=9)
    with pytest.raises(Killed):
        train(tmp_path, before=killer(9))  # without resume
    assert load_latest(tmp_path).progress["config"]["seed"] == 2
    assert_equal(train(tmp_path, resume=True), uninterrupted[0])


class TestRefusals:
    """A checkpoint of another training is not continued."""

    @pytest.fixture
    def folder(self, tmp_path):
        train(tmp_path / "checkpoints", epochs=1)
        return tmp_path / "checkpoints"

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"batch_size": 4}, r"other settings \(batch_size 8 -> 4\)"),
            ({"learning_rate": 0.1}, r"learning_rate 0\.05 -> 0\.1"),
            ({"seed": 3, "schedule": "cosine"}, r"schedule constant -> cosine, seed 2 -> 3"),
        ],
    )
    def test_other_settings(self, folder, settings, sentence):
        with pytest.raises(TrainingError, match=sentence):
            train(folder, resume=True, **settings)

    def test_other_data(self, folder):
        model = ToyModel()
        with pytest.raises(TrainingError, match="training rows 21 -> 22"):
            fit(model, ToySource(22), accuracy_of(model), folder, True, **SETTINGS)

    def test_another_model(self, folder):
        model = ToyModel(width=16)
        before = model.weights()
        with pytest.raises(TrainingError, match="checkpoint is of another model"):
            fit(model, ToySource(), accuracy_of(model), folder, True, **SETTINGS)
        assert before["layers.0.weight"].shape == model.weights()["layers.0.weight"].shape

    @pytest.mark.parametrize("free", [{"patience": 7}, {"checkpoint_every": 2}])
    def test_what_may_change(self, folder, free):
        _, log = train(folder, resume=True, epochs=2, **free)
        assert [row["epoch"] for row in log] == [1, 1, 2, 2]
        assert np.isfinite(log[-2]["loss"])
