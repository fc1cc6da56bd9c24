"""Ask a model many lines, so that what was answered survives a kill.

Answers go through a cache: the one given, or one of this job's own, ``<output>.unfinished``, which
goes away when every line has its answer. Starting the same job again asks what is missing. Results
appear as a whole: a file of lines in the order of the requests, or one shard of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from llmrec.contracts import LanguageModel
from llmrec.errors import ArtifactError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.cached_model import CachedModel, CallPlan
from llmrec.inference.request_keys import Request
from llmrec.inference.request_lines import (
    AskedLine,
    Kind,
    lines_from_json,
    lines_to_json,
    result_line,
)
from llmrec.inference.result_bytes import Result
from llmrec.inference.shards import merge, shard, shard_path, write_shard
from llmrec.storage import atomic_file, read_json, write_json

SAVE_EVERY = 256
"""Requests that are asked, and kept, together."""

JOB = "requests.json"
_FORMAT = 1


@contextmanager
def job_cache(given: Path | None, output: Path | None) -> Iterator[ResponseCache]:
    """The cache of a job: the given one, else one beside the output, else one for the moment.

    That beside the output is removed by :func:`finished`.
    """
    if given is not None:
        yield ResponseCache(given)
    elif output is not None:
        yield ResponseCache(_unfinished(output))
    else:
        with TemporaryDirectory() as folder:
            yield ResponseCache(Path(folder) / "cache.sqlite")


def finished(output: Path) -> None:
    """Remove the cache that a job kept beside its output."""
    base = _unfinished(output)
    for path in (base, *(base.with_name(base.name + end) for end in ("-wal", "-shm"))):
        path.unlink(missing_ok=True)


def plan_lines(
    model: LanguageModel, lines: Sequence[AskedLine], given: Path | None, output: Path | None
) -> CallPlan:
    """What asking would cost; nothing is asked, and no file is made."""
    there = given if given is not None else None if output is None else _unfinished(output)
    with job_cache(there if there is not None and there.is_file() else None, None) as cache:
        return CachedModel(model, cache).plan([line.request for line in lines])


def ask_lines(
    model: LanguageModel,
    lines: Sequence[AskedLine],
    kind: Kind,
    cache: ResponseCache,
    advance: Callable[[int], object] = lambda count: None,
    save_every: int = SAVE_EVERY,
) -> list[Result]:
    """Answer lines; those of one owner are asked together and kept under that owner.

    Args:
        model: Whom to ask.
        lines: The lines.
        kind: Of their requests.
        cache: Where answers are kept.
        advance: Told how many more lines are done.
        save_every: Requests that are asked, and kept, together.

    Returns:
        One result per line, in their order.
    """
    found: dict[int, Result] = {}
    owners: dict[str | None, list[int]] = {}
    for place, line in enumerate(lines):
        owners.setdefault(line.owner, []).append(place)
    for owner, places in owners.items():
        asked = CachedModel(model, cache, owner, save_every)
        for start in range(0, len(places), save_every):
            part = places[start : start + save_every]
            requests: list[Any] = [lines[place].request for place in part]
            answers = asked.generate(requests) if kind == "generate" else asked.score(requests)
            found.update(zip(part, answers, strict=True))
            advance(len(part))
    return [found[place] for place in range(len(lines))]


def write_results(path: Path, lines: Sequence[AskedLine], results: Sequence[Result]) -> None:
    """Write one line of JSON per result; the file is whole or as it was before."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for line, result in zip(lines, results, strict=True):
            stream.write(result_line(line, result) + "\n")


def lines_of_shard(lines: Sequence[AskedLine], number: int, count: int) -> list[AskedLine]:
    """The lines of one shard, in their order."""
    chosen = set(shard([line.request for line in lines], number, count))
    return [line for line in lines if line.request in chosen]


def begin_shards(folder: Path, lines: Sequence[AskedLine], kind: Kind) -> None:
    """Write down which job the shards of a folder are of.

    Raises:
        ArtifactError: They are of another job.
    """
    content = {"format": _FORMAT, "kind": kind, "lines": lines_to_json(lines)}
    path = folder / JOB
    if path.is_file():
        there = _job(folder)
        if there != (kind, list(lines)):
            raise ArtifactError(
                f"{folder} holds shards of other requests; choose another folder, or remove it."
            )
        return
    write_json(path, content)


def finish_shard(
    folder: Path, number: int, count: int, lines: Sequence[AskedLine], results: Sequence[Result]
) -> Path:
    """Write the results of one shard; returns the file."""
    requests: list[Request] = [line.request for line in lines]
    return write_shard(folder, number, count, requests, results)


def merge_shards(folder: Path) -> tuple[list[AskedLine], list[Result]]:
    """All lines of a folder of shards, and their results.

    Raises:
        ArtifactError: It is no such folder, or a shard is missing or damaged.
    """
    _, lines = _job(folder)
    return lines, merge(folder, [line.request for line in lines])


def shard_output(folder: Path, number: int, count: int) -> Path:
    """Where a shard's results go."""
    return shard_path(folder, number, count)


def _job(folder: Path) -> tuple[Kind, list[AskedLine]]:
    path = folder / JOB
    if not path.is_file():
        raise ArtifactError(
            f"{folder} holds no shards of a job: it has no {JOB}; run one with --shard 1/n first."
        )
    content: Mapping[str, Any] = read_json(path)
    try:
        if content["format"] != _FORMAT:
            raise ArtifactError(f"{path} was written by another version; run the shards again.")
        return content["kind"], lines_from_json(content["lines"], content["kind"])
    except (KeyError, TypeError, ValidationError) as error:
        raise ArtifactError(f"{path} does not describe a job; run the shards again.") from error


def _unfinished(output: Path) -> Path:
    return output.with_name(f"{output.name}.unfinished")
