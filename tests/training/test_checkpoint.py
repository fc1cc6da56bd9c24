"""Checkpoints are whole or absent, whatever happens while they are written."""

import json
import os
import resource
import signal

import pytest
import torch
from toy_training import ToyModel

from llmrec.errors import ArtifactError, StorageError
from llmrec.training import checkpoint as module
from llmrec.training.checkpoint import (
    Checkpoint,
    flatten_optimizer,
    load_checkpoint,
    load_latest,
    restore_optimizer,
    save_checkpoint,
)


def make(step):
    torch.manual_seed(step)
    return Checkpoint(
        progress={"step": step, "best": None, "log": [{"loss": 0.1 + 0.2}]},
        weights={"w": torch.randn(3, 2), "n": torch.tensor(7)},
        optimizer={"0.step": torch.tensor(3.0), "0.exp_avg": torch.randn(3, 2).T},
        best={},
        average={"w": torch.randn(3, 2)},
        generators={"torch": torch.get_rng_state()},
    )


def steps(folder):
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path):
    before = make(5)
    path = save_checkpoint(tmp_path, before)
    assert path == tmp_path / "step-000000005"
    after = load_checkpoint(path)
    assert after.progress == before.progress
    for name in ("weights", "optimizer", "best", "average", "generators"):
        left, right = getattr(before, name), getattr(after, name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


def test_nothing_is_pickled(tmp_path):
    save_checkpoint(tmp_path, make(1))
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}


def test_the_newest_are_kept(tmp_path):
    for step in (1, 2, 30, 100):
        save_checkpoint(tmp_path, make(step), keep=2)
    assert steps(tmp_path) == ["step-000000030", "step-000000100"]
    assert load_latest(tmp_path).progress["step"] == 100
    save_checkpoint(tmp_path, make(101), keep=1)
    assert steps(tmp_path) == ["step-000000101"]


def test_later_steps_of_an_abandoned_training_do_not_win(tmp_path):
    save_checkpoint(tmp_path, make(50))
    save_checkpoint(tmp_path, make(10))
    assert load_latest(tmp_path).progress["step"] == 10
    save_checkpoint(tmp_path, make(11))
    assert steps(tmp_path) == ["step-000000010", "step-000000011"]


def test_none_yet(tmp_path):
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "nowhere") is None


DAMAGE = {
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "half a manifest": lambda path: (path / "manifest.json").write_text('{"format": 1, "prog'),
    "a manifest of something else": lambda path: (path / "manifest.json").write_text("[]"),
    "a manifest without hashes": lambda path: (path / "manifest.json").write_text('{"format": 1}'),
    "a missing file": lambda path: (path / "best.safetensors").unlink(),
    "a truncated file": lambda path: os.truncate(path / "weights.safetensors", 60),
    "an empty file": lambda path: os.truncate(path / "optimizer.safetensors", 0),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_ones_are_refused_and_the_last_whole_one_is_taken(tmp_path, damage):
    save_checkpoint(tmp_path, make(1))
    newest = save_checkpoint(tmp_path, make(2))
    damage(newest)
    with pytest.raises(ArtifactError, match="step-000000002"):
        load_checkpoint(newest)
    assert load_latest(tmp_path).progress["step"] == 1
    save_checkpoint(tmp_path, make(2))
    assert load_latest(tmp_path).progress["step"] == 2


def test_unknown_format_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, make(1))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 7}))
    with pytest.raises(ArtifactError, match="checkpoint format 7 is not"):
        load_checkpoint(path)


def fail_at_file(monkeypatch, number, action):
    """Do something in the middle of the ``number``-th file of a save."""
    real, calls = module.save_file, []

    def save_file(tensors, path):
        calls.append(path)
        if len(calls) == number:
            path.write_bytes(b"half")
            action()
        real(tensors, path)

    monkeypatch.setattr(module, "save_file", save_file)


def disk_full():
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("number", [1, 3])
def test_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, number):
    save_checkpoint(tmp_path, make(1))
    fail_at_file(monkeypatch, number, disk_full)
    for step in (1, 2):  # over the earlier one, and beside it
        with pytest.raises(StorageError, match="No space left"):
            save_checkpoint(tmp_path, make(step))
        monkeypatch.undo()
        assert steps(tmp_path) == ["step-000000001"]
        assert load_latest(tmp_path).progress["step"] == 1
        fail_at_file(monkeypatch, number, disk_full)


def in_child(action):
    """Run in a forked process; returns its wait status."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(9)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("number", [1, 4])
def test_kill_during_a_save_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, number):
    save_checkpoint(tmp_path, make(1))
    fail_at_file(monkeypatch, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
    second = make(2)
    status = in_child(lambda: save_checkpoint(tmp_path, second))
    assert os.WIFSIGNALED(status)
    monkeypatch.undo()
    assert load_latest(tmp_path).progress["step"] == 1
    save_checkpoint(tmp_path, second)
    assert load_latest(tmp_path).progress["step"] == 2


def test_a_real_write_error_leaves_the_earlier_checkpoint(tmp_path):
    """The system itself refuses to write more than a few bytes."""
    save_checkpoint(tmp_path, make(1))
    large = make(2)
    large.weights["w"] = torch.zeros(100_000)

    def save():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        try:
            save_checkpoint(tmp_path, large)
        except StorageError:
            os._exit(0)

    status = in_child(save)
    assert os.waitstatus_to_exitcode(status) == 0
    assert steps(tmp_path) == ["step-000000001"]
    assert load_latest(tmp_path).progress["step"] == 1


def test_optimizer_state_round_trip():
    def step(model, optimizer, seed):
        torch.manual_seed(seed)
        model.layers(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    models = [ToyModel(), ToyModel()]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1, fused=True) for model in models]
    step(models[0], optimizers[0], 1)
    models[1].load_state_dict(models[0].state_dict())
    restore_optimizer(optimizers[1], flatten_optimizer(optimizers[0]))
    for model, optimizer in zip(models, optimizers, strict=True):
        step(model, optimizer, 2)
    for left, right in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(left, right)
