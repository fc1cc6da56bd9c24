"""The one training loop.

A system hands over a module whose ``forward(batch)`` returns the *sum* of its losses over the
batch's targets, and a source of batches. The loop divides by the number of targets of the whole
optimiser step, over all micro-batches and processes, so neither accumulation nor the number of
processes changes the result beyond rounding. Resuming from a checkpoint continues bit for bit on
the same machine with the same number of threads. The loop does not know what is trained.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from llmrec.errors import TrainingError
from llmrec.training.allocator import keep_freed_memory
from llmrec.training.averaging import WeightAverage
from llmrec.training.checkpoint import (
    Checkpoint,
    flatten_optimizer,
    load_latest,
    restore_optimizer,
    save_checkpoint,
)
from llmrec.training.config import TrainingConfig
from llmrec.training.progress import Progress
from llmrec.training.schedule import learning_rate_factor
from llmrec.training.seeds import epoch_generator, seed_everything

Validate = Callable[[], Mapping[str, float]]
_PRECISION = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


class Batch(Protocol):
    """What a module's ``forward`` takes."""

    @property
    def n_targets(self) -> int:
        """Number of loss terms in the batch."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        ...


class BatchSource(Protocol):
    """Training rows that can be fetched as batches in any order."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> Batch:
        """Collate rows; ``generator`` is for whatever is drawn per batch."""
        ...


class Trainer:
    """Train a module on batches.

    Args:
        config: The settings.
        checkpoints: Directory for checkpoints; None keeps none.
        resume: Continue from the newest whole checkpoint in ``checkpoints``, if there is one.
        progress_bar: Show one bar; None shows it on a terminal only.
    """

    def __init__(
        self,
        config: TrainingConfig,
        checkpoints: str | Path | None = None,
        resume: bool = False,
        progress_bar: bool | None = None,
    ) -> None:
        self.config = config
        self.checkpoints = None if checkpoints is None else Path(checkpoints)
        self.resume = resume
        self.progress_bar = sys.stderr.isatty() if progress_bar is None else progress_bar

    def fit(
        self, module: nn.Module, source: BatchSource, validate: Validate | None = None
    ) -> list[dict[str, Any]]:
        """Train ``module`` in place and leave it with its best weights (last without validation).

        Args:
            module: ``forward(batch)`` returns the summed loss, a scalar.
            source: Training rows.
            validate: Returns metrics, among them ``config.metric``; larger is better.

        Returns:
            The log: training and validation rows.

        Raises:
            TrainingError: The loss is not finite (the best weights so far are put back), or
                ``validate`` does not return ``config.metric``.
        """
        seed_everything(self.config.seed)
        keep_freed_memory()
        return _Loop(self, module, source, validate).run()


class _Loop:
    """The state of one call of :meth:`Trainer.fit`."""

    def __init__(
        self, trainer: Trainer, module: nn.Module, source: BatchSource, validate: Validate | None
    ) -> None:
        self.config = trainer.config
        self.checkpoints = trainer.checkpoints
        self.source = source
        self.validate = validate
        self.accelerator = Accelerator(
            mixed_precision=_PRECISION[self.config.precision],
            log_with=list(self.config.report_to) or None,
        )
        if self.config.report_to:
            self.accelerator.init_trackers("llmrec", config=self.config.model_dump())
        self.module = module
        optimizer = _make_optimizer(module, self.config)
        self.model, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.progress = Progress()
        decay = self.config.average
        self.average = None if decay is None else WeightAverage(module, decay)
        self.best_weights: dict[str, torch.Tensor] = {}
        per_step = max(1, self.config.batch_size)
        self.steps_per_epoch = max(1, math.ceil(len(source) / per_step))
        if trainer.resume and self.checkpoints is not None:
            self._restore(load_latest(self.checkpoints))
        show = trainer.progress_bar and self.accelerator.is_main_process
        self.bar = tqdm(
            total=self.config.epochs * self.steps_per_epoch,
            initial=self.progress.step,
            disable=not show,
            unit="step",
        )

    def run(self) -> list[dict[str, Any]]:
        started = time.perf_counter() - self.progress.seconds
        with self.bar:
            while self.progress.epoch < self.config.epochs and not self._is_stale():
                self._run_epoch(started)
        if self.best_weights:
            self.module.load_state_dict(self.best_weights)
        elif self.average is not None:
            self.average.settle()
        if self.config.report_to:
            self.accelerator.end_training()
        return self.progress.log

    def _is_stale(self) -> bool:
        return self.progress.stale >= self.config.patience

    def _run_epoch(self, started: float) -> None:
        progress = self.progress
        self.model.train()
        total, n_targets = 0.0, 0
        for rows, generator in self._row_groups():
            loss, count = self._step(rows, generator)
            total += loss * count
            n_targets += count
            progress.step += 1
            progress.step_in_epoch += 1
            if self.average is not None:
                self.average.update(progress.step)
            self.bar.update()
            every = self.config.checkpoint_steps
            if every and progress.step % every == 0:
                progress.seconds = time.perf_counter() - started
                self._save()
        progress.epoch += 1
        progress.step_in_epoch = 0
        progress.seconds = time.perf_counter() - started
        self._log({"loss": total / max(n_targets, 1), "learning_rate": self._rate()})
        if self.validate is not None and self._is_due(self.config.validate_every):
            self._run_validation(self.validate, started)
        progress.seconds = time.perf_counter() - started
        if self._is_due(self.config.checkpoint_every):
            self._save()

    def _is_due(self, every: int) -> bool:
        return self.progress.epoch % every == 0 or self.progress.epoch == self.config.epochs

    def _row_groups(self) -> Iterator[tuple[npt.NDArray[np.int64], np.random.Generator]]:
        """The rest of this epoch's steps: global row groups, each with its own generator."""
        epoch, seed = self.progress.epoch, self.config.seed
        order = epoch_generator(seed, epoch).permutation(len(self.source))
        groups = np.array_split(order, self.steps_per_epoch)
        for index in range(self.progress.step_in_epoch, self.steps_per_epoch):
            yield groups[index], np.random.default_rng([seed, epoch, index])

    def _step(
        self, rows: npt.NDArray[np.int64], generator: np.random.Generator
    ) -> tuple[float, int]:
        """One optimiser step; returns the mean loss and the number of targets."""
        accelerator, config = self.accelerator, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        world, process = accelerator.num_processes, accelerator.process_index
        parts = np.array_split(rows, config.accumulation * world)
        mine = [part for part in parts[process::world] if part.size]
        batches = [self.source.batch(part, generator).to(accelerator.device) for part in mine]
        n_targets = self._sum_over_processes(sum(batch.n_targets for batch in batches))
        total = 0.0
        for batch in batches:
            # DDP averages gradients over processes; the factor turns that into a sum.
            loss = self.model(batch) * (world / max(n_targets, 1))
            accelerator.backward(loss)
            total += float(loss.detach())
        mean = self._sum_over_processes(total) / world
        if not math.isfinite(mean):
            self._stop_on_bad_loss(mean, rows)
        if config.clip_norm is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return mean, int(n_targets)

    def _rate(self) -> float:
        total = self.config.epochs * self.steps_per_epoch
        return self.config.learning_rate * learning_rate_factor(
            self.progress.step, total, self.config.warmup_steps, self.config.schedule
        )

    def _sum_over_processes(self, value: float) -> float:
        if self.accelerator.num_processes == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(tensor, reduction="sum"))

    def _stop_on_bad_loss(self, loss: float, rows: npt.NDArray[np.int64]) -> None:
        if self.best_weights:
            self.module.load_state_dict(self.best_weights)
        kept = (
            f"the weights of epoch {self.progress.best_epoch} are kept"
            if (self.best_weights)
            else "no validated weights exist yet"
        )
        raise TrainingError(
            f"the loss is {loss} at step {self.progress.step} (epoch {self.progress.epoch}, batch "
            f"{self.progress.step_in_epoch}, first training row {rows[0]}); {kept}. "
            "Lower learning_rate, set clip_norm, or check the batch for extreme values."
        )

    def _run_validation(self, validate: Validate, started: float) -> None:
        self.model.eval()
        with self.average.in_place() if self.average is not None else nullcontext():
            metrics = self._validate_on_main(validate)
            weights = self.module.state_dict()
            candidate = {name: t.detach().cpu().clone() for name, t in weights.items()}
        if self.config.metric not in metrics:
            raise TrainingError(
                f"validation does not report {self.config.metric!r}, only {sorted(metrics)}; "
                "set training.metric to one of them."
            )
        self.progress.seconds = time.perf_counter() - started
        self._log({"valid": metrics})
        value = metrics[self.config.metric]
        if value > self.progress.best:
            self.progress.best, self.progress.best_epoch = value, self.progress.epoch
            self.progress.stale = 0
            self.best_weights = candidate
        else:
            self.progress.stale += 1
        self.bar.set_postfix({self.config.metric: f"{value:.4f}"})

    def _validate_on_main(self, validate: Validate) -> dict[str, float]:
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            with torch.inference_mode():
                found = [{name: float(value) for name, value in validate().items()}]
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast_object_list(found)
        return dict(found[0])

    def _log(self, values: dict[str, Any]) -> None:
        progress = self.progress
        row = {"step": progress.step, "epoch": progress.epoch, **values}
        row["seconds"] = round(progress.seconds, 3)
        progress.log.append(row)
        if self.config.report_to:
            flat = {k: v for k, v in values.items() if isinstance(v, float)}
            nested = {f"valid/{k}": v for k, v in values.get("valid", {}).items()}
            self.accelerator.log(flat | nested, step=progress.step)

    def _save(self) -> None:
        if self.checkpoints is None or not self.accelerator.is_main_process:
            return
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        generators = {"torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state()
        weights = {name: t.detach().cpu() for name, t in self.module.state_dict().items()}
        save_checkpoint(
            self.checkpoints,
            Checkpoint(
                {**self.progress.to_json(), "config": self.config.model_dump(mode="json")},
                weights,
                flatten_optimizer(optimizer),
                self.best_weights,
                {} if self.average is None else self.average.state(),
                generators,
            ),
        )

    def _restore(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        values = dict(checkpoint.progress)
        _require_same_settings(values.pop("config"), self.config)
        self.progress = Progress.from_json(values)
        self.module.load_state_dict(checkpoint.weights)
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        restore_optimizer(optimizer, checkpoint.optimizer)
        self.best_weights = checkpoint.best
        if self.average is not None:
            self.average.load(checkpoint.average)
        torch.set_rng_state(checkpoint.generators["torch"])
        if "cuda" in checkpoint.generators and torch.cuda.is_available():
            torch.cuda.set_rng_state(checkpoint.generators["cuda"])


def _make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, norms) are not decayed."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        fused=True,
    )


def _require_same_settings(saved: Mapping[str, Any], config: TrainingConfig) -> None:
    """Only the number of epochs, the patience and reporting may change on resume."""
    free = {"epochs", "patience", "report_to", "checkpoint_every", "checkpoint_steps"}
    now = config.model_dump(mode="json")
    changed = sorted(name for name in now if name not in free and now[name] != saved.get(name))
    if changed:
        details = ", ".join(f"{name} {saved.get(name)} -> {now[name]}" for name in changed)
        raise TrainingError(
            f"the checkpoint was made with other settings ({details}); "
            "use those again, or train without resume."
        )
