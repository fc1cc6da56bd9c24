"""Turn the raw results of the timed scripts into benchmark records.

Reads what the scripts measured, counts the work with ``work.py`` and writes one record per
benchmark and peer with ``record.py``. Nothing is timed here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import record
import work
from setting import Setting

Result = Mapping[str, Any]
_PACKAGES = {"RecTools": "RecTools", "RecBole": "recbole"}


class Needed:
    """What the job needs at least, and how fast this machine could do it.

    Args:
        events: The prepared events.
        setting: The common setting.
        ceiling: What ``ceiling.measure`` returned.
    """

    def __init__(self, events: Path, setting: Setting, ceiling: dict[str, Any]) -> None:
        frame = pl.read_parquet(events)
        self.setting, self.ceiling = setting, ceiling
        self.shape = work.Shape(
            items=frame["item"].n_unique(),
            dimension=setting.dimension,
            feed_forward=setting.dimension,
            blocks=setting.blocks,
            length=setting.length,
        )
        self.train_lengths = _lengths(frame.filter(pl.col("part") == 0)) - 1
        self.input_lengths = np.minimum(_lengths(frame.filter(pl.col("part") < 2)), setting.length)

    def of(self, section: str) -> dict[str, float]:
        """Work of an ``epoch`` or of a ``recommend`` over all users."""
        return self._epoch() if section == "epoch" else self._ranking()

    def _epoch(self) -> dict[str, float]:
        """Every input read once (the newest of long histories), every target scored once."""
        rows = np.minimum(self.train_lengths, self.setting.length)
        targets = int(self.train_lengths.sum())
        steps = -(-rows.size // self.setting.batch_size)
        flops = work.training_flops(self.shape, rows, targets)
        traffic = work.training_bytes(self.shape, rows, steps)
        counted = {"positions": int(rows.sum()), "scored_positions": targets}
        return counted | self._with_ceiling(flops, traffic)

    def _ranking(self) -> dict[str, float]:
        """Every history encoded once, every item scored once per user."""
        flops = work.ranking_flops(self.shape, self.input_lengths)
        traffic = work.ranking_bytes(self.shape, self.input_lengths.size)
        return {"positions": int(self.input_lengths.sum())} | self._with_ceiling(flops, traffic)

    def padded_epoch(self, run: Result) -> dict[str, float]:
        """Work of a peer's epoch: every row padded to the maximum, attention as a full square."""
        rows = np.full(run["sequences_per_epoch"], self.setting.length)
        scored = run["scored_positions_per_epoch"]
        flops = work.training_flops(self.shape, rows, scored, causal=False)
        return {
            "positions": int(rows.sum()),
            "scored_positions": scored,
            "flops": flops,
            "logit_bytes": work.logit_bytes(self.shape, scored),
        }

    def _with_ceiling(self, flops: float, traffic: float) -> dict[str, float]:
        best = max(self.ceiling["matmul"][self.setting.precision].values())
        least = work.seconds_at_ceiling(flops, traffic, best, self.ceiling["copy_bytes"])
        return {"flops": flops, "bytes": traffic, "seconds_at_ceiling": least}


def write_comparison(
    name: str, section: str, runs: Mapping[str, Sequence[Result]], needed: Needed, folder: Path
) -> list[Path]:
    """Write one record per peer.

    Args:
        name: The benchmark: ``sasrec_epoch`` or ``rank_catalogue``.
        section: Where a script's result has its seconds: ``epoch`` or ``recommend``.
        runs: Results by label; ``ours`` is ours, every other label is a peer.
        needed: Counts the work.
        folder: The results folder.
    """
    least = needed.of(section)
    seconds = {label: [_seconds(run[section]) for run in done] for label, done in runs.items()}
    share = least["seconds_at_ceiling"] / float(np.median(seconds["ours"]))
    setting = needed.setting.as_dict() | {f"needed_{key}": n for key, n in least.items()}
    paths = []
    for label in (label for label in runs if label != "ours"):
        first = runs[label][0]
        peer = (first["name"], _version(first), seconds[label])
        theirs = needed.padded_epoch(first[section]) if section == "epoch" else None
        details = {
            "ceiling": needed.ceiling,
            "needed": least,
            "ours": {"seconds": seconds["ours"], "runs": runs["ours"]},
            "peer": {"seconds": seconds[label], "work": theirs, "runs": runs[label]},
        }
        paths.append(
            record.write_benchmark(
                f"{name}_{label}", setting, seconds["ours"], peer, share, details, folder
            )
        )
    return paths


def write_quality(
    runs: Mapping[str, Result], found: Mapping[str, dict[str, Any]], folder: Path
) -> list[Path]:
    """Write one record per peer of the quality reached in equal training time.

    Args:
        runs: Results of the ``train`` task by label.
        found: What ``quality.judge`` returned by label, with the part it was judged on.
        folder: The results folder.
    """
    own = runs["ours"]
    paths = []
    for label in (label for label in runs if label != "ours"):
        run = runs[label]
        setting = {
            "judged": f"{found[label]['part']} part, full catalogue, seen filtered, lists of 20",
            "ours_ndcg@10": found["ours"]["ndcg@10"],
            "peer_ndcg@10": found[label]["ndcg@10"],
            "ours_epochs": own["train"]["epochs"],
            "peer_epochs": run["train"]["epochs"],
        }
        peer = (run["name"], _version(run), [run["train"]["seconds"]])
        details = {
            "ours": {"run": own, "judged": found["ours"]},
            "peer": {"run": run, "judged": found[label]},
        }
        paths.append(
            record.write_benchmark(
                f"sasrec_equal_time_{label}",
                setting,
                [own["train"]["seconds"]],
                peer,
                details=details,
                folder=folder,
                compare=False,
            )
        )
    return paths


def _seconds(measured: Result) -> float:
    """Seconds of the whole job; an epoch that was cut short is extrapolated from its batches."""
    return float(measured["seconds"]) / min(1.0, float(measured.get("epochs", 1.0)))


def _lengths(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    return frame.group_by("user").len().sort("user")["len"].to_numpy().astype(np.int64)


def _version(result: Result) -> str:
    return str(result["versions"][_PACKAGES[result["name"]]])
