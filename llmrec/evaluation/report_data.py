"""What a report is made from: the files of run directories, read and checked.

A run directory must hold ``run.yaml``, ``metrics.json`` and ``per_user.parquet``; ``log.jsonl``
(models without training have none), ``neighbors.json`` (kept by models that learn from texts),
``alignment.json`` (by aligned ones), ``gates.json`` (by those with an adapter for every user),
``recommendations.parquet`` and ``histories.parquet`` may be
absent. Nothing here formats or draws, and no model is loaded.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from llmrec.data.catalog import Catalog
from llmrec.data.splits import Cases
from llmrec.data.vocabulary import as_id_series
from llmrec.errors import ArtifactError, DataError, ProtocolError, nearest_name, shorten
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.protocol import require_same
from llmrec.storage import read_json


@dataclass(frozen=True, eq=False)
class ReportRun:
    """One evaluated run.

    Attributes:
        name: What the model is called in the report.
        source: The directory it was read from, as given.
        evaluation: Its figures and per-user table.
        config: The content of ``run.yaml``.
        log: Rows of ``log.jsonl``, oldest first; empty for a model without training.
        recommendations: Top lists, columns ``user_id, item_id, rank`` and others, or None.
        histories: Columns ``user_id`` and ``item_id`` (lists, oldest first), or None.
        catalog: The items, for titles and the size of the catalogue.
        popularity: Columns ``item_id, popularity``: training events of every item that has some.
        cases: What the model was asked, for the histories and all targets of example users.
        neighbors: The content of ``neighbors.json``, or None.
        alignment: The content of ``alignment.json``, or None.
        gates: The content of ``gates.json``, or None.
    """

    name: str
    source: str
    evaluation: Evaluation
    config: Mapping[str, Any]
    log: tuple[Mapping[str, Any], ...] = ()
    recommendations: pl.DataFrame | None = None
    histories: pl.DataFrame | None = None
    catalog: Catalog | None = None
    popularity: pl.DataFrame | None = None
    cases: Cases | None = None
    neighbors: Mapping[str, Any] | None = None
    alignment: Mapping[str, Any] | None = None
    gates: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.recommendations is not None:
            _require(self.recommendations, ("user_id", "item_id", "rank"), "recommendations")
        if self.popularity is not None:
            _require(self.popularity, ("item_id", "popularity"), "popularity table")

    @classmethod
    def from_directory(
        cls,
        directory: str | Path,
        *,
        catalog: Catalog | None = None,
        popularity: pl.DataFrame | None = None,
        cases: Cases | None = None,
    ) -> "ReportRun":
        """Read the files of a run directory.

        Args:
            directory: What ``llmrec train`` wrote and ``llmrec evaluate`` completed.
            catalog: See the class; what is not given is left out of the report, which says so.
            popularity: See the class.
            cases: See the class.

        Raises:
            ArtifactError: The directory is not a run, or a file is missing or malformed; the
                sentence names the file.
        """
        directory = Path(directory)
        if not (directory / "run.yaml").is_file():
            raise ArtifactError(
                f"{directory} is not a run directory: it has no run.yaml. Name a directory that "
                "llmrec train wrote."
            )
        evaluation = Evaluation.load(directory)
        return cls(
            name=evaluation.model,
            source=str(directory),
            evaluation=evaluation,
            config=_read_config(directory / "run.yaml"),
            log=_read_log(directory / "log.jsonl"),
            recommendations=_read_table(directory / "recommendations.parquet"),
            histories=_read_table(directory / "histories.parquet"),
            catalog=catalog,
            popularity=popularity,
            cases=cases,
            neighbors=_read_told(directory / "neighbors.json", "neighbours"),
            alignment=_read_told(directory / "alignment.json", "an alignment"),
            gates=_read_told(directory / "gates.json", "gates", "entropy"),
        )

    @property
    def per_user(self) -> pl.DataFrame:
        """One row per case; judged pairs have no columns about ranks."""
        return self.evaluation.per_user


def group_runs(runs: Sequence[ReportRun], separate: bool = False) -> list[list[ReportRun]]:
    """Put runs that were judged alike together, in the order given, under distinct names.

    Args:
        runs: At least one run.
        separate: Keep unlike runs in groups of their own instead of refusing them.

    Raises:
        DataError: There is no run, or one is there twice.
        ProtocolError: The runs were not judged alike and ``separate`` is false.
    """
    if not runs:
        raise DataError("a report needs at least one run.")
    sources = [run.source for run in runs]
    if doubled := sorted({source for source in sources if sources.count(source) > 1}):
        raise DataError(f"the same run was given twice: {shorten(doubled)}.")
    groups: dict[str, list[ReportRun]] = {}
    for run in _with_distinct_names(runs):
        groups.setdefault(run.evaluation.protocol.hash, []).append(run)
    if len(groups) > 1 and not separate:
        first, second = (group[0] for group in list(groups.values())[:2])
        try:
            require_same(first.evaluation.protocol, second.evaluation.protocol)
        except ProtocolError as error:
            raise ProtocolError(f"{first.source} and {second.source}: {error}") from None
    return list(groups.values())


def _with_distinct_names(runs: Sequence[ReportRun]) -> list[ReportRun]:
    """Lengthen names that occur twice: by the variant, then by the directory."""
    named = list(runs)
    for additions in ([run.evaluation.variant for run in runs], [run.source for run in runs]):
        names = [run.name for run in named]
        named = [
            replace(run, name=f"{run.name} ({addition})")
            if names.count(run.name) > 1 and addition
            else run
            for run, addition in zip(named, additions, strict=True)
        ]
    return named


def _require(frame: pl.DataFrame, columns: Sequence[str], source: str) -> None:
    for column in columns:
        if column not in frame.columns:
            hint = nearest_name(column, frame.columns)
            raise DataError(f"{source}: there is no column {column!r}{hint}")


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(config, dict):
        raise ArtifactError(f"{path} must hold keys and values, found {type(config).__name__}.")
    return config


def _read_told(path: Path, about: str, mark: str = "schema") -> Mapping[str, Any] | None:
    """Read what a model told of its making, or None where there is no such file.

    Args:
        path: The file.
        about: What it is about.
        mark: The number by which it is known.
    """
    if not path.is_file():
        return None
    values = read_json(path)
    if not isinstance(values, dict) or not isinstance(values.get(mark), int | float):
        raise ArtifactError(f"{path} is not a report of {about}: it has no number {mark!r}.")
    return values


def _read_table(path: Path) -> pl.DataFrame | None:
    """Read a table of users and items, or None where there is no such file."""
    if not path.is_file():
        return None
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise ArtifactError(f"{path} is not a readable parquet file: {first_line}.") from None
    _require(frame, ("user_id", "item_id"), str(path))
    users = as_id_series(frame["user_id"], "user").alias("user_id")
    if isinstance(frame["item_id"].dtype, pl.List):
        return frame.with_columns(users)
    return frame.with_columns(users, as_id_series(frame["item_id"], "item").alias("item_id"))


def _read_log(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):  # no newline at its end: a kill cut it short
                break
            raise ArtifactError(f"{path} line {number} is not valid JSON: {error}.") from None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ArtifactError(f"{path} line {number} is not a log row: it has no whole 'step'.")
        rows.append(row)
    return tuple(rows)
