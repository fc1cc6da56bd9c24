"""Where a training run stands, as JSON values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmrec.errors import TrainingError


@dataclass
class Progress:
    """Where training stands; JSON values only, stored in every checkpoint."""

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    rows: int = 0  # training rows of an epoch
    loss: float = 0.0  # summed over the targets of the epoch under way
    n_targets: int = 0  # of the epoch under way
    best: float = -math.inf  # of the metric, negative where lower is better
    best_epoch: int = -1
    stale: int = 0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)

    def note(self, goodness: float) -> bool:
        """Count a validation; whether it is better than all before it."""
        if not goodness > self.best:
            self.stale += 1
            return False
        self.best, self.best_epoch, self.stale = goodness, self.epoch, 0
        return True

    def to_json(self) -> dict[str, Any]:
        """The fields, with None for a best metric that does not exist yet."""
        values = dict(self.__dict__)
        values["best"] = None if math.isinf(self.best) else self.best
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        """Inverse of :meth:`to_json`."""
        best = values["best"]
        return cls(**{**values, "best": -math.inf if best is None else best})


def bad_loss(progress: Progress, loss: float, row: int, kept: str) -> TrainingError:
    """For a loss that is no number.

    Args:
        progress: Where.
        loss: It.
        row: The first training row of the batch.
        kept: Which weights the module has now.
    """
    return TrainingError(
        f"the loss is {loss} at step {progress.step} (epoch {progress.epoch}, batch "
        f"{progress.step_in_epoch}, first training row {row}); {kept}. "
        "Lower learning_rate, set clip_norm, or check the batch for extreme values."
    )


def bad_weights(progress: Progress, error: Exception, kept: str) -> TrainingError:
    """For weights that give no numbers; arguments as for :func:`bad_loss`."""
    return TrainingError(
        f"after epoch {progress.epoch} the model cannot be judged: {error} Of this training "
        f"{kept}. Lower learning_rate, or set clip_norm."
    )


def require_same_training(saved: Mapping[str, Any], now: Mapping[str, Any], rows: int) -> None:
    """Refuse to continue a training with other settings or other data.

    Only the number of epochs, the time limit, the patience, checkpoints and reporting may change on
    resume.

    Args:
        saved: The progress in a checkpoint, with the settings under ``config``.
        now: The settings now, those of the model under ``model``.
        rows: Training rows of an epoch now.

    Raises:
        TrainingError: Something differs; the message names it with both values.
    """
    free = {
        "epochs",
        "max_minutes",
        "patience",
        "report_to",
        "checkpoint_every",
        "checkpoint_steps",
    }
    details = _changes({**saved["config"], "model": {}}, {**now, "model": {}}, free)
    details += _changes(saved["config"].get("model", {}), now["model"], set())
    if rows != saved["rows"]:
        details.append(f"training rows {saved['rows']} -> {rows}")
    if details:
        raise TrainingError(
            f"the checkpoint was made with other settings ({', '.join(details)}); "
            "use those again, or train without resume."
        )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], free: set[str]) -> list[str]:
    """What differs, by name with both values."""
    names = sorted((before.keys() | now.keys()) - free)
    return [f"{n} {before.get(n)} -> {now.get(n)}" for n in names if before.get(n) != now.get(n)]
