"""Small evaluated runs on disk, written the way an evaluation writes them."""

import functools
import json
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data.catalog import Catalog
from llmrec.evaluation.figures import summarise, summarise_slices
from llmrec.evaluation.outcome import Evaluation, Figure, Group
from llmrec.evaluation.protocol import Protocol, SplitName
from llmrec.evaluation.slices import by_cold, by_history_length, by_target_popularity

USERS, ITEMS = 40, 60
METRICS = ("ndcg@10", "hit_rate@10", "coverage@10")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "<a href='javascript:alert(3)'>free</a>",
    "]]></style><svg onload=alert(4)>",
    "\u202egnitros\u202c \u2067רב\u2069 \x00\x07\x1b[31mred",
    "x" * 5000,
    "{{ 7 * 7 }}{% raw %}",
)


def protocol(**changes: object) -> Protocol:
    values = {
        "metrics": METRICS,
        "slices": ("history_length", "target_popularity", "cold"),
        "dataset": "toy",
        "dataset_fingerprint": "f" * 16,
        "split": SplitName(name="leave-one-out", params={}, hash="0" * 16),
        "part": "test",
    }
    return Protocol(**(values | changes))


def titles() -> list[str]:
    return [HOSTILE[i] if i < len(HOSTILE) else f"Item number {i}" for i in range(ITEMS)]


def catalog() -> Catalog:
    return Catalog(pl.DataFrame({"item_id": range(1, ITEMS + 1), "title": titles()}))


def popularity() -> pl.DataFrame:
    return pl.DataFrame({"item_id": range(1, ITEMS + 1), "popularity": range(ITEMS, 0, -1)})


def evaluation(model: str, seed: int, variant: str = "", **changes: object) -> Evaluation:
    per_user, metrics, slices = _judged(seed)
    return Evaluation(
        task="toy-task",
        model=model,
        variant=variant,
        protocol=protocol(**changes),
        per_user=per_user,
        metrics=dict(metrics),
        slices=slices,
        n_skipped=2,
        seconds={"scoring": 0.5},
    )


@functools.cache  # the intervals of all slices take a second
def _judged(seed: int) -> tuple[pl.DataFrame, dict[str, Figure], dict[str, dict[str, Group]]]:
    rng = np.random.default_rng(seed)
    ranks = np.maximum(1.0, rng.integers(1, ITEMS, USERS) // seed)
    target = 1 + np.arange(USERS) % ITEMS
    popular = np.arange(ITEMS, 0, -1)[target - 1]
    lengths = 1 + np.arange(USERS) % 12
    values = {
        "ndcg@10": np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0.0),
        "hit_rate@10": (ranks <= 10).astype(float),
    }
    slicings = {
        "history_length": by_history_length(lengths),
        "target_popularity": by_target_popularity(popular, np.arange(ITEMS, 0, -1)),
        "cold": by_cold(target > 35),
    }
    per_user = pl.DataFrame(
        {
            "user_id": np.arange(USERS) + 100,
            **values,
            "history_length": lengths,
            "n_targets": np.ones(USERS, dtype=np.int64),
            "target_rank": ranks,
            "target_id": target,
            "target_popularity": popular,
            "cold_target": target > 35,
        }
    )
    metrics = summarise(values) | {"coverage@10": Figure.of(0.25, None, USERS)}
    return per_user, metrics, summarise_slices(values, slicings)


def write_run(directory: Path, found: Evaluation, *, log: bool = False, lists: bool = True) -> Path:
    directory.mkdir(parents=True)
    found.save(directory)
    (directory / "run.yaml").write_text("versions: {llmrec: 0.1.0, peft: not installed}\n")
    if lists:
        top_lists(found).write_parquet(directory / "recommendations.parquet")
    if log:
        rows = [{"step": step, "epoch": 0.1, "loss": 5 / step} for step in range(1, 400)]
        rows += [{"step": 400, "epoch": 1, "loss": float("nan")}]
        rows += [
            {"step": step, "epoch": 1, "valid": {"ndcg@10": step / 1000}} for step in (200, 400)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (directory / "log.jsonl").write_text(text)
    histories = pl.DataFrame(
        {
            "user_id": np.arange(USERS) + 100,
            "item_id": [[1 + (user + i) % ITEMS for i in range(30)] for user in range(USERS)],
        }
    )
    histories.write_parquet(directory / "histories.parquet")
    return directory


def top_lists(found: Evaluation) -> pl.DataFrame:
    """Ten items per user; the target stands at its rank where that is within ten."""
    rows = []
    for user, target, rank in found.per_user.select(
        "user_id", "target_id", "target_rank"
    ).iter_rows():
        others = [i for i in range(1, ITEMS + 1) if i != target][:10]
        place = int(rank) - 1 if rank <= 10 else 99
        items = [*others[:place], target, *others[place:]][:10] if place < 10 else others
        rows += [(user, item, 1 / n, n) for n, item in enumerate(items, 1)]
    columns = ["user_id", "item_id", "score", "rank"]
    return pl.DataFrame(rows, schema=columns, orient="row")
