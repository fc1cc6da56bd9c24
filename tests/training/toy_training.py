"""A system small enough to check a training loop on: rows with one to three targets each."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from llmrec.training import TrainingConfig
from llmrec.training.trainer import Trainer

CLASSES = 3


@dataclass
class ToyBatch:
    features: torch.Tensor
    targets: torch.Tensor

    @property
    def n_targets(self):
        return len(self.targets)

    def to(self, device):
        return ToyBatch(self.features.to(device), self.targets.to(device))


class ToySource:
    """Rows of four features; ``noise`` is drawn per batch; ``before`` is called with the rows."""

    def __init__(self, n=21, noise=0.0, before=None):
        rng = np.random.default_rng(3)
        self.features = rng.normal(size=(n, 4)).astype(np.float32)
        self.targets = [rng.integers(0, CLASSES, 1 + row % 3) for row in range(n)]
        self.noise = noise
        self.before = before

    def __len__(self):
        return len(self.features)

    def batch(self, rows, generator):
        if self.before is not None:
            self.before(rows)
        counts = [len(self.targets[row]) for row in rows]
        features = np.repeat(self.features[rows], counts, axis=0)
        features = features + self.noise * generator.normal(size=features.shape)
        targets = np.concatenate([self.targets[row] for row in rows])
        return ToyBatch(torch.from_numpy(features.astype(np.float32)), torch.from_numpy(targets))


class ToyModel(nn.Module):
    def __init__(self, dropout=0.0, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, CLASSES)
        )

    def forward(self, batch):
        return functional.cross_entropy(self.layers(batch.features), batch.targets, reduction="sum")

    def weights(self):
        return {name: value.detach().clone() for name, value in self.state_dict().items()}


def fit(model, source=None, validate=None, checkpoints=None, resume=False, **settings):
    """Train with small defaults; returns the log without times."""
    settings = {"epochs": 2, "batch_size": 8, "metric": "accuracy", **settings}
    trainer = Trainer(TrainingConfig(**settings), checkpoints, resume, progress_bar=False)
    return without_seconds(trainer.fit(model, source or ToySource(), validate))


def without_seconds(log):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log]


def accuracy_of(model):
    """A validation on fixed rows, which are not those of the training."""
    rng = np.random.default_rng(9)
    features = torch.from_numpy(rng.normal(size=(40, 4)).astype(np.float32))
    targets = torch.from_numpy(rng.integers(0, CLASSES, 40))
    return lambda: {"accuracy": (model.layers(features).argmax(1) == targets).float().mean()}


def scripted(*values):
    """A validation that reports the values given, one after another."""
    left = iter(values)
    return lambda: {"accuracy": next(left)}


def same_bits(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
