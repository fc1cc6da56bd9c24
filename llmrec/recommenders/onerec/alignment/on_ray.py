"""Lists on Ray: every worker opens the policy once, and parts go out and come back.

This process alone reads and writes the folder of the rollouts and of the model, which is sent to
the workers, so machines need no common disk. Parts that are there are not written again; a part
whose worker died is given to another. The lists are those of
:func:`~llmrec.recommenders.onerec.alignment.rollouts.roll_out`.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from llmrec.data.histories import Histories
from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.batch.ray_cluster import ray_cluster
from llmrec.recommenders.artifacts import HISTORIES, MANIFEST, USERS, load
from llmrec.recommenders.onerec.alignment.rollouts import Lists, Rollouts, written_lists
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.list_recommender import ListRecommender

if TYPE_CHECKING:
    from ray.data import Dataset

_DEATHS = 3  # how often a worker, or a part, is tried again before the job gives up


def roll_out_on_ray(
    rollouts: Rollouts, model: str | Path, *, workers: int = 2, cpus: int = 1, gpus: float = 0
) -> int:
    """Write the parts that are missing.

    Args:
        rollouts: Where they go; its policy must be that of the model.
        model: A saved model, which every worker is sent.
        workers: How many.
        cpus: Processors of a worker, and threads it computes with.
        gpus: GPUs of a worker.

    Returns:
        How many parts were written.

    Raises:
        ConfigError: An argument is out of range, or Ray is not installed.
        ArtifactError: There is no such model, or its weights are not those of the rollouts' policy.
    """
    for name, value in {"workers": workers, "cpus": cpus}.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 or more.")
    waiting = rollouts.pending()
    if waiting:
        files = _read_files(Path(model))
        with ray_cluster(workers * cpus):
            parts = _dataset(rollouts, waiting, files, min(workers, len(waiting)), cpus, gpus)
            for batch in parts.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for row in batch.to_pylist():
                    _keep(rollouts, row)
    return len(waiting)


def roll_out_model_on_ray(
    rollouts: Rollouts, model: ListRecommender[Any], *, workers: int, cpus: int, gpus: float
) -> int:
    """As :func:`roll_out_on_ray`, by a model as it is now, which need not be saved anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        model.save_pretrained(place, include_users=False)
        return roll_out_on_ray(rollouts, place, workers=workers, cpus=cpus, gpus=gpus)


class _Worker:
    """An actor: opens the model and writes lists, part after part."""

    def __init__(self, sent: Any, threads: int, shape: tuple[int, int]) -> None:
        import ray

        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in ray.get(sent[0]).items():
                (Path(folder) / name).write_bytes(content)
            self._model = cast(ListRecommender[Any], load(folder))
        self._policy, self._shape = weights_version(self._model.writer.network), shape

    def __call__(self, batch: pa.Table) -> dict[str, list[Any]]:
        (row,) = batch.to_pylist()
        histories = Histories(
            pl.Series("user_id", range(len(row["offsets"]) - 1)),
            np.asarray(row["items"], dtype=np.int32),
            np.asarray(row["offsets"], dtype=np.int64),
            self._model.vocabulary,
        )
        found = written_lists(self._model.writer, self._model.trie, histories, *self._shape)
        return {
            "part": [row["part"]],
            "policy": [self._policy],
            "lists": [found.items.tobytes()],
            "log_probabilities": [found.log_probabilities.tobytes()],
        }


def _read_files(model: Path) -> dict[str, bytes]:
    """The files of a saved model, without what is about users."""
    if not (model / MANIFEST).is_file():
        raise ArtifactError(f"{model} is no saved model: it has no {MANIFEST}.")
    left_out = {HISTORIES, USERS}
    return {path.name: path.read_bytes() for path in model.iterdir() if path.name not in left_out}


def _keep(rollouts: Rollouts, row: dict[str, Any]) -> None:
    """Write a part that has come back."""
    if row["policy"] != rollouts.policy:
        raise ArtifactError(
            f"the model that was opened is policy {row['policy']}, but {rollouts.folder} wants "
            f"lists of policy {rollouts.policy}; name the model that the iteration starts from."
        )
    lists, items = rollouts.shape
    codes = np.frombuffer(row["lists"], dtype=np.int32).reshape(-1, lists, items)
    scores = np.frombuffer(row["log_probabilities"], dtype=np.float32).reshape(-1, lists)
    rollouts.keep(row["part"], Lists(codes, scores))


def _dataset(
    rollouts: Rollouts,
    waiting: list[int],
    files: dict[str, bytes],
    workers: int,
    cpus: int,
    gpus: float,
) -> "Dataset":
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
    rows = ray.data.from_arrow([_table(rollouts, part) for part in waiting])
    with warnings.catch_warnings():
        # the one way to bound restarts in the versions that the ray extra allows
        warnings.filterwarnings("ignore", message="`ray_remote_args_fn` is deprecated")
        return rows.map_batches(
            _Worker,
            # in a list, as a reference: sent to every machine once, and not with every task
            fn_constructor_args=([ray.put(files)], cpus, rollouts.shape),
            batch_size=1,  # a row is a part
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cpus,
            num_gpus=gpus or None,
            ray_remote_args_fn=lambda: {"max_restarts": _DEATHS, "max_task_retries": _DEATHS},
        )


def _table(rollouts: Rollouts, part: int) -> pa.Table:
    block = rollouts.block(part)
    return pa.table(
        {"part": [part], "items": [block.items.tolist()], "offsets": [block.offsets.tolist()]}
    )
