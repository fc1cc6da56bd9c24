"""The pass that writes profiles: shard by shard, resumable, never the same text twice.

A finished shard is one parquet file (``key``, ``subject``, ``text``) in a folder, named after
hashes of the writer, the requests and the texts. A later pass over the same folder asks the writer
only for requests whose key is in no shard of that writer: after an interruption those that are
missing, after growth those that are new. Shards of other writers stay and are not read. The
subject stands beside its text so that everything about a user can be found and removed.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from tqdm import tqdm

from llmrec.data.hashing import hash_json, hash_series
from llmrec.errors import ArtifactError, ConfigError
from llmrec.profiles.profile import Profiles
from llmrec.profiles.requests import ProfileRequest, ProfileRequests
from llmrec.profiles.writers import ProfileWriter, WriterError, filled
from llmrec.storage import atomic_file
from llmrec.templates import Template

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """What a pass will cost before it is begun.

    Attributes:
        calls: Texts to be asked for.
        characters: Length of all prompts together; answers come on top.
        approx_tokens: Characters over four, the rule of thumb for English.
    """

    calls: int
    characters: int
    approx_tokens: int


def estimate(requests: Iterable[ProfileRequest], template: Template) -> Estimate:
    """Count what a language model would be given; nothing is asked and nothing is written.

    Args:
        requests: All of them, or what :func:`unwritten` leaves.
        template: The prompt.

    Raises:
        ConfigError: The template needs a variable that the requests do not have.
    """
    lengths = [len(filled(template, request)) for request in requests]
    return Estimate(len(lengths), sum(lengths), math.ceil(sum(lengths) / CHARACTERS_PER_TOKEN))


def unwritten(
    requests: ProfileRequests, writer: ProfileWriter, folder: str | Path
) -> list[ProfileRequest]:
    """The requests that a pass over ``folder`` would still ask the writer for.

    Raises:
        ArtifactError: A shard in the folder is damaged.
    """
    texts = _finished(Path(folder), writer)
    return [request for request in requests if request.key not in texts]


def write_profiles(
    requests: ProfileRequests,
    writer: ProfileWriter,
    folder: str | Path,
    shard_size: int = 1000,
) -> Profiles:
    """Write the profiles that ``folder`` does not hold yet, and return all that were requested.

    Args:
        requests: What is to be written.
        writer: Who writes it.
        folder: Where finished shards are kept between passes; it is made if need be.
        shard_size: Requests given to the writer at once and kept together.

    Returns:
        One profile per request, in their order.

    Raises:
        WriterError: The writer failed, or gave no text; the message names the subject. Shards
            finished before stay, and so do the texts of the failing shard before that subject.
        ConfigError: ``shard_size`` is below 1.
        ArtifactError: A shard in the folder is damaged.
        StorageError: The disk is full or writing there is not allowed.
    """
    if shard_size < 1:
        raise ConfigError(f"shard_size is {shard_size}; expected a whole number from 1.")
    folder = Path(folder)
    texts = _finished(folder, writer)
    keyed = [(request.key, request) for request in requests]
    missing = [(key, request) for key, request in keyed if key not in texts]
    with tqdm(total=len(missing), unit="text", disable=None, leave=False) as bar:
        for start in range(0, len(missing), shard_size):
            shard = missing[start : start + shard_size]
            written, failure = _ask(writer, [request for _, request in shard])
            if written:
                _keep(folder, writer, shard[: len(written)], written)
            texts.update(zip((key for key, _ in shard), written, strict=False))
            bar.update(len(written))
            if failure is not None:
                done = sum(key in texts for key, _ in keyed)
                raise WriterError(
                    f"{failure}; {done} of {len(keyed)} profiles are kept in {folder}, "
                    "run it again to continue."
                ) from failure.__cause__
    return _collected(requests, writer, [texts[key] for key, _ in keyed])


def _ask(
    writer: ProfileWriter, requests: Sequence[ProfileRequest]
) -> tuple[list[str], WriterError | None]:
    """Texts of one shard; with a failure, those before it."""
    try:
        return _checked(writer.write(requests), requests)
    except WriterError as error:
        before = error.texts if len(error.texts) < len(requests) else []
        texts, _ = _checked(before, requests[: len(before)])
        reason = str(error).rstrip(".")
        return texts, _failure(f"no profile of {requests[len(texts)].name}: {reason}", error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return [], _failure(f"the writer failed on {_span(requests)}: {reason}", error)


def _failure(sentence: str, cause: Exception) -> WriterError:
    failure = WriterError(sentence)
    failure.__cause__ = cause
    return failure


def _span(requests: Sequence[ProfileRequest]) -> str:
    if len(requests) == 1:
        return requests[0].name
    return f"{requests[0].name} to {requests[-1].name}"


def _checked(
    answers: Sequence[str], requests: Sequence[ProfileRequest]
) -> tuple[list[str], WriterError | None]:
    if len(answers) != len(requests):
        return [], WriterError(
            f"the writer gave {len(answers)} texts for {len(requests)} requests, {_span(requests)}"
        )
    texts: list[str] = []
    for answer, request in zip(answers, requests, strict=True):
        if not isinstance(answer, str) or not answer.strip():
            return texts, WriterError(f"the writer gave no text for {request.name}: {answer!r}")
        # half of a character that a model was cut off in cannot be stored
        texts.append(answer.encode("utf-8", "replace").decode())
    return texts, None


def _keep(
    folder: Path,
    writer: ProfileWriter,
    shard: Sequence[tuple[str, ProfileRequest]],
    texts: Sequence[str],
) -> None:
    frame = pl.DataFrame(
        {
            "key": [key for key, _ in shard],
            "subject": [str(request.subject) for _, request in shard],
            "text": texts,
        }
    )
    with atomic_file(folder / shard_name(_writer_name(writer), frame)) as temporary:
        frame.write_parquet(temporary)


def _finished(folder: Path, writer: ProfileWriter) -> dict[str, str]:
    """Texts by key of all shards of this writer."""
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} is a file; profiles are written into a folder.")
    texts: dict[str, str] = {}
    for file in sorted(folder.glob(f"{_writer_name(writer)}-*.parquet")):
        try:
            frame = pl.read_parquet(file)
            whole = shard_name(_writer_name(writer), frame) == file.name
        except (pl.exceptions.PolarsError, OSError):
            whole = False
        if not whole:
            raise ArtifactError(
                f"{file} is damaged: its content does not match its name; remove it, and its "
                "profiles are written again."
            )
        texts.update(zip(frame["key"], frame["text"], strict=True))
    return texts


def _writer_name(writer: ProfileWriter) -> str:
    return hashlib.sha256(writer.fingerprint.encode()).hexdigest()[:16]


def shard_name(writer: str, frame: pl.DataFrame) -> str:
    """File name of a shard: its writer's part, and hashes of what is in it."""
    keys = hash_series(frame["key"])[:16]
    content = hash_json([hash_series(frame["subject"]), hash_series(frame["text"])])[:16]
    return f"{writer}-{keys}-{content}.parquet"


def _collected(requests: ProfileRequests, writer: ProfileWriter, texts: Sequence[str]) -> Profiles:
    frame = pl.DataFrame(
        {
            f"{requests.kind}_id": [request.subject for request in requests],
            "n_events": [request.n_events for request in requests],
            "newest_item": [request.newest_item for request in requests],
            "newest_time": [request.newest_time for request in requests],
            "text": texts,
        },
        schema_overrides={"n_events": pl.Int64, "newest_time": pl.Int64},
    )
    return Profiles.from_frame(
        frame, requests.kind, writer.template_fingerprint, writer.fingerprint, requests.origin
    )
