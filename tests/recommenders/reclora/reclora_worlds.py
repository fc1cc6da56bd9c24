"""A small world with a clock and labels, and settings for models of it."""

import numpy as np
import polars as pl

from llmrec.data import Catalog, Dataset, Interactions
from llmrec.data.splits import given
from llmrec.recommenders.reclora import RecLoRA

TRAINING = {"epochs": 1, "batch_size": 16, "learning_rate": 0.01}


def liking_world(users=24, items=8, length=14, seed=0):
    """Users like odd items or even ones; only the history tells which."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        for step in range(length):
            item = int(rng.integers(items))
            part = "train" if step < length - 4 else "valid" if step < length - 2 else "test"
            rows.append((f"u{user}", item, 10 * step, int(item % 2 == user % 2), part))
    names = ["user_id", "item_id", "timestamp", "label", "split"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    titles = [f"{'odd' if item % 2 else 'even'} {'abcdefgh'[item]}" for item in range(items)]
    catalog = Catalog(pl.DataFrame({"item_id": range(items), "title": titles}))
    return given(Dataset("liking", Interactions(frame, "keep"), catalog))


def make_model(base, lora=None, training=None, **options):
    """A RecLoRA small enough for a test."""
    ctr = {"name": "din", "dim": 4, "hidden": (8,), "history": 8, "attention_hidden": 4}
    ctr["training"] = {"epochs": 1, "batch_size": 32}
    small = {"experts": 2, "rank": 2, "alpha": 4, "gate_hidden": 4, "b_noise": 0.1, **(lora or {})}
    settings = {
        "base": str(base),
        "ctr": ctr,
        "lora": small,
        "answers": ("Yes", "No"),
        "text_history": 3,
        "max_tokens": 160,
        "training": {**TRAINING, **(training or {})},
        **options,
    }
    return RecLoRA(**settings)


def fitted_on(split, model):
    """The model, fitted on the training part of a split."""
    model.use_catalog(split.dataset.catalog)
    return model.fit(split.train_histories())
