"""Time RecBole's SASRec: one epoch, the full-sort evaluation, or training for a given time.

Runs inside the peers' environment. RecBole covers all targets by making every prefix of a history
a training row of its own (its default), padded to the maximum length; the loss is the full softmax
(``loss_type: CE``). Its evaluation of sequential models ranks the whole catalogue and does not
leave out seen items, which is less work than ours.

RecBole's own training and evaluation loops run unchanged. Two things are done around them:

- no checkpoint is written or read: ``evaluate(load_best_model=False)``. RecBole 1.2.1 reads
  checkpoints with ``torch.load`` without ``weights_only=False``, which fails from torch 2.6 on;
- an epoch is ended early by an exception from the loss function, so that a time budget or a smoke
  run goes through RecBole's loop and not through a copy of it.
"""

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peer_io
import task_io
import torch
from peer_io import Clock
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed
from setting import Setting

NAME = "events"


class BudgetOver(Exception):
    """The clock says that training is to stop."""


def write_atomic(events: pd.DataFrame, folder: Path) -> None:
    """Write the events as a RecBole atomic file; the position serves as the time."""
    table = events.rename(
        columns={"user": "user_id:token", "item": "item_id:token", "position": "timestamp:float"}
    ).drop(columns="part")
    (folder / NAME).mkdir()
    table.to_csv(folder / NAME / f"{NAME}.inter", sep="\t", index=False)


def make_config(setting: Setting, folder: Path, eval_batch_size: int) -> Config:
    """RecBole's configuration for the common setting; all else is its default."""
    values = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": setting.length,
        "hidden_size": setting.dimension,
        "inner_size": setting.dimension,
        "n_layers": setting.blocks,
        "n_heads": setting.heads,
        "hidden_dropout_prob": setting.dropout,
        "attn_dropout_prob": setting.dropout,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "learning_rate": setting.learning_rate,
        "train_batch_size": setting.batch_size,
        "eval_batch_size": eval_batch_size,
        "enable_amp": setting.precision == "bf16",
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "full",
        },
        "metrics": ["NDCG"],
        "topk": [setting.k],
        "valid_metric": f"NDCG@{setting.k}",
        "use_gpu": False,
        "worker": 0,
        "show_progress": False,
        "seed": setting.seed,
        "reproducibility": False,
        "state": "ERROR",
    }
    return Config(model="SASRec", dataset=NAME, config_dict=values)


class Session:
    """A prepared RecBole run: data loaders, model and trainer.

    Args:
        setting: The common setting.
        events: All events; RecBole makes the same leave-one-out split itself.
        folder: Where RecBole may write.
        eval_batch_size: Users that RecBole evaluates at once. Its default is 4096; 256 was nearly
            four times faster on two cores, so that is what it is judged by.
    """

    def __init__(
        self, setting: Setting, events: pd.DataFrame, folder: Path, eval_batch_size: int
    ) -> None:
        write_atomic(events, folder)
        self.events = events
        self.config = make_config(setting, folder, eval_batch_size)
        init_seed(setting.seed, self.config["reproducibility"])
        self.train, self.valid, self.test = data_preparation(
            self.config, create_dataset(self.config)
        )
        expected = int((events[events["part"] == peer_io.TRAIN].groupby("user").size() - 1).sum())
        if len(self.train._dataset) != expected:
            raise SystemExit(
                f"RecBole has {len(self.train._dataset)} training targets, our split {expected}; "
                "the two would not do the same work."
            )
        self.model = SASRec(self.config, self.train._dataset)
        self.trainer = Trainer(self.config, self.model)

    def fit(
        self, epochs: int = 1, max_batches: int | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        """Run RecBole's training loop and report time and work."""
        clock = Clock(max_batches, seconds)
        clock.start()
        try:
            for epoch in range(epochs):
                self.trainer._train_epoch(self.train, epoch, loss_func=self._counted(clock))
        except BudgetOver:
            pass
        clock.stop()
        rows = len(self.train._dataset)
        length = self.config["MAX_ITEM_LIST_LENGTH"]
        return {
            "seconds": clock.seconds,
            "batches": clock.batches,
            "epochs": clock.batches / len(self.train),
            "sequences_per_epoch": rows,
            "targets_per_epoch": rows,
            "positions_per_epoch": rows * length,
            "scored_positions_per_epoch": rows,
            "items": self.model.n_items - 1,
        }

    def _counted(self, clock: Clock) -> Callable[[Any], torch.Tensor]:
        """The model's loss; a batch is counted when the next one begins."""
        first = clock.batches == 0

        def loss(interaction: Any) -> torch.Tensor:
            nonlocal first
            if not first:
                clock.tick()
            first = False
            if clock.is_over:
                raise BudgetOver
            return self.model.calculate_loss(interaction)

        return loss

    def evaluate(self, part: str) -> dict[str, Any]:
        """Time RecBole's full-sort evaluation."""
        loader = self.valid if part == "valid" else self.test
        started = time.perf_counter()
        result = self.trainer.evaluate(loader, load_best_model=False, show_progress=False)
        seconds = time.perf_counter() - started
        users = len(loader._dataset)
        return {
            "seconds": seconds,
            "users": users,
            "items": self.model.n_items - 1,
            "positions": users * self.config["MAX_ITEM_LIST_LENGTH"],
            "seen_filtered": False,
            "own_metrics": {name: float(value) for name, value in result.items()},
        }

    @torch.no_grad()
    def lists(self, part: str, k: int) -> pd.DataFrame:
        """Top-k lists with seen items left out, for our evaluation; not timed."""
        self.model.eval()
        dataset, loader = self.train._dataset, self.valid if part == "valid" else self.test
        known_users = dataset.field2token_id[dataset.uid_field]
        known_items = dataset.field2token_id[dataset.iid_field]
        inputs = peer_io.inputs_of(self.events, part)
        seen = pd.DataFrame(
            {
                "user": inputs["user"].astype(str).map(known_users),
                "item": inputs["item"].astype(str).map(known_items),
            }
        ).set_index("user")["item"]
        frames = []
        for interaction, *_ in loader:
            users = interaction[dataset.uid_field].numpy()
            scores = self.model.full_sort_predict(interaction)
            scores[:, 0] = -np.inf
            rows = pd.Series(np.arange(len(users)), index=users)
            taken = seen[seen.index.isin(users)]
            scores[rows.loc[taken.index].to_numpy(), taken.to_numpy()] = -np.inf
            best = scores.topk(k, dim=1)
            frames.append(self._as_frame(users, best.indices.numpy(), best.values.numpy()))
        return pd.concat(frames, ignore_index=True)

    def _as_frame(self, users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
        dataset, k = self.train._dataset, items.shape[1]
        user_ids = dataset.id2token(dataset.uid_field, users).astype(np.int32)
        item_ids = dataset.id2token(dataset.iid_field, items.ravel()).astype(np.int32)
        ranks = np.tile(np.arange(1, k + 1), len(users))
        columns = {"user": np.repeat(user_ids, k), "item": item_ids}
        return pd.DataFrame({**columns, "score": scores.ravel(), "rank": ranks})


def run(arguments: Any, folder: Path) -> dict[str, Any]:
    """Do one task."""
    setting: Setting = arguments.setting
    events = peer_io.read_events(arguments.data)
    session = Session(setting, events, folder, arguments.eval_batch_size)
    result: dict[str, Any] = {"task": arguments.task, "name": "RecBole"}
    if arguments.task == "epoch":
        result["epoch"] = session.fit(max_batches=arguments.max_batches)
    elif arguments.task == "recommend":
        session.fit(max_batches=1)
        result["recommend"] = session.evaluate(arguments.part)
    else:
        result["train"] = session.fit(epochs=10_000, seconds=arguments.seconds)
        result["recommend"] = session.evaluate(arguments.part)
        session.lists(arguments.part, setting.k).to_parquet(arguments.lists, index=False)
    result["setting"] = {
        **setting.as_dict(),
        "threads": torch.get_num_threads(),
        "loss": "CE",
        "training_unit": "prefix of a history with one target, padded to the maximum length",
        "eval_batch_size": arguments.eval_batch_size,
        "dataloader_workers": 0,
        "validation_in_epoch": False,
        "optimizer": "Adam",
    }
    return result


def main() -> None:
    """Run one task and write its JSON."""
    arguments = task_io.parse_arguments(__doc__ or "")
    sys.argv = sys.argv[:1]  # RecBole would read our arguments as its own
    warnings.filterwarnings("ignore")
    peer_io.limit_threads(arguments.setting)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes TensorBoard logs into the working directory
        result = run(arguments, Path(folder))
        os.chdir("/")
    task_io.write_result(arguments.out, result, ["recbole"])


if __name__ == "__main__":
    main()
