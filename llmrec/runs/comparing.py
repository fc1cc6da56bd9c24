"""Are runs different beyond noise? The comparison of the evaluation layer, for run directories.

A directory that holds the seeds of one recipe (``seed-1``, ``seed-2``, ...) counts as one model,
whose values are averaged per user. Runs that were judged differently are refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError
from llmrec.evaluation.comparison import compare
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.report_data import ReportRun, group_runs
from llmrec.runs.directory import MARKER, RunDirectory

Comparison = dict[str, Any]


def compare_runs(
    paths: Sequence[str | Path],
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    all_pairs: bool = False,
) -> list[Comparison]:
    """Compare runs user by user: paired bootstrap, sign-flip test, Holm correction.

    Args:
        paths: Run directories, the reference first.
        metrics: Metrics with a value per user; None takes all that the runs share.
        seed: Seed of the resampling.
        all_pairs: Compare every pair, not only every run with the first.

    Returns:
        Rows ``metric, other, reference, difference`` (other minus reference), ``ci95, p, p_holm,
        effect_size, n_users``.

    Raises:
        ConfigError: Fewer than two runs are given, one twice, or a metric is not known per user.
        ProtocolError: The runs were judged differently, or on different users.
        ArtifactError: A path is not a run, or the run was never evaluated.
    """
    folders = [Path(path) for path in paths]
    if len(folders) < 2:
        raise ConfigError("a comparison needs two runs or more, the reference first.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("a run is named twice; a comparison needs different runs.")
    names = _distinct_names(folders)
    models = {name: _evaluations(folder) for name, folder in zip(names, folders, strict=True)}
    table = compare(models, metrics, None if all_pairs else names[0], seed)
    return [_as_comparison(row) for row in table.iter_rows(named=True)]


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    """What runs are called in tables and reports; lengthened where two share a model."""
    runs = [ReportRun.from_directory(_seeds_of(folder)[0].path) for folder in folders]
    (group,) = group_runs(runs)
    return [run.name for run in group]


def _evaluations(folder: Path) -> list[Evaluation]:
    runs = _seeds_of(folder)
    recipes = [{**run.info["recipe"], "seeds": None} for run in runs]
    for run, recipe in zip(runs, recipes, strict=True):
        if recipe != recipes[0]:
            raise ConfigError(
                f"{run.path} was made by another recipe than {runs[0].path}, so their mean is of "
                "no model; remove or move the one that does not belong there."
            )
    return [Evaluation.load(run.path) for run in runs]


def _seeds_of(folder: Path) -> list[RunDirectory]:
    seeds = sorted(folder.glob(f"seed-*/{MARKER}"))
    if seeds and not (folder / MARKER).is_file():
        return [RunDirectory(marker.parent) for marker in seeds]
    return [RunDirectory(folder)]


def _as_comparison(row: dict[str, Any]) -> Comparison:
    kept = ("metric", "reference", "difference", "p", "p_holm", "effect_size", "n_users")
    interval = [row["ci_low"], row["ci_high"]]
    return {"other": row["model"], "ci95": interval} | {key: row[key] for key in kept}
