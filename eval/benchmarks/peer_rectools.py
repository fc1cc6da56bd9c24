"""Time RecTools' SASRec: one epoch, the ranking of the catalogue, or training for a given time.

Runs inside the peers' environment. The setting is RecTools' own for the softmax loss: no
validation in the epoch, no progress bar, no logger, no checkpoint, batches made in the main
process (on two cores a worker would only take time from the model).
"""

import time
import warnings
from typing import Any

import pandas as pd
import peer_io
import task_io
import torch
from peer_io import Clock
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from setting import Setting


class ClockCallback(Callback):
    """Lets a clock follow a Lightning training loop and end it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock with the first epoch."""
        if trainer.current_epoch == 0:
            self.clock.start()

    def on_train_batch_end(self, trainer: Trainer, *unused: Any) -> None:
        """Count a batch."""
        self.clock.tick()
        trainer.should_stop = self.clock.is_over

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time at the end of an epoch."""
        self.clock.stop()


def make_trainer(
    epochs: int, max_batches: int | None, seconds: float | None, precision: str
) -> Trainer:
    """A Lightning trainer that does nothing but train."""
    return Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        callbacks=[ClockCallback(Clock(max_batches, seconds))],
    )


def make_model(
    setting: Setting, epochs: int, max_batches: int | None, seconds: float | None
) -> SASRecModel:
    """RecTools' SASRec in the common setting; its feed-forward width is the model's width."""
    return SASRecModel(
        n_blocks=setting.blocks,
        n_heads=setting.heads,
        n_factors=setting.dimension,
        dropout_rate=setting.dropout,
        session_max_len=setting.length,
        loss="softmax",
        lr=setting.learning_rate,
        batch_size=setting.batch_size,
        dataloader_num_workers=0,
        recommend_torch_device="cpu",
        get_trainer_func=make_trainer,
        get_trainer_func_kwargs={
            "epochs": epochs,
            "max_batches": max_batches,
            "seconds": seconds,
            "precision": setting.precision,
        },
    )


def as_dataset(events: pd.DataFrame) -> Dataset:
    """Events as a RecTools data set; a position in the history serves as the time."""
    frame = pd.DataFrame(
        {
            Columns.User: events["user"],
            Columns.Item: events["item"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2014-01-01")
            + pd.to_timedelta(events["position"], unit="s"),
        }
    )
    return Dataset.construct(frame)


def fit(
    setting: Setting,
    events: pd.DataFrame,
    epochs: int = 1,
    max_batches: int | None = None,
    seconds: float | None = None,
) -> tuple[SASRecModel, dict[str, Any]]:
    """Train on the training part and report time and work."""
    train = events[events["part"] == peer_io.TRAIN]
    model = make_model(setting, epochs, max_batches, seconds)
    model.fit(as_dataset(train))
    clock = next(c.clock for c in model.fit_trainer.callbacks if isinstance(c, ClockCallback))
    lengths = train.groupby("user").size()
    lengths = lengths[lengths >= 2]
    share = clock.batches / -(-len(lengths) // setting.batch_size)
    report = {
        "seconds": clock.seconds,
        "batches": clock.batches,
        "epochs": share,
        "sequences_per_epoch": len(lengths),
        "targets_per_epoch": int((lengths - 1).clip(upper=setting.length).sum()),
        "positions_per_epoch": len(lengths) * setting.length,
        "scored_positions_per_epoch": len(lengths) * setting.length,
        "items": len(model.data_preparator.get_known_item_ids()),
    }
    return model, report


def recommend(
    model: SASRecModel, setting: Setting, events: pd.DataFrame, part: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Top-k lists for every user, seen items left out; the data set is made before the clock."""
    inputs = peer_io.inputs_of(events, part)
    dataset = as_dataset(inputs)
    users = inputs["user"].unique()
    started = time.perf_counter()
    lists = model.recommend(users, dataset, k=setting.k, filter_viewed=True)
    seconds = time.perf_counter() - started
    report = {
        "seconds": seconds,
        "users": len(users),
        "items": len(model.data_preparator.get_known_item_ids()),
        "positions": len(users) * setting.length,
        "seen_filtered": True,
    }
    return lists, report


def main() -> None:
    """Run one task and write its JSON."""
    arguments = task_io.parse_arguments(__doc__ or "")
    setting: Setting = arguments.setting
    peer_io.limit_threads(setting)
    warnings.filterwarnings("ignore")
    seed_everything(setting.seed, verbose=False)
    events = peer_io.read_events(arguments.data)
    result: dict[str, Any] = {"task": arguments.task, "name": "RecTools"}
    if arguments.task == "epoch":
        _, result["epoch"] = fit(setting, events, max_batches=arguments.max_batches)
    elif arguments.task == "recommend":
        model, _ = fit(setting, events, max_batches=1)
        _, result["recommend"] = recommend(model, setting, events, arguments.part)
    else:
        model, result["train"] = fit(setting, events, epochs=10_000, seconds=arguments.seconds)
        lists, result["recommend"] = recommend(model, setting, events, arguments.part)
        names = {Columns.User: "user", Columns.Item: "item"}
        lists.rename(columns=names).to_parquet(arguments.lists, index=False)
    result["setting"] = {
        **setting.as_dict(),
        "threads": torch.get_num_threads(),
        "loss": "softmax",
        "training_unit": "sequence, every position a target, padded to the maximum length",
        "dataloader_workers": 0,
        "validation_in_epoch": False,
        "optimizer": "Adam, betas .9 and .98",
    }
    task_io.write_result(arguments.out, result, ["RecTools", "pytorch-lightning"])


if __name__ == "__main__":
    main()
