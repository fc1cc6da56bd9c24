"""What the loop tells a module about epochs, and what it forgets of it."""

import pytest
import torch
from toy_training import ToyModel, ToySource, fit, same_bits, scripted

from llmrec.training.checkpoint import load_latest
from llmrec.training.epochs import EpochAware, lasting_state


class Killed(BaseException):
    """Ends a training from inside, as a kill would."""


def killer(calls):
    """Raises when that many batches have been asked for."""
    left = iter(range(1, calls + 1))

    def before(_):
        if next(left) == calls:
            raise Killed

    return before


class Counting(ToyModel):
    """Counts its steps in a buffer, writes a diary of epochs, and reports a figure."""

    def __init__(self, dropout=0.0):
        super().__init__(dropout)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("drawn", torch.zeros(3))
        self.scratch_state = frozenset({"steps", "drawn"})
        self.diary = []

    def start_epoch(self, epoch):
        self.diary.append(("start", epoch, self.training))
        self.steps.zero_()
        self.drawn.normal_()  # of torch's generator: part of what resuming must repeat

    def forward(self, batch):
        self.steps += 1
        return super().forward(batch) * (1 + 0.1 * self.drawn.tanh().sum() ** 2)

    def end_epoch(self):
        self.diary.append(("end", int(self.steps), self.training))
        return {"steps": float(self.steps), "drawn": float(self.drawn.sum())}


def test_called_around_every_epoch_and_logged():
    model = Counting()
    log = fit(model, epochs=3)
    assert [entry[:2] for entry in model.diary] == [
        ("start", 0), ("end", 3), ("start", 1), ("end", 3), ("start", 2), ("end", 3)
    ]  # fmt: skip
    assert [row["steps"] for row in log] == [3.0, 3.0, 3.0]
    assert len({row["drawn"] for row in log}) == 3
    assert all({"loss", "learning_rate"} < row.keys() for row in log)


def test_modules_need_not_know_about_epochs():
    assert not isinstance(ToyModel(), EpochAware)
    assert isinstance(Counting(), EpochAware)
    assert fit(ToyModel())[0].keys() == {"step", "epoch", "loss", "learning_rate"}


def test_the_module_trains_during_steps_whatever_start_epoch_did():
    class Evaluating(Counting):
        def start_epoch(self, epoch):
            self.eval()

        def forward(self, batch):
            assert self.training
            return super().forward(batch)

    fit(Evaluating(), validate=scripted(0.1, 0.2))


def test_lasting_state_is_a_copy_without_scratch():
    model = Counting()
    found = lasting_state(model)
    assert found.keys() == ToyModel().state_dict().keys()
    assert lasting_state(ToyModel()).keys() == found.keys()
    name = next(iter(found))
    before = found[name].clone()
    with torch.no_grad():
        model.get_parameter(name).add_(1)
    assert torch.equal(found[name], before)


def test_best_weights_come_back_and_scratch_stays_as_the_last_step_left_it():
    model, best = Counting(), Counting()
    fit(model, validate=scripted(0.9, 0.1, 0.2), epochs=3)
    fit(best, epochs=1)
    assert same_bits(lasting_state(model), lasting_state(best))
    assert not torch.equal(model.drawn, best.drawn)
    assert model.steps == 3


def test_checkpoints_hold_scratch_and_best_weights_do_not(tmp_path):
    fit(Counting(), validate=scripted(0.9, 0.1), checkpoints=tmp_path)
    found = load_latest(tmp_path)
    assert {"steps", "drawn"} <= found.weights.keys()
    assert found.best.keys() == ToyModel().state_dict().keys()


@pytest.mark.parametrize("calls", [3, 4, 5, 6, 7])
def test_resumed_inside_an_epoch_it_does_not_start_again(calls, tmp_path):
    straight = Counting(dropout=0.3)
    log = fit(straight, epochs=3)
    settings = {"epochs": 3, "checkpoint_steps": 1}
    with pytest.raises(Killed):
        fit(Counting(0.3), ToySource(before=killer(calls)), None, tmp_path, **settings)
    resumed = Counting(0.3)
    assert fit(resumed, None, None, tmp_path, True, **settings) == log
    assert same_bits(resumed.weights(), straight.weights())
    started = [epoch for kind, epoch, _ in resumed.diary if kind == "start"]
    finished = (calls - 1) // 3  # whole epochs of three batches, before the call that was fatal
    inside = (calls - 1) % 3 > 0
    assert started == list(range(finished + inside, 3))
