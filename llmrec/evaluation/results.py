"""Committed results and benchmarks: one JSON file each, of one form, and the tables made of them.

``eval/results/<task>/<model>.json`` holds a model's figures on the test part of a task, over its
seeds; ``eval/results/benchmarks/<name>.json`` a measured time beside a peer's. Files that do not
have this form are refused, never repaired.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, model_validator

from llmrec.errors import ArtifactError, ConfigError, ProtocolError
from llmrec.evaluation.comparison import average_seeds, user_column
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.protocol import Protocol, require_same
from llmrec.evaluation.significance import ratio_intervals
from llmrec.storage import read_json, write_json
from llmrec.validation import Strict, validated

BENCHMARKS = "benchmarks"
_NOT_TASKS = (BENCHMARKS, "ablations", "signatures", "sessions", "streams")

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _file_name(value: str) -> str:
    if not _FILE_NAME.fullmatch(value):
        raise ConfigError(
            f"{value!r} cannot be part of a file name; use letters, digits, '.', '_' and '-'."
        )
    return value


FileName = Annotated[str, AfterValidator(_file_name)]


class SeedFigure(Strict):
    """A metric over the seeds of a model.

    Attributes:
        mean: Mean over seeds.
        ci95: 95 % interval from resampling users, their values averaged over seeds; None where
            the metric is not a mean over users.
        per_seed: The metric of every seed, in the order of the seeds.
    """

    mean: float
    ci95: tuple[float, float] | None
    per_seed: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if abs(self.mean - float(np.mean(self.per_seed))) > 1e-6:
            raise ConfigError(f"mean {self.mean} is not the mean of per_seed {self.per_seed}.")
        return self


class Result(Strict):
    """A model's figures on a task.

    Attributes:
        task: Name of the task.
        dataset: Name of the data set.
        dataset_fingerprint: Hash of its tables.
        protocol: How the figures were obtained.
        model: Name of the model.
        variant: What sets it apart from others of its name; may be empty.
        metrics: Figures on the test part.
        validation: Figures on the validation part, by which the model was chosen.
        n_users: Number of cases judged.
        seeds: Seeds of the training runs; ``(0,)`` for a model without randomness.
        recipe: Recipe file, relative to the project, or None for a model without one.
        commit: The commit whose code and recipe gave the figures.
        test_runs: How often the test part was looked at on the way to these figures.
        hardware: Processor or accelerator.
        wall_seconds: Training and judging, all seeds together.
    """

    task: FileName
    dataset: str
    dataset_fingerprint: str
    protocol: Protocol
    model: FileName
    variant: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    metrics: dict[str, SeedFigure] = Field(min_length=1)
    validation: dict[str, SeedFigure] = Field(default_factory=dict)
    n_users: NonNegativeInt
    seeds: tuple[int, ...] = Field(min_length=1)
    recipe: str | None
    commit: str
    test_runs: NonNegativeInt
    hardware: str
    wall_seconds: NonNegativeFloat

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, figure in self.metrics.items():
            if len(figure.per_seed) != len(self.seeds):
                raise ConfigError(
                    f"metric {name} has {len(figure.per_seed)} values for {len(self.seeds)} seeds."
                )
        if self.protocol.dataset_fingerprint != self.dataset_fingerprint:
            raise ConfigError("dataset_fingerprint differs from the one in the protocol.")
        return self

    @property
    def file_name(self) -> str:
        """``model.json`` or ``model--variant.json``."""
        return f"{self.model}{'--' if self.variant else ''}{self.variant}.json"


class Timing(Strict):
    """Seconds a system took."""

    seconds: NonNegativeFloat


class PeerTiming(Timing):
    """Seconds another system took for the same job."""

    name: str
    version: str


class Spread(Strict):
    """How many times faster we were, over repetitions."""

    median: float
    min: float
    max: float


class Benchmark(Strict):
    """A measured time, beside a peer's where there is one.

    Attributes:
        benchmark: Name of the job.
        setting: What exactly was run: data, sizes, threads.
        ours: Our time.
        peer: The other system's time, or None.
        ratio: Peer over ours, or None without a peer.
        ceiling_share: Share of the machine's measured ceiling that was reached, or None.
        machine: Processor and number of cores used.
        commit: The commit that was measured.
    """

    benchmark: FileName
    setting: str | dict[str, str | int | float | bool]
    ours: Timing
    peer: PeerTiming | None
    ratio: Spread | None
    ceiling_share: float | None
    machine: str
    commit: str


def make_result(
    evaluations: Sequence[Evaluation],
    seeds: Sequence[int],
    *,
    recipe: str | None,
    commit: str,
    test_runs: int,
    hardware: str,
    wall_seconds: float,
    validation: Sequence[Evaluation] = (),
) -> Result:
    """Join the evaluations of a model's seeds.

    Args:
        evaluations: One per seed, on the test part.
        seeds: The seeds, in the same order.
        recipe: See :class:`Result`, like the other arguments.
        commit: The commit whose code and recipe gave the figures.
        test_runs: How often the test part was looked at.
        hardware: Processor or accelerator.
        wall_seconds: Training and judging, all seeds together.
        validation: One evaluation per seed on the validation part.

    Raises:
        ProtocolError: The evaluations differ in protocol or users.
        ConfigError: There is not one evaluation per seed.
    """
    if len(evaluations) != len(seeds):
        raise ConfigError(f"{len(evaluations)} evaluations for {len(seeds)} seeds.")
    first = evaluations[0]
    return Result(
        task=first.task,
        dataset=first.protocol.dataset,
        dataset_fingerprint=first.protocol.dataset_fingerprint,
        protocol=first.protocol,
        model=first.model,
        variant=first.variant,
        metrics=figures_over_seeds(evaluations),
        validation=figures_over_seeds(validation) if validation else {},
        n_users=first.n_users,
        seeds=tuple(seeds),
        recipe=recipe,
        commit=commit,
        test_runs=test_runs,
        hardware=hardware,
        wall_seconds=wall_seconds,
    )


def write_result(result: Result | Benchmark, folder: str | Path) -> Path:
    """Write a result or a benchmark to its place under ``folder`` (``eval/results``)."""
    if isinstance(result, Benchmark):
        path = Path(folder) / BENCHMARKS / f"{result.benchmark}.json"
    else:
        path = Path(folder) / result.task / result.file_name
    write_json(path, result.model_dump(mode="json"))
    return path


def load_results(folder: str | Path) -> list[Result]:
    """Read all results under a folder, by task and model.

    Raises:
        ArtifactError: A file does not have the form of a result, or lies in the wrong place.
    """
    found = []
    for path in sorted(Path(folder).glob("*/*.json")):
        if path.parent.name in _NOT_TASKS:
            continue
        result = validated(Result, read_json(path), str(path), ArtifactError)
        if (path.parent.name, path.name) != (result.task, result.file_name):
            raise ArtifactError(f"{path} holds the result {result.task}/{result.file_name}.")
        found.append(result)
    return found


def load_benchmarks(folder: str | Path) -> list[Benchmark]:
    """Read all benchmarks under a folder, by name.

    Raises:
        ArtifactError: A file does not have the form of a benchmark.
    """
    paths = sorted((Path(folder) / BENCHMARKS).glob("*.json"))
    return [validated(Benchmark, read_json(path), str(path), ArtifactError) for path in paths]


def results_table(
    folder: str | Path, task: str | None = None, metrics: Sequence[str] | None = None
) -> str:
    """Markdown tables of the results under a folder, one per task, with intervals.

    Args:
        folder: ``eval/results``.
        task: Only this task.
        metrics: Columns; None takes the metrics of the task's protocol.

    Raises:
        ArtifactError: A file does not have the form of a result.
        ProtocolError: Results of one task were obtained under different protocols.
    """
    by_task: dict[str, list[Result]] = {}
    for result in load_results(folder):
        if task is None or result.task == task:
            by_task.setdefault(result.task, []).append(result)
    return "\n\n".join(_table(results, metrics) for results in by_task.values())


def _table(results: Sequence[Result], metrics: Sequence[str] | None) -> str:
    first = results[0]
    for result in results[1:]:
        try:
            require_same(first.protocol, result.protocol)
        except ProtocolError as error:
            raise ProtocolError(
                f"{first.task}: {first.file_name} and {result.file_name}: {error}"
            ) from None
    columns = list(metrics or first.protocol.metrics)
    lines = [
        f"**{first.task}** ({first.protocol.describe()}, {first.n_users:,} users)",
        "",
        f"| model | {' | '.join(columns)} | seeds |",
        f"|---|{'---|' * len(columns)}---|",
    ]
    for result in results:
        name = f"{result.model} {result.variant}".strip()
        cells = " | ".join(_cell(result.metrics.get(column)) for column in columns)
        lines.append(f"| {name} | {cells} | {len(result.seeds)} |")
    return "\n".join(lines)


def _cell(figure: SeedFigure | None) -> str:
    if figure is None:
        return "-"
    interval = "" if figure.ci95 is None else f" [{figure.ci95[0]:.4f}, {figure.ci95[1]:.4f}]"
    return f"{figure.mean:.4f}{interval}"


def figures_over_seeds(evaluations: Sequence[Evaluation]) -> dict[str, SeedFigure]:
    """Every metric over the seeds of one model, with an interval where it is a mean over users.

    Raises:
        ProtocolError: The evaluations differ in protocol or users.
    """
    for evaluation in evaluations[1:]:
        require_same(evaluations[0].protocol, evaluation.protocol)
    table = average_seeds(evaluations)
    found: dict[str, SeedFigure] = {}
    for name, per_seed in _values_per_seed(evaluations).items():
        column = user_column(name, table)
        interval = evaluations[0].metrics[name].ci95 if len(evaluations) == 1 else None
        if column is not None:
            values, weights = column
            weights = np.where(np.isnan(values), 0.0, weights)
            tops = np.where(np.isnan(values), 0.0, values) * weights
            low, high = ratio_intervals(tops[:, None], weights[:, None])[0]
            interval = (float(low), float(high)) if np.isfinite([low, high]).all() else None
        found[name] = SeedFigure(mean=float(np.mean(per_seed)), ci95=interval, per_seed=per_seed)
    return found


def _values_per_seed(evaluations: Sequence[Evaluation]) -> Mapping[str, tuple[float, ...]]:
    """Metrics that have a value in every seed."""
    found = {}
    for name in evaluations[0].metrics:
        figures = [e.metrics[name].mean for e in evaluations if name in e.metrics]
        values = tuple(value for value in figures if value is not None)
        if len(values) == len(evaluations):
            found[name] = values
    return found
