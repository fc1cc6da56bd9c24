"""One HTML page about runs, with the data they were judged on where a copy is at hand.

Without the data the page still holds all figures; titles then come from the runs, and the
histories of example users are left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.data.named import load_dataset
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError, LlmrecError
from llmrec.evaluation.report import write_report
from llmrec.evaluation.report_data import ReportRun
from llmrec.runs.comparing import compare_runs
from llmrec.runs.directory import RunDirectory
from llmrec.runs.execute import stored_task
from llmrec.storage import read_json


def report_runs(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    title: str | None = None,
    comparisons: Sequence[dict[str, Any]] | None = None,
    split: Split | None = None,
    stores: Sequence[str | Path] = (),
) -> Path:
    """Write the report of runs.

    Args:
        paths: Run directories, the reference first.
        output: The HTML file.
        title: Heading; the task of the first run by default.
        comparisons: Rows of :func:`~llmrec.runs.comparing.compare_runs`; None compares every
            run with the first.
        split: The split the runs were judged under, where the caller has it already.
        stores: Adapter stores, or JSON files of what ``llmrec.adapters.diagnostics.diagnose``
            found in the process that serves them.

    Returns:
        The path written.

    Raises:
        ProtocolError: The runs were judged differently.
        ArtifactError: A path is not a run, or the run was never evaluated; or a store is none.
    """
    runs = [RunDirectory(path) for path in paths]
    context = _context(runs[0], runs[0].metrics["part"], split)
    loaded = [ReportRun.from_directory(run.path, **context) for run in runs]
    if comparisons is None:
        comparisons = compare_runs(paths) if len(paths) > 1 else []
    return write_report(
        loaded,
        output,
        title=title or f"{stored_task(runs[0]).name}: {', '.join(run.name for run in runs)}",
        comparisons=comparisons,
        stores=[(Path(store).stem, _health(Path(store))) for store in stores],
    )


def _health(store: Path) -> dict[str, Any]:
    """What is known of an adapter store, from itself or from a file."""
    from llmrec.adapters.diagnostics import diagnose
    from llmrec.adapters.store import AdapterStore

    if not store.is_file():
        return diagnose(AdapterStore(store))
    values = read_json(store)
    if not isinstance(values, dict) or not isinstance(values.get("expert_cosine"), int | float):
        raise ArtifactError(
            f"{store} does not tell of an adapter store: it has no number 'expert_cosine'. Name a "
            "store, or a file with what diagnose(store) returned."
        )
    return values


def _context(run: RunDirectory, part: str, split: Split | None) -> dict[str, Any]:
    """Catalog, popularities and cases, or nothing where the data cannot be had."""
    if split is None:
        try:
            task = stored_task(run)
            split = task.split(load_dataset(task.dataset))
        except LlmrecError:
            return {}
    if split.hash != run.info["split"]["hash"]:
        return {}
    train = split.train_histories()
    counts = pl.DataFrame({"item_id": train.vocabulary.decode(train.items)})
    popularity = counts.group_by("item_id").agg(popularity=pl.len()).sort("item_id")
    cases = split.cases(part)  # type: ignore[arg-type]
    return {"catalog": split.dataset.catalog, "popularity": popularity, "cases": cases}
