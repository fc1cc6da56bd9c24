"""Requests divided among machines, and their results put together again.

Which shard a request belongs to depends on its content alone, so the order of the requests and
their number change nothing for the others. Shards are counted from 1, as in ``--shard 1/4`` to
``--shard 4/4``. A shard's file is whole or absent.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from llmrec.errors import ArtifactError, ConfigError, shorten
from llmrec.inference.request_keys import Request, request_key
from llmrec.inference.result_bytes import Result
from llmrec.inference.result_tables import read_results, results_frame
from llmrec.storage import atomic_file

_Asked = TypeVar("_Asked", bound=Request)
_NAME = re.compile(r"shard-(\d+)-of-(\d+)\.parquet")


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``i/n``.

    >>> parse_shard("2/8")
    (2, 8)

    Raises:
        ConfigError: It is something else, or ``i`` is not between 1 and ``n``.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match:
        raise ConfigError(f"shard is {text!r}; expected i/n, like 2/8 for the second of eight.")
    number, count = int(match[1]), int(match[2])
    require_shard(number, count)
    return number, count


def shard(requests: Sequence[_Asked], number: int, count: int) -> list[_Asked]:
    """The requests of one shard, in their order; equal requests are in the same one.

    Args:
        requests: All requests.
        number: Of the shard, from 1.
        count: How many shards there are.

    Raises:
        ConfigError: ``number`` is not between 1 and ``count``.
    """
    require_shard(number, count)
    return [one for one in requests if int(request_key(one), 16) % count == number - 1]


def shard_path(directory: str | Path, number: int, count: int) -> Path:
    """Where the results of a shard are."""
    return Path(directory) / f"shard-{number}-of-{count}.parquet"


def write_shard(
    directory: str | Path,
    number: int,
    count: int,
    requests: Sequence[Request],
    results: Sequence[Result],
) -> Path:
    """Write the results of one shard.

    Args:
        directory: Where all shards go.
        number: Of the shard, from 1.
        count: How many shards there are.
        requests: The shard's requests, as :func:`shard` gave them.
        results: One per request.

    Returns:
        The file.

    Raises:
        ConfigError: ``number`` is not between 1 and ``count``, or there is not one result for
            every request.
        StorageError: The file cannot be written.
    """
    require_shard(number, count)
    if len(requests) != len(results):
        raise ConfigError(f"there are {len(requests)} requests but {len(results)} results.")
    path = shard_path(directory, number, count)
    frame = results_frame(requests, results)
    with atomic_file(path) as temporary:
        frame.write_parquet(temporary)
    return path


def merge(directory: str | Path, requests: Sequence[Request]) -> list[Result]:
    """Put the results of all shards together, in the order of the requests.

    Args:
        directory: Where the shards are.
        requests: All requests.

    Returns:
        One result per request.

    Raises:
        ArtifactError: A shard is missing, shards of different divisions are mixed, a file is
            damaged, or a request has no result.
    """
    found: dict[str, Result] = {}
    for path in _complete(Path(directory)):
        found |= read_results(path)
    keys = [request_key(request) for request in requests]
    missing = [place for place, key in enumerate(keys) if key not in found]
    if missing:
        raise ArtifactError(
            f"the shards in {directory} have no results for {len(missing)} of {len(keys)} requests "
            f"(places {shorten(missing)}): they were made from other requests; run them again."
        )
    return [found[key] for key in keys]


def _complete(directory: Path) -> list[Path]:
    """The files of all shards."""
    files = directory.iterdir() if directory.is_dir() else ()
    matches = [match for path in files if (match := _NAME.fullmatch(path.name))]
    counts = sorted({int(match[2]) for match in matches})
    if not counts:
        raise ArtifactError(f"{directory} has no shards; run one with --shard 1/n first.")
    if len(counts) > 1:
        raise ArtifactError(
            f"{directory} mixes divisions into {' and '.join(map(str, counts))} shards; remove the "
            "files of all but one."
        )
    there = {int(match[1]) for match in matches}
    missing = [number for number in range(1, counts[0] + 1) if number not in there]
    if missing:
        names = ", ".join(f"{number}/{counts[0]}" for number in missing)
        raise ArtifactError(f"{directory} lacks shards {names}; run them with --shard.")
    return [shard_path(directory, number, counts[0]) for number in sorted(there)]


def require_shard(number: int, count: int) -> None:
    """Refuse a shard that there is not.

    Raises:
        ConfigError: ``number`` is not between 1 and ``count``.
    """
    if not 1 <= number <= count:
        raise ConfigError(f"shard {number} of {count}; expected a number from 1 to {count}.")
