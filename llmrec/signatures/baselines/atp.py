"""Baselines that see the token really there alone: its log-probability and rank (ATP + R).

The Transformer is LOS-Net without the K values, at the same width. The perceptron reads the first
100 positions as one flat row, with batch normalisation, as in the paper; it is judged in evaluation
mode, dropout off, where the authors' code leaves it on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.data.ragged import position_of_each, row_of_each
from llmrec.evaluation.metrics.pairs import auc
from llmrec.inference.signature import FLOOR
from llmrec.signatures.baselines.base import Arrays, Baseline, Labels, Records, Values
from llmrec.signatures.los_net.columns import columns_of
from llmrec.signatures.los_net.config import Task, make_config
from llmrec.signatures.los_net.model import LOSNet
from llmrec.training.config import TrainingConfig
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Trainer

_POSITIONS = 100
_WIDTH = 128
_DROPOUT = 0.3


def atp_transformer(
    task: Task = "correctness", seed: int = 0, training: Mapping[str, Any] | None = None
) -> LOSNet:
    """LOS-Net that reads the actual token's log-probability and rank alone.

    Args:
        task: What risk means.
        seed: Of the training.
        training: Changed training settings.
    """
    options: dict[str, Any] = {
        "task": task,
        "k": 1,
        "reads": "actual",
        "normaliser": "none",
        "extra_channels": False,
        "random_k": True,  # any number of columns will do: none is read
        "training": {**(training or {}), "seed": seed},
    }
    return LOSNet(make_config(options))


class AtpPerceptron(Baseline):
    """A perceptron over the first 100 positions.

    Args:
        task: As in :class:`~llmrec.signatures.baselines.base.Baseline`, like ``seed``.
        seed: Likewise.
        training: Changed training settings.
    """

    name = "atp_mlp"
    uses_seed = True

    def __init__(
        self, task: Task = "correctness", seed: int = 0, training: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(task, seed)
        defaults = {"learning_rate": 1e-3, "weight_decay": 1e-3, "schedule": "linear"}
        stop = {"epochs": 100, "patience": 10, "batch_size": 128, "metric": "auc"}
        self._training = TrainingConfig(**{**defaults, **stop, **(training or {}), "seed": seed})

    def _fit(self, records: Records, labels: Labels, held: Records, held_labels: Labels) -> None:
        seed_everything(self.seed)
        network = _Perceptron()
        source = _Rows(flat_rows(records), labels)
        held_rows = flat_rows(held)

        def validate() -> dict[str, float]:
            return {"auc": auc(held_labels, _run(network, held_rows))}

        Trainer(self._training, progress_bar=None).fit(_Loss(network), source, validate)
        self._network = network.eval()

    def _logits(self, records: Records) -> Values:
        return _run(self._network, flat_rows(records)).astype(np.float64)

    def _state(self) -> tuple[dict[str, Any], Arrays]:
        weights = self._network.state_dict().items()
        return {}, {name: tensor.cpu().numpy() for name, tensor in weights}

    def _restore(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        self._network = _Perceptron().eval()
        self._network.load_state_dict({name: torch.from_numpy(v) for name, v in arrays.items()})


def flat_rows(records: Records) -> npt.NDArray[np.float32]:
    """Log-probability, log of 1 + rank and presence at the first 100 positions: ``[n, 300]``."""
    columns = columns_of(records, 1)
    rows, place = row_of_each(columns.offsets), position_of_each(columns.offsets)
    kept = place < _POSITIONS
    grid = np.zeros((len(columns), 3, _POSITIONS), dtype=np.float32)
    where = (rows[kept], place[kept])
    known = np.nan_to_num(np.maximum(columns.actual, FLOOR))
    grid[where[0], 0, where[1]] = known[kept]
    grid[where[0], 1, where[1]] = np.log1p(columns.rank[kept])
    grid[where[0], 2, where[1]] = 1.0
    return grid.reshape(len(columns), -1)


class _Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in (3 * _POSITIONS, _WIDTH):
            layers += [nn.Linear(size, _WIDTH), nn.BatchNorm1d(_WIDTH), nn.ReLU()]
            layers.append(nn.Dropout(_DROPOUT))
        self.layers = nn.Sequential(*layers, nn.Linear(_WIDTH, 1))

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.layers(rows).squeeze(-1)
        return logits


class _Loss(nn.Module):
    def __init__(self, network: _Perceptron) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: "_Batch") -> Tensor:
        logits = self.network(batch.rows).float()
        return functional.binary_cross_entropy_with_logits(logits, batch.labels, reduction="sum")


@dataclass(frozen=True)
class _Batch:
    rows: Tensor
    labels: Tensor

    @property
    def n_targets(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Self:
        return type(self)(self.rows.to(device), self.labels.to(device))


class _Rows:
    """Rows that can be fetched as batches; a last row alone is joined by another one."""

    def __init__(self, rows: npt.NDArray[np.float32], labels: Labels) -> None:
        self._rows, self._labels = rows, labels

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.ones(len(self), dtype=np.int64)

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> _Batch:
        if rows.size == 1:  # batch normalisation needs two
            rows = np.append(rows, generator.integers(len(self)))
        return _Batch(torch.from_numpy(self._rows[rows]), torch.from_numpy(self._labels[rows]))


@torch.inference_mode()
def _run(network: _Perceptron, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    device = next(network.parameters()).device
    network.eval()
    found: npt.NDArray[np.float32] = (
        network(torch.from_numpy(rows).to(device)).float().cpu().numpy()
    )
    return found
