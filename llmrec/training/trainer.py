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
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from llmrec.errors import DataError, TrainingError
from llmrec.metric_direction import higher_is_better
from llmrec.training.allocator import keep_freed_memory
from llmrec.training.averaging import WeightAverage
from llmrec.training.batches import Batch, BatchSource
from llmrec.training.checkpoint import (
    Checkpoint,
    flatten_optimizer,
    load_latest,
    restore_optimizer,
    save_checkpoint,
)
from llmrec.training.config import TrainingConfig
from llmrec.training.epochs import EpochAware, lasting_state
from llmrec.training.order import epoch_order
from llmrec.training.progress import Progress, bad_loss, bad_weights, require_same_training
from llmrec.training.schedule import learning_rate_factor
from llmrec.training.seeds import generator_states, restore_generators, seed_everything
from llmrec.training.setup import make_accelerator, make_optimizer

Validate = Callable[[], Mapping[str, float]]


class Trainer:
    """Train a module on batches.

    Args:
        config: The settings.
        checkpoints: Directory for checkpoints; None keeps none.
        resume: Continue from the newest whole checkpoint in ``checkpoints``, if there is one.
        progress_bar: Show one bar; None shows it on a terminal only.
        model_settings: Plain values that say what is trained; a checkpoint made with others is
            refused.
    """

    def __init__(
        self,
        config: TrainingConfig,
        checkpoints: str | Path | None = None,
        resume: bool = False,
        progress_bar: bool | None = None,
        model_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.model_settings = dict(model_settings or {})
        self.checkpoints = None if checkpoints is None else Path(checkpoints)
        self.resume = resume
        self.progress_bar = sys.stderr.isatty() if progress_bar is None else progress_bar

    def fit(
        self, module: nn.Module, source: BatchSource, validate: Validate | None = None
    ) -> list[dict[str, Any]]:
        """Train ``module`` in place and leave it with its best weights (last without validation).

        Args:
            module: ``forward(batch)`` returns the summed loss, a scalar. It may be
                :class:`~llmrec.training.epochs.EpochAware`.
            source: Training rows.
            validate: Returns metrics, among them ``config.metric``, which improves as
                :func:`~llmrec.metric_direction.higher_is_better` says.

        Returns:
            The log: training and validation rows.

        Raises:
            ConfigError: The settings group rows by length, and rows have none.
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
        self.settings = {**self.config.model_dump(mode="json"), "model": trainer.model_settings}
        self.checkpoints = trainer.checkpoints
        self.source, self.validate = source, validate
        skips = bool(getattr(module, "skips_parameters", False))
        self.accelerator = make_accelerator(self.config, skips)
        if self.config.report_to:
            self.accelerator.init_trackers("llmrec", config=self.config.model_dump())
        self.module = module
        optimizer = make_optimizer(module, self.config)
        self.model, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.progress = Progress(rows=len(source))
        decay = self.config.average
        self.average = None if decay is None else WeightAverage(module, decay)
        self.best_weights: dict[str, torch.Tensor] = {}
        self.steps_per_epoch = max(1, math.ceil(len(source) / self.config.batch_size))
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
            while self._goes_on():
                self._run_epoch(started)
            log = self.progress.log
            if self.validate is not None and log and "valid" not in log[-1]:
                self._run_validation(self.validate, started)  # the time ended after an epoch
        if self.best_weights:
            self.module.load_state_dict(self.best_weights, strict=False)
        elif self.average is not None:
            self.average.settle()
        if self.config.report_to:
            self.accelerator.end_training()
        return self.progress.log

    def _goes_on(self) -> bool:
        progress, config = self.progress, self.config
        if progress.epoch >= config.epochs or progress.stale >= config.patience:
            return False
        return not self._is_late()

    def _is_late(self) -> bool:
        """Whether the time is over; the first process decides for all."""
        limit = self.config.max_minutes
        if limit is None:
            return False
        late = self.accelerator.is_main_process and self.progress.seconds >= 60 * limit
        return self._sum_over_processes(float(late)) > 0

    def _run_epoch(self, started: float) -> None:
        progress = self.progress
        if isinstance(self.module, EpochAware) and not progress.step_in_epoch:
            self.module.start_epoch(progress.epoch)
        self.model.train()
        for rows, generator in self._row_groups():
            loss, count = self._step(rows, generator)
            progress.loss += loss * count
            progress.n_targets += count
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
        loss = progress.loss / max(progress.n_targets, 1)
        figures = self.module.end_epoch() if isinstance(self.module, EpochAware) else {}
        self._log({"loss": loss, "learning_rate": self._rate(), **figures})
        progress.loss, progress.n_targets = 0.0, 0
        if self.validate is not None and self._is_due(self.config.validate_every):
            self._run_validation(self.validate, started)
        progress.seconds = time.perf_counter() - started
        if self._is_due(self.config.checkpoint_every):
            self._save()

    def _is_due(self, every: int) -> bool:
        epoch = self.progress.epoch
        return epoch % every == 0 or epoch == self.config.epochs or self._is_late()

    def _row_groups(self) -> Iterator[tuple[npt.NDArray[np.int64], np.random.Generator]]:
        """The rest of this epoch's steps: global row groups, each with its own generator."""
        epoch, seed, steps = self.progress.epoch, self.config.seed, self.steps_per_epoch
        groups = epoch_order(self.source, steps, seed, epoch, self.config.group_by_length)
        for index in range(self.progress.step_in_epoch, steps):
            yield groups[index], np.random.default_rng([seed, epoch, index])

    def _step(
        self, rows: npt.NDArray[np.int64], generator: np.random.Generator
    ) -> tuple[float, int]:
        """One optimiser step; returns the mean loss and the number of targets."""
        accelerator, config = self.accelerator, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        world = accelerator.num_processes
        batches = self._micro_batches(rows, generator)
        n_targets = self._sum_over_processes(sum(b.n_targets for b, counts in batches if counts))
        total = 0.0
        for batch, counts in batches:
            # DDP averages gradients over processes; the factor turns that into a sum.
            loss = self.model(batch) * (counts * world / max(n_targets, 1))
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

    def _micro_batches(
        self, rows: npt.NDArray[np.int64], generator: np.random.Generator
    ) -> list[tuple[Batch, bool]]:
        """This process's batches of a step, each with whether it counts.

        Every backward pass sums gradients over the processes, so all must make equally many: one
        that has run out of rows takes part with a batch that does not count.
        """
        world, process = self.accelerator.num_processes, self.accelerator.process_index
        parts = np.array_split(rows, self.config.accumulation * world)[process::world]
        if world == 1:
            parts = [part for part in parts if part.size]
        else:  # processes draw different dropout, and the same again after a resume
            progress = self.progress
            where = [self.config.seed, progress.epoch, progress.step_in_epoch, process]
            torch.manual_seed(int(np.random.SeedSequence(where).generate_state(1)[0]))
        device = self.accelerator.device
        chosen = [(part, True) if part.size else (rows[:1], False) for part in parts]
        return [(self.source.batch(p, generator).to(device), counts) for p, counts in chosen]

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
        raise bad_loss(self.progress, loss, int(rows[0]), self._put_best_back())

    def _put_best_back(self) -> str:
        """Leave the module with its best weights, and a sentence on which these are."""
        if not self.best_weights:
            return "no validated weights exist yet"
        self.module.load_state_dict(self.best_weights, strict=False)
        return f"the weights of epoch {self.progress.best_epoch} are kept"

    def _run_validation(self, validate: Validate, started: float) -> None:
        self.model.eval()
        try:
            with self.average.in_place() if self.average is not None else nullcontext():
                metrics = self._validated(validate)
                candidate = lasting_state(self.module)
        except DataError as error:  # the weights give no numbers
            raise bad_weights(self.progress, error, self._put_best_back()) from error
        if self.config.metric not in metrics:
            raise TrainingError(
                f"validation does not report {self.config.metric!r}, only {sorted(metrics)}; "
                "set training.metric to one of them."
            )
        self.progress.seconds = time.perf_counter() - started
        self._log({"valid": metrics})
        value = metrics[self.config.metric]
        if self.progress.note(value if higher_is_better(self.config.metric) else -value):
            self.best_weights = candidate
        self.bar.set_postfix({self.config.metric: f"{value:.4f}"})

    def _validated(self, validate: Validate) -> dict[str, float]:
        """The main process's figures; others judge only where their help is needed."""
        found: list[Any] = [None]
        together = getattr(self.module, "needs_all_processes", False)
        if self.accelerator.is_main_process or together:
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
        scaler = self.accelerator.scaler  # of fp16's loss
        scale = None if scaler is None else scaler.state_dict()
        weights = {name: t.detach().cpu() for name, t in self.module.state_dict().items()}
        save_checkpoint(
            self.checkpoints,
            Checkpoint(
                {**self.progress.to_json(), "config": self.settings, "scaler": scale},
                weights,
                flatten_optimizer(optimizer),
                self.best_weights,
                {} if self.average is None else self.average.state(),
                generator_states(),
            ),
        )

    def _restore(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            return
        values = dict(checkpoint.progress)
        require_same_training(values, self.settings, len(self.source))
        values.pop("config")
        scale = values.pop("scaler", None)
        if scale and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(scale)
        self.progress = Progress.from_json(values)
        try:
            self.module.load_state_dict(checkpoint.weights)
        except RuntimeError as error:
            raise TrainingError(
                f"the checkpoint is of another model; train without resume. {error}"
            ) from None
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        restore_optimizer(optimizer, checkpoint.optimizer)
        self.best_weights = checkpoint.best
        if self.average is not None:
            self.average.load(checkpoint.average)
        restore_generators(checkpoint.generators)
