"""A job on Ray Data: each worker is an actor with a model of its own.

Only this process reads and writes files: blocks of requests go out and finished blocks come back
through Ray, so machines need no common disk, only the model. The results are those of
:func:`~llmrec.inference.batch.single.run_here` with the same block size, byte for byte where both
compute with the same number of threads. A block whose worker died is given to another.
"""

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llmrec import errors
from llmrec.contracts import LanguageModel
from llmrec.errors import ConfigError, LlmrecError
from llmrec.inference.batch.job import BLOCK_SIZE, Answered, BatchJob, BatchReport, answer_block
from llmrec.inference.batch.ray_cluster import ray_cluster
from llmrec.inference.batch.request_files import request_from_json, request_to_json
from llmrec.inference.request_keys import Request

if TYPE_CHECKING:
    from ray.data import Dataset

_DEATHS = 3
"""How often a worker, or a block, is tried again before the job gives up."""


def run_on_ray(
    open_model: Callable[[], LanguageModel],
    requests: Sequence[Request],
    destination: str | Path,
    *,
    workers: int = 2,
    cpus: int = 1,
    gpus: float = 0,
    block_size: int = BLOCK_SIZE,
) -> BatchReport:
    """Answer requests on Ray and write the results to a file; a job that was killed goes on.

    Args:
        open_model: Called once by every worker, with nothing; the same model each time.
        requests: All of one kind, see :func:`~llmrec.inference.batch.request_files.read_requests`.
        destination: A parquet file that does not exist.
        workers: How many.
        cpus: Processors of a worker, and threads it computes with.
        gpus: GPUs of a worker.
        block_size: Requests that are asked, and written, together.

    Raises:
        ConfigError: The destination exists, an argument is out of range, Ray is not installed, its
            cluster cannot be reached, or workers die again and again.
        ArtifactError: There are finished blocks of another job or model, or there is no such model.
        StorageError: A file cannot be written; finished blocks are kept.
    """
    for name, value in {"workers": workers, "cpus": cpus}.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 or more.")
    job = BatchJob(requests, destination, block_size)
    waiting = job.pending()
    if waiting:
        with ray_cluster(workers * cpus):
            answering = _Worker, (open_model, cpus)
            found = _stream(job, waiting, answering, min(workers, len(waiting)), cpus, gpus)
            for number, answered in found:
                job.keep(number, answered)
    return job.finish()


class _Worker:
    """An actor: opens the model and answers block after block.

    What the user did wrong travels back as a sentence, not as a traceback of Ray's.
    """

    def __init__(self, open_model: Callable[[], LanguageModel], threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._model: LanguageModel | LlmrecError
        try:
            self._model = open_model()
        except LlmrecError as error:
            self._model = error

    def __call__(self, batch: pa.Table) -> dict[str, list[Any]]:
        (row,) = batch.to_pylist()
        try:
            if isinstance(self._model, LlmrecError):
                raise self._model
            requests = [request_from_json(text) for text in row["requests"]]
            found = answer_block(self._model, requests)
        except LlmrecError as error:
            failure = {"error": type(error).__name__, "sentence": str(error)}
            return _row(row["number"], failure, b"")
        about = {"model": dict(found.model), "failed": found.failed}
        return _row(row["number"], about, found.table)


def _row(number: int, about: dict[str, Any], table: bytes) -> dict[str, list[Any]]:
    return {"number": [number], "about": [json.dumps(about)], "table": [table]}


def _stream(
    job: BatchJob,
    waiting: Sequence[int],
    answering: tuple[type, tuple[Any, ...]],
    workers: int,
    cpus: int,
    gpus: float,
) -> Iterator[tuple[int, Answered]]:
    """Blocks as they end, in any order."""
    from ray.exceptions import RayActorError

    dataset = _dataset(job, waiting, answering, workers, cpus, gpus)
    try:
        for batch in dataset.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            for row in batch.to_pylist():
                about = json.loads(row["about"])
                if "error" in about:
                    raise getattr(errors, about["error"], ConfigError)(about["sentence"])
                yield row["number"], Answered(about["model"], row["table"], about["failed"])
    except RayActorError as error:
        if error.actor_init_failed:
            raise
        raise ConfigError(
            f"a worker died {_DEATHS + 1} times, so the job was given up; finished blocks are kept "
            f"in {job.folder}. Most often memory was short: run again with fewer workers or "
            "smaller blocks."
        ) from error


def _dataset(
    job: BatchJob,
    waiting: Sequence[int],
    answering: tuple[type, tuple[Any, ...]],
    workers: int,
    cpus: int,
    gpus: float,
) -> "Dataset":
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    worker, arguments = answering
    rows = ray.data.from_arrow([_table(number, job.block(number)) for number in waiting])
    with warnings.catch_warnings():
        # the one way to bound restarts in the versions that the ray extra allows
        warnings.filterwarnings("ignore", message="`ray_remote_args_fn` is deprecated")
        return rows.map_batches(
            worker,
            fn_constructor_args=arguments,
            batch_size=1,  # a row is a block of requests
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cpus,
            num_gpus=gpus or None,
            ray_remote_args_fn=lambda: {"max_restarts": _DEATHS, "max_task_retries": _DEATHS},
        )


def _table(number: int, requests: Sequence[Request]) -> pa.Table:
    lines = [request_to_json(request) for request in requests]
    return pa.table({"number": [number], "requests": [lines]})
