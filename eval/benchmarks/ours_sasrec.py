"""Time our SASRec on the same tasks, the same events and the same setting as the peers.

``epoch`` takes the time from the training log, which starts after set-up as the peers' clocks do.
``train`` trains for the number of epochs that fit the time budget, found by one trial epoch.
"""

import os
import time
from pathlib import Path
from typing import Any

import polars as pl
import task_io
from setting import Setting

from llmrec.data import Dataset, Histories, Interactions, Split, given

_PARTS = {0: "train", 1: "valid", 2: "test"}


def read_split(path: Path) -> Split:
    """The events as a data set with the split they were written with."""
    frame = (
        pl.read_parquet(path)
        .sort("user", "position")
        .select(
            pl.col("user").alias("user_id"),
            pl.col("item").alias("item_id"),
            pl.col("part").replace_strict(_PARTS, return_dtype=pl.String).alias("split"),
        )
    )
    return given(Dataset("benchmark", Interactions(frame, "keep")))


def make_model(setting: Setting, epochs: int) -> Any:
    """Our SASRec in the common setting; what the setting does not name keeps its default."""
    from llmrec.recommenders.sasrec import SASRec

    return SASRec(
        dim=setting.dimension,
        blocks=setting.blocks,
        heads=setting.heads,
        feed_forward=setting.dimension,
        max_length=setting.length,
        dropout=setting.dropout,
        attention_dropout=setting.dropout,
        loss="full",
        training={
            "epochs": epochs,
            "batch_size": setting.batch_size,
            "learning_rate": setting.learning_rate,
            "precision": setting.precision,
            "seed": setting.seed,
        },
    )


def fit(
    setting: Setting, train: Histories, epochs: int = 1, max_batches: int | None = None
) -> tuple[Any, dict[str, Any]]:
    """Train and report time and work; no validation. A smoke run takes the first users only."""
    users = len(train)
    if max_batches is not None:
        train = train.block(0, max_batches * setting.batch_size)
    model = make_model(setting, epochs).fit(train)
    last = model.log[-1]
    report = {
        "seconds": last["seconds"],
        "batches": last["step"],
        "epochs": epochs * len(train) / users,
        "sequences_per_epoch": int((train.lengths >= 2).sum()),
        "targets_per_epoch": int((train.lengths - 1).sum()),
        "loss": last["loss"],
        "items": len(train.vocabulary),
    }
    return model, report


def train_for(setting: Setting, train: Histories, seconds: float) -> tuple[Any, dict[str, Any]]:
    """Train for as many epochs as fit a time budget."""
    _, trial = fit(setting, train)
    return fit(setting, train, max(1, int(seconds / trial["seconds"])))


def recommend(
    model: Any, setting: Setting, inputs: Histories
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Top-k lists for every user over the full catalogue, seen items left out."""
    started = time.perf_counter()
    lists = model.recommend(inputs, k=setting.k, exclude_seen=True)
    seconds = time.perf_counter() - started
    report = {
        "seconds": seconds,
        "users": len(inputs),
        "items": len(inputs.vocabulary),
        "seen_filtered": True,
    }
    return lists, report


def main() -> None:
    """Run one task and write its JSON."""
    arguments = task_io.parse_arguments(__doc__ or "")
    setting: Setting = arguments.setting
    os.environ["OMP_NUM_THREADS"] = str(setting.threads)
    import torch

    torch.set_num_threads(setting.threads)
    split = read_split(arguments.data)
    train, inputs = split.train_histories(), split.cases(arguments.part).histories
    result: dict[str, Any] = {"task": arguments.task, "name": "llmrec"}
    if arguments.task == "epoch":
        _, result["epoch"] = fit(setting, train, max_batches=arguments.max_batches)
    elif arguments.task == "recommend":
        model, _ = fit(setting, train, max_batches=1)
        _, result["recommend"] = recommend(model, setting, inputs)
    else:
        model, result["train"] = train_for(setting, train, arguments.seconds)
        lists, result["recommend"] = recommend(model, setting, inputs)
        lists.rename({"user_id": "user", "item_id": "item"}).write_parquet(arguments.lists)
    result["setting"] = {
        **setting.as_dict(),
        "threads": torch.get_num_threads(),
        "loss": "full softmax",
        "training_unit": "sequence, every position a target, not padded",
        "validation_in_epoch": False,
    }
    task_io.write_result(arguments.out, result, ["llmrec"])


if __name__ == "__main__":
    main()
