"""A job in this process: block after block."""

from collections.abc import Sequence
from pathlib import Path

from llmrec.contracts import LanguageModel
from llmrec.inference.batch.job import BLOCK_SIZE, BatchJob, BatchReport, answer_block
from llmrec.inference.request_keys import Request


def run_here(
    model: LanguageModel,
    requests: Sequence[Request],
    destination: str | Path,
    block_size: int = BLOCK_SIZE,
) -> BatchReport:
    """Answer requests and write the results to a file; a job that was killed goes on.

    Args:
        model: Whom to ask.
        requests: All of one kind, see :func:`~llmrec.inference.batch.request_files.read_requests`.
        destination: A parquet file that does not exist.
        block_size: Requests that are asked, and written, together.

    Raises:
        ConfigError: The destination exists, or an argument is out of range.
        ArtifactError: There are finished blocks of another job or model.
        StorageError: A file cannot be written; finished blocks are kept.
    """
    job = BatchJob(requests, destination, block_size)
    for number in job.pending():
        job.keep(number, answer_block(model, job.block(number)))
    return job.finish()
