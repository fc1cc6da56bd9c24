"""What an evaluation found, in memory and as ``metrics.json`` with ``per_user.parquet``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from llmrec.data.splits import Cases
from llmrec.errors import ArtifactError
from llmrec.evaluation.protocol import JudgedPart, Protocol
from llmrec.storage import atomic_file, read_json, write_json
from llmrec.validation import Strict, validated


class Figure(Strict):
    """A mean over cases.

    Attributes:
        mean: The mean; None where no case has a value.
        ci95: 95 % interval from resampling users; None where none is defined (coverage, one case).
        n: Number of cases with a value.
    """

    mean: float | None
    ci95: tuple[float, float] | None
    n: int

    @classmethod
    def of(cls, mean: float, interval: npt.ArrayLike | None, n: int) -> "Figure":
        """Make a figure from numbers that may be NaN."""
        ends = None if interval is None else [float(end) for end in np.asarray(interval)]
        known = ends is not None and all(math.isfinite(end) for end in ends)
        return cls(
            mean=float(mean) if math.isfinite(mean) else None,
            ci95=(ends[0], ends[1]) if known and ends is not None else None,
            n=int(n),
        )


class Group(Strict):
    """The figures of one group of cases."""

    n: int
    metrics: dict[str, Figure]


@dataclass(frozen=True, eq=False)
class TopLists:
    """What a model recommends in every case.

    Attributes:
        user_ids: ``[cases]``.
        codes: ``[cases, k]`` int32 item codes, best first, 0 where there are fewer.
        scores: ``[cases, k]`` float32.
        item_ids: ``[items]`` id of code ``i + 1``.
    """

    user_ids: pl.Series
    codes: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    item_ids: pl.Series

    def frame(self, rows: Sequence[int] | None = None) -> pl.DataFrame:
        """A table ``user_id, item_id, score, rank`` of some cases or all."""
        chosen = np.arange(len(self.codes)) if rows is None else np.asarray(rows, dtype=np.int64)
        case, place = np.nonzero(self.codes[chosen])
        codes = self.codes[chosen][case, place].astype(np.int64)
        return pl.DataFrame(
            {
                "user_id": self.user_ids.gather(chosen[case]),
                "item_id": self.item_ids.gather(codes - 1),
                "score": self.scores[chosen][case, place],
                "rank": (place + 1).astype(np.int32),
            }
        )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        task: Name of the task.
        model: Name of the model.
        variant: What sets this model apart from others of its name; may be empty.
        protocol: How the figures were obtained.
        per_user: One row per case with its metrics (see the module of the harness).
        metrics: Figures over all cases.
        slices: Kind of slice, then group, to figures.
        n_skipped: Users of the data set who have no case in this part.
        n_unknown_items: Items of the catalogue that the model does not know.
        n_excluded_targets: Targets that the seen filter took out; they count as missed.
        seconds: ``scoring`` (in the model) and ``ranking`` (ranks and lists).
        notes: What was left out, and why.
        top: The top lists, or None when read from disk.
        cases: The cases, or None when read from disk.
    """

    task: str
    model: str
    variant: str
    protocol: Protocol
    per_user: pl.DataFrame
    metrics: Mapping[str, Figure]
    slices: Mapping[str, Mapping[str, Group]] = field(default_factory=dict)
    n_skipped: int = 0
    n_unknown_items: int = 0
    n_excluded_targets: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    top: TopLists | None = None
    cases: Cases | None = None

    @property
    def n_users(self) -> int:
        """Number of cases judged."""
        return self.per_user.height

    @property
    def users_per_second(self) -> float | None:
        """Cases judged per second, scoring included."""
        total = sum(self.seconds.values())
        return self.n_users / total if total > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return MetricsFile(
            task=self.task,
            model=self.model,
            variant=self.variant,
            part=self.protocol.part,
            protocol=self.protocol,
            protocol_hash=self.protocol.hash,
            dataset=self.protocol.dataset,
            dataset_fingerprint=self.protocol.dataset_fingerprint,
            split_hash=self.protocol.split.hash,
            metrics=dict(self.metrics),
            slices={kind: dict(groups) for kind, groups in self.slices.items()},
            n_users=self.n_users,
            n_skipped=self.n_skipped,
            n_unknown_items=self.n_unknown_items,
            n_excluded_targets=self.n_excluded_targets,
            seconds=dict(self.seconds),
            users_per_second=self.users_per_second,
            notes=self.notes,
        ).model_dump(mode="json", by_alias=True)

    def save(self, directory: str | Path) -> None:
        """Write ``per_user.parquet`` and ``metrics.json``, each whole or not at all."""
        directory = Path(directory)
        with atomic_file(directory / "per_user.parquet") as temporary:
            self.per_user.write_parquet(temporary)
        write_json(directory / "metrics.json", self.to_dict())

    @classmethod
    def load(cls, directory: str | Path) -> "Evaluation":
        """Read what :meth:`save` wrote; ``top`` and ``cases`` are then None.

        Raises:
            ArtifactError: A file is missing, is not what it must be, or the two do not belong
                together.
        """
        directory = Path(directory)
        source = directory / "metrics.json"
        stored = validated(MetricsFile, read_json(source), str(source), ArtifactError)
        if stored.protocol.hash != stored.protocol_hash:
            raise ArtifactError(f"{source}: protocol_hash does not match the protocol in the file.")
        per_user = _read_per_user(directory / "per_user.parquet")
        return cls(
            stored.task,
            stored.model,
            stored.variant,
            stored.protocol,
            per_user,
            stored.metrics,
            stored.slices,
            stored.n_skipped,
            stored.n_unknown_items,
            stored.n_excluded_targets,
            stored.seconds,
            stored.notes,
        )


class MetricsFile(BaseModel):
    """The form of ``metrics.json``; keys of later versions are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    version: Literal[1] = Field(default=1, alias="schema")
    task: str
    model: str
    variant: str = ""
    part: JudgedPart
    protocol: Protocol
    protocol_hash: str
    dataset: str
    dataset_fingerprint: str
    split_hash: str
    metrics: dict[str, Figure]
    slices: dict[str, dict[str, Group]] = Field(default_factory=dict)
    n_users: int
    n_skipped: int = 0
    n_unknown_items: int = 0
    n_excluded_targets: int = 0
    seconds: dict[str, float] = Field(default_factory=dict)
    users_per_second: float | None = None
    notes: tuple[str, ...] = ()


def _read_per_user(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; evaluate the model again.")
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ArtifactError(f"{path} is not a readable parquet file: {error}.") from None
    if "user_id" not in frame.columns:
        raise ArtifactError(f"{path} has no column 'user_id'; evaluate the model again.")
    return frame
