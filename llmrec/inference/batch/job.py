"""A job: requests cut into blocks, blocks answered by whoever, their results put into one file.

Finished blocks lie in ``<destination>.blocks`` until all are there, so a job that was killed goes
on where it stopped. The folder says what it belongs to (requests, size of blocks, model) and is
refused for anything else. A block is whole or absent; so is the destination, which holds the table
of :mod:`llmrec.inference.result_tables` in the order of the requests.

Answers do not depend on the block a request is in, but the last bits of their log-probabilities
do, as they do on any batch. Whoever answers the same blocks with the same number of threads gets
the same bytes.
"""

import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from llmrec.contracts import LanguageModel
from llmrec.data.hashing import hash_json
from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.request_keys import Request, request_key
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.result_tables import COLUMNS, results_frame
from llmrec.storage import atomic_file, read_json, write_json

BLOCK_SIZE = 512
"""Requests of a block: enough to sort by length, few enough to lose."""

_ABOUT, _LAYOUT = "job.json", 1


@dataclass(frozen=True)
class Answered:
    """A block's results.

    Attributes:
        model: Fingerprint of the model that gave them.
        table: The table, as parquet.
        failed: How many have an error.
    """

    model: Mapping[str, Any]
    table: bytes
    failed: int


@dataclass(frozen=True)
class BatchReport:
    """What a job came to.

    Attributes:
        path: The file of results.
        requests: How many there are.
        answered: How many of them were answered this time; the others were there already.
        failed: Of those answered this time, how many have an error instead of an answer.
    """

    path: Path
    requests: int
    answered: int
    failed: int


def answer_block(model: LanguageModel, requests: Sequence[Request]) -> Answered:
    """Ask a model; the requests are all of one kind."""
    generates = [request for request in requests if isinstance(request, GenerateRequest)]
    scores = [request for request in requests if isinstance(request, ScoreRequest)]
    results = model.generate(generates) if generates else model.score(scores)
    stream = io.BytesIO()
    results_frame(requests, results).write_parquet(stream)
    failed = sum(result.error is not None for result in results)
    return Answered(dict(model.fingerprint), stream.getvalue(), failed)


class BatchJob:
    """See the module.

    Args:
        requests: All of one kind.
        destination: The file of results; it must not exist.
        block_size: Requests of a block.

    Raises:
        ConfigError: The destination exists, both kinds of request are given, or ``block_size`` is
            below 1.
        ArtifactError: There are finished blocks of another job.
    """

    def __init__(
        self, requests: Sequence[Request], destination: str | Path, block_size: int = BLOCK_SIZE
    ) -> None:
        if block_size < 1:
            raise ConfigError(f"block_size is {block_size}; expected 1 or more.")
        if len({type(request) for request in requests}) > 1:
            raise ConfigError("some requests generate and others score; make two jobs of them.")
        self._requests, self._size = requests, block_size
        self._path = Path(destination)
        if self._path.exists():
            raise ConfigError(
                f"{self._path} exists; delete it to answer its requests again, or name another."
            )
        self._answered = self._failed = 0
        self._about: dict[str, Any] = {
            "layout": _LAYOUT,
            "requests": hash_json([request_key(request) for request in requests]),
            "block_size": block_size,
        }
        self._model = self._resume()

    @property
    def folder(self) -> Path:
        """Where finished blocks are until all are there."""
        return self._path.with_name(f"{self._path.name}.blocks")

    def pending(self) -> list[int]:
        """Numbers of the blocks that are still to be answered."""
        count = -(-len(self._requests) // self._size)
        return [number for number in range(count) if not self._block_path(number).is_file()]

    def block(self, number: int) -> Sequence[Request]:
        """The requests of a block."""
        return self._requests[number * self._size : (number + 1) * self._size]

    def keep(self, number: int, answered: Answered) -> None:
        """Write a finished block.

        Raises:
            ArtifactError: Another model answered earlier blocks.
            StorageError: It cannot be written.
        """
        self._check_model(answered.model)
        with atomic_file(self._block_path(number)) as temporary:
            temporary.write_bytes(answered.table)
        self._answered += len(self.block(number))
        self._failed += answered.failed

    def finish(self) -> BatchReport:
        """Put the blocks together, once none is pending, and remove them.

        Raises:
            StorageError: The file cannot be written.
        """
        count = -(-len(self._requests) // self._size)
        schema = pl.DataFrame(schema=COLUMNS).to_arrow().schema
        with atomic_file(self._path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for number in range(count):  # one at a time: all of them may not fit in memory
                writer.write_table(pl.read_parquet(self._block_path(number)).to_arrow())
        shutil.rmtree(self.folder, ignore_errors=True)
        return BatchReport(self._path, len(self._requests), self._answered, self._failed)

    def _block_path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.parquet"

    def _resume(self) -> Mapping[str, Any] | None:
        """The model that answered earlier blocks, if there are any."""
        path = self.folder / _ABOUT
        if not path.is_file():
            return None
        there = read_json(path)
        model: Mapping[str, Any] = there.pop("model")
        unlike = [name for name, value in self._about.items() if there.get(name) != value]
        if unlike:
            raise ArtifactError(
                f"{self.folder} holds blocks of another job (unlike: {', '.join(unlike)}); finish "
                "it with the same requests and block size, or delete the folder."
            )
        return model

    def _check_model(self, model: Mapping[str, Any]) -> None:
        if self._model is None:
            self._model = dict(model)
            write_json(self.folder / _ABOUT, self._about | {"model": self._model})
        unlike = sorted(
            name for name in {*model, *self._model} if model.get(name) != self._model.get(name)
        )
        if unlike:
            raise ArtifactError(
                f"the blocks in {self.folder} were answered by another model (unlike: "
                f"{', '.join(unlike)}); go on with that one, or delete the folder."
            )
