"""What a language model was trained on, kept as a file in its folder.

``llmrec_seen.json`` lists the training events' origins and the hashes of the files they went into,
so that a record never vouches for other weights. A folder without one says nothing: models from
elsewhere have read whatever they have read, and no protocol can exclude it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmrec.data.hashing import hash_json
from llmrec.data.histories import Origin
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError, ProtocolError
from llmrec.evaluation.protocol import JudgedPart, require_unseen
from llmrec.storage import file_sha256, read_json, write_json

SEEN = "llmrec_seen.json"
_FORMAT = 1
_VOUCHED = ("config.json", "tokenizer.json", "adapter_config.json")


def write_seen(
    folder: str | Path, seen: Sequence[Origin], about: Mapping[str, Any] | None = None
) -> None:
    """Write the record of a folder that holds a model or an adapter already.

    Args:
        folder: Holds the files as they will stay.
        seen: Where the training events came from.
        about: What else the record says, as JSON values.
    """
    folder = Path(folder)
    content = {
        "format": _FORMAT,
        "seen": [asdict(origin) for origin in seen],
        "about": dict(about or {}),
        "sha256": {path.name: file_sha256(path) for path in _vouched(folder)},
    }
    write_json(folder / SEEN, {**content, "hash": hash_json(content)})


def read_seen(folder: str | Path) -> dict[str, Any] | None:
    """The whole record of a folder, checked against its files; None where there is none.

    Raises:
        ArtifactError: The record is of another format or was changed, or a file it vouches for is
            another one.
    """
    path = Path(folder) / SEEN
    if not path.is_file():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ArtifactError(
            f"{path} is not a record of format {_FORMAT}; it was written by another version of "
            "llmrec, so what the model has seen is not known here."
        )
    content = {name: value for name, value in record.items() if name != "hash"}
    if record.get("hash") != hash_json(content):
        raise ArtifactError(f"{path} was changed: it does not match its own hash.")
    for name, expected in record["sha256"].items():
        file = path.with_name(name)
        if not file.is_file() or file_sha256(file) != expected:
            raise ArtifactError(
                f"{file} is missing or is not the file that {SEEN} vouches for; what this model "
                "has seen is not known. Train it again, or remove the record if that is meant."
            )
    return record


def seen_of(folder: str | Path) -> tuple[Origin, ...]:
    """Where the training events of a model or an adapter came from; empty where not recorded.

    Raises:
        ArtifactError: As for :func:`read_seen`.
    """
    record = read_seen(folder)
    return () if record is None else tuple(Origin(**origin) for origin in record["seen"])


def require_usable(name: str, seen: Iterable[Origin], split: Split, part: JudgedPart) -> None:
    """Refuse a language model that has seen what it would be judged on.

    Args:
        name: What the message calls it.
        seen: Where its training events came from.
        split: The split to judge under.
        part: The part to judge: ``"valid"`` or ``"test"``.

    Raises:
        ProtocolError: It may have seen its answers.
    """
    try:
        require_unseen(tuple(seen), split, part)
    except ProtocolError as error:
        raise ProtocolError(f"language model {name}: {error}") from None


def _vouched(folder: Path) -> list[Path]:
    named = [folder / name for name in _VOUCHED if (folder / name).is_file()]
    return [*named, *sorted(folder.glob("*.safetensors"))]
