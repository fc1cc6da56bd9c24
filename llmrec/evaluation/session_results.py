"""Committed figures of lists written for one request: ``eval/results/sessions/<name>.json``.

Systems write one list per user; a list is judged by the truth where the data are simulated, by the
reward model that systems were aligned with, and by a second reward model that nobody learnt from.
Model reward that rises without the truth is reward hacking, so they stand side by side. Choices
were made on validation users; ``validation`` holds their figures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from llmrec.errors import ArtifactError, ConfigError
from llmrec.evaluation.results import FileName, SeedFigure
from llmrec.evaluation.significance import mean_interval, resample_weights
from llmrec.storage import read_json, write_json
from llmrec.validation import Strict, validated

SESSIONS = "sessions"
FIGURES = ("true_reward", "model_reward", "second_judge", "diversity", "legality", "ndcg@10")

Values = npt.NDArray[np.float64]


class Interval(Strict):
    """A difference over users, or a share of one difference in another.

    Attributes:
        mean: Over users, seeds averaged first.
        ci95: 95 % interval of the paired bootstrap over users.
    """

    mean: float
    ci95: tuple[float, float]


class SessionResult(Strict):
    """Lists of several systems on one task.

    Attributes:
        name: Name of the figures, and of the file.
        task: Name of the task whose users they were written for.
        dataset: Name of the data set.
        dataset_fingerprint: Hash of its tables.
        split: Hash of its split.
        items: Items of a list.
        seeds: Seeds of the trained systems.
        n_users: Users judged.
        systems: System to figure (``FIGURES``) to its value on the test users.
        validation: The same on the validation users.
        closed: Share of the way from supervised training to the best sessions, on test users.
        gain: Relative gain in true reward over supervised training, on test users.
        ndcg_difference: ndcg@10 of the aligned next-item lists minus that before, on test users.
        best_of: By system and number of lists, the figures of the one that the reward model
            chooses on test users; ``possible`` is the true reward of the truly best of them, and
            ``rank_correlation`` Spearman's between reward and truth over the lists of a user.
        ablations: Variant to its figures on validation users, first seed only.
        recipe: Recipe file, relative to the project.
        commit: The commit whose code and recipe gave the figures.
        test_runs: How often test users were looked at on the way to these figures.
        hardware: Processor or accelerator.
        wall_seconds: Training and judging, all seeds together.
    """

    name: FileName
    task: FileName
    dataset: str
    dataset_fingerprint: str
    split: str
    items: NonNegativeInt
    seeds: tuple[int, ...] = Field(min_length=1)
    n_users: NonNegativeInt
    systems: dict[str, dict[str, SeedFigure]] = Field(min_length=2)
    validation: dict[str, dict[str, SeedFigure]]
    closed: Interval
    gain: Interval
    ndcg_difference: Interval
    best_of: dict[str, dict[int, dict[str, float]]]
    ablations: dict[str, dict[str, SeedFigure]]
    recipe: str
    commit: str
    test_runs: NonNegativeInt
    hardware: str
    wall_seconds: NonNegativeFloat

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for system, figures in {**self.systems, **self.validation}.items():
            if unknown := figures.keys() - set(FIGURES):
                raise ConfigError(f"{system} has the unknown figures {sorted(unknown)}.")
            for name, figure in figures.items():
                if len(figure.per_seed) != len(self.seeds):
                    raise ConfigError(f"{system}: {name} has not one value per seed.")
        return self


def figure_of(seeds: Sequence[Values]) -> SeedFigure:
    """A figure from its values per user ``[n]``, one array per seed."""
    table = np.stack(seeds)
    low, high = mean_interval(table.mean(0))
    per_seed = tuple(float(values.mean()) for values in table)
    return SeedFigure(mean=float(np.mean(per_seed)), ci95=(low, high), per_seed=per_seed)


def difference(after: Sequence[Values], before: Sequence[Values]) -> Interval:
    """Mean of ``after - before`` over users, seeds averaged first."""
    values = np.mean(after, axis=0) - np.mean(before, axis=0)
    low, high = mean_interval(values)
    return Interval(mean=float(values.mean()), ci95=(low, high))


def share_of(gained: Values, possible: Values) -> Interval:
    """``sum of gained / sum of possible`` over users ``[n]``; both may be negative for some."""
    both = np.stack([gained, possible], axis=1)
    sums = np.concatenate([weights @ both for weights in resample_weights(len(both))])
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    mean = float(gained.sum() / possible.sum())
    return Interval(mean=mean, ci95=(float(low), float(high)))


def write_session_result(result: SessionResult, folder: str | Path) -> Path:
    """Write a result to its place under ``folder`` (``eval/results``)."""
    path = Path(folder) / SESSIONS / f"{result.name}.json"
    write_json(path, result.model_dump(mode="json"))
    return path


def load_session_results(folder: str | Path) -> list[SessionResult]:
    """Read all such results under a folder, by name.

    Raises:
        ArtifactError: A file does not have the form of one.
    """
    paths = sorted((Path(folder) / SESSIONS).glob("*.json"))
    return [validated(SessionResult, read_json(path), str(path), ArtifactError) for path in paths]


def session_table(result: SessionResult) -> str:
    """A Markdown table, one row per system."""
    seeds = f"{len(result.seeds)} seeds" if len(result.seeds) > 1 else "1 seed"
    lines = [
        f"**{result.task}**, lists of {result.items}, {result.n_users:,} users, {seeds}",
        "",
        f"| system | {' | '.join(name.replace('_', ' ') for name in FIGURES)} |",
        f"|---|{'---|' * len(FIGURES)}",
    ]
    for system, figures in result.systems.items():
        cells = [_cell(figures, name) for name in FIGURES]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def curve_table(result: SessionResult) -> str:
    """A Markdown table, one row per number of lists that the reward model chooses among."""
    names = list(dict.fromkeys(name for by in result.best_of.values() for name in by[max(by)]))
    lines = [
        f"| system | lists | {' | '.join(name.replace('_', ' ') for name in names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    for system, curve in result.best_of.items():
        for number, figures in sorted(curve.items()):
            cells = [f"{figures[name]:.2f}" if name in figures else "-" for name in names]
            lines.append(f"| {system} | {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def variant_table(result: SessionResult) -> str:
    """A Markdown table, one row per variant, on validation users."""
    names = [name for name in FIGURES if name != "legality"]
    lines = [
        f"| variant | {' | '.join(name.replace('_', ' ') for name in names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for variant, figures in result.ablations.items():
        lines.append(f"| {variant} | {' | '.join(_cell(figures, name) for name in names)} |")
    return "\n".join(lines)


def _cell(figures: Mapping[str, SeedFigure], name: str) -> str:
    if name not in figures:
        return "-"
    places = 2 if name == "true_reward" else 4 if name.startswith("ndcg") else 3
    return f"{figures[name].mean:.{places}f}"
