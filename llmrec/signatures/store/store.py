"""A folder of signatures: parquet shards and one JSON file that lists them.

A shard holds records of one source: its mode, kind, vocabulary size and fingerprint are written
once. Shards are whole or absent and never change; ``signatures.json``, written after them, names
each with its hash, so that an interrupted capture goes on where it stopped and a damaged file is
named. One process writes at a time; captures on several machines go to folders of their own and
are read together with :func:`read_stores`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.errors import ArtifactError, DataError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store.columns import PREFIX, SCHEMA, SHARED, records_of, rows_of
from llmrec.storage import atomic_file, file_sha256, read_json, write_json

MANIFEST = "signatures.json"
_FORMAT = 1
_RECORDS_PER_SHARD = 20_000


@dataclass(frozen=True)
class ShardInfo:
    """What the list says about a shard.

    Attributes:
        name: Its file.
        records: Number of records.
        positions: Number of positions, all records together.
        bytes: Size of the file.
        sha256: Of its bytes.
        mode: As in the records, like the fields after it.
        kind: Likewise.
        vocab_size: Likewise.
        fingerprint: Likewise.
    """

    name: str
    records: int
    positions: int
    bytes: int
    sha256: str
    mode: str
    kind: str
    vocab_size: int | None
    fingerprint: dict[str, Any]


class SignatureStore:
    """Signatures in a folder.

    Args:
        directory: The folder; it is made when the first records are appended.
        records_per_shard: Most records of a file.

    Raises:
        ArtifactError: The folder holds something else, or a list that cannot be read.

    Example:
        >>> import tempfile
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> records, labels = labelled_signatures(20, seed=0)
        >>> store = SignatureStore(tempfile.mkdtemp() + "/store")
        >>> store.append(SignatureSet.of(records, labels))
        20
        >>> store.append(SignatureSet.of(records, labels))  # they are there
        0
        >>> len(store.read())
        20
    """

    def __init__(self, directory: str | Path, records_per_shard: int = _RECORDS_PER_SHARD) -> None:
        self.directory = Path(directory)
        self._per_shard = records_per_shard
        self.shards: tuple[ShardInfo, ...] = _listed(self.directory)

    def __len__(self) -> int:
        return sum(shard.records for shard in self.shards)

    @property
    def ids(self) -> set[str]:
        """Ids of all records: what a capture need not ask again."""
        found: set[str] = set()
        for shard in self.shards:
            found.update(self._frame(shard, ["id"])["id"])
        return found

    @property
    def bytes_per_position(self) -> float:
        """Size of all shards over the number of positions; NaN for an empty store."""
        positions = sum(shard.positions for shard in self.shards)
        return sum(s.bytes for s in self.shards) / positions if positions else float("nan")

    def append(self, signatures: SignatureSet) -> int:
        """Add records; those whose id is there are left as they are.

        Args:
            signatures: Records and what is known about them.

        Returns:
            How many were added.

        Raises:
            DataError: A further column has the name of one of a record's own.
            StorageError: The disk is full or writing there is not allowed.
        """
        taken = [name for name in signatures.examples.columns if name.startswith(PREFIX)]
        if taken:
            raise DataError(f"the column {taken[0]!r} of the examples must be called otherwise.")
        known = self.ids
        fresh = [place for place, name in enumerate(signatures.ids) if name not in known]
        for rows in _alike(signatures.records, fresh):
            for start in range(0, len(rows), self._per_shard):
                self._write(signatures.take(rows[start : start + self._per_shard]))
        if not self.shards:
            self._write_list()
        return len(fresh)

    def read(self) -> SignatureSet:
        """All records, shard by shard in the order of writing.

        Raises:
            ArtifactError: A shard is missing, damaged or truncated.
        """
        return SignatureSet.concat(list(self))

    def __iter__(self) -> Iterator[SignatureSet]:
        """One set per shard, so that a store need not fit into memory."""
        for shard in self.shards:
            yield self._read(shard)

    def _read(self, shard: ShardInfo) -> SignatureSet:
        path = self.directory / shard.name
        if not path.is_file() or file_sha256(path) != shard.sha256:
            raise ArtifactError(
                f"{path} is missing, truncated or changed: it does not match its hash in "
                f"{MANIFEST}. Remove it and its entry there, and capture its records again."
            )
        frame = self._frame(shard)
        shared = {name: getattr(shard, name) for name in SHARED}
        records = records_of(frame, shared)
        return SignatureSet(records, frame.drop(list(SCHEMA)))

    def _frame(self, shard: ShardInfo, columns: list[str] | None = None) -> pl.DataFrame:
        path = self.directory / shard.name
        try:
            return pl.read_parquet(path, columns=columns)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ArtifactError(f"{path} is missing or damaged ({error}).") from error

    def _write(self, part: SignatureSet) -> None:
        path = self.directory / f"shard-{len(self.shards):05d}.parquet"
        frame = pl.concat([part.examples, rows_of(part.records)], how="horizontal")
        with atomic_file(path) as temporary:
            frame.write_parquet(temporary, statistics=False)
        first = part.records[0]
        info = ShardInfo(
            path.name,
            len(part),
            sum(len(record) for record in part.records),
            path.stat().st_size,
            file_sha256(path),
            first.mode,
            first.kind,
            first.vocab_size,
            dict(first.fingerprint),
        )
        self.shards = (*self.shards, info)
        self._write_list()

    def _write_list(self) -> None:
        shards = [asdict(shard) for shard in self.shards]
        write_json(self.directory / MANIFEST, {"format": _FORMAT, "shards": shards})


def read_stores(directories: Sequence[str | Path]) -> SignatureSet:
    """The records of several stores together.

    Raises:
        ArtifactError: A folder is no store, or a shard is damaged.
        DataError: Two stores have records of the same id.
    """
    for directory in directories:
        if not (Path(directory) / MANIFEST).is_file():
            raise ArtifactError(f"{directory} is no store of signatures: it has no {MANIFEST}.")
    return SignatureSet.concat([SignatureStore(directory).read() for directory in directories])


def _listed(directory: Path) -> tuple[ShardInfo, ...]:
    path = directory / MANIFEST
    if not path.exists():
        if directory.exists() and any(directory.glob("[!.]*")):
            own = [file.name for file in directory.glob("shard-*.parquet")]
            if not own or any(file.name not in own for file in directory.glob("[!.]*")):
                raise ArtifactError(
                    f"{directory} exists and is no store of signatures (it has no {MANIFEST}); "
                    "choose another folder."
                )
        return ()
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise ArtifactError(f"{path} is no list of signatures of format {_FORMAT}.")
    try:
        return tuple(ShardInfo(**shard) for shard in found["shards"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged: {error}.") from None


def _alike(records: Sequence[SignatureRecord], places: Sequence[int]) -> list[list[int]]:
    """Places of records by what a shard says once, in order of first appearance."""
    found: dict[str, list[int]] = {}
    for place in places:
        record = records[place]
        shared = [record.mode, record.kind, record.vocab_size, dict(record.fingerprint)]
        found.setdefault(json.dumps(shared, sort_keys=True), []).append(place)
    return list(found.values())
