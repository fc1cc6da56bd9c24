"""Tables for the terminal: the figures of the report in the same words and decimals.

Nothing is computed here but text. Foreign text (titles, ids) is shown as it is, never read as
terminal markup, and control characters are taken out of it.
"""

from collections.abc import Sequence

import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from llmrec.data.catalog import Catalog
from llmrec.errors import ConfigError, DataError, nearest_name
from llmrec.evaluation.display import Cell, count, metric_cells, metric_names, plain
from llmrec.evaluation.report_data import ReportRun, group_runs

_MARKS = {"best": "*", "tie": "=", "": " "}


def metric_table(
    runs: Sequence[ReportRun], metrics: Sequence[str] | None = None, *, title: str | None = None
) -> Table:
    """Means with 95 % intervals, one column per model; the best of a row is marked ``*``.

    ``=`` marks a mean whose interval overlaps that of the best.

    Args:
        runs: Runs judged alike.
        metrics: The rows; all metrics by default.
        title: Heading of the table; the data set and part by default.

    Raises:
        ProtocolError: The runs were not judged alike.
        DataError: There is no run.
        ConfigError: No run has a metric that was asked for.
    """
    (group,) = group_runs(runs)
    known = metric_names(group)
    for name in metrics or ():
        if name not in known:
            raise ConfigError(f"no run has the metric {name!r}{nearest_name(name, known)}")
    table = Table(
        box=box.SIMPLE_HEAD,
        title=_text(title or _heading(group[0])),
        title_justify="left",
        caption=_text(
            "* best mean; = interval overlaps the best one; below each mean: 95 % interval"
        ),
        caption_justify="left",
    )
    table.add_column("metric", overflow="fold")
    for run in group:
        table.add_column(_text(run.name, 40), justify="right", overflow="fold")
    for name in metrics or known:
        table.add_row(_text(name, 40), *map(_figure, metric_cells(group, name)))
    return table


def recommendation_table(
    recommendations: pl.DataFrame,
    catalog: Catalog | None = None,
    *,
    title: str | None = None,
    targets: Sequence[object] = (),
) -> Table:
    """Top lists with titles, one row per item, hits marked where targets are given.

    Args:
        recommendations: Columns ``user_id, item_id, score, rank``; a ``title`` column is used
            where there is no catalog.
        catalog: The items, for their titles.
        title: Heading of the table.
        targets: Item ids that count as hits.

    Raises:
        DataError: A column is missing.
    """
    for column in ("user_id", "item_id", "score", "rank"):
        if column not in recommendations.columns:
            hint = nearest_name(column, recommendations.columns)
            raise DataError(f"the recommendations have no column {column!r}{hint}")
    table = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else _text(title),
        title_justify="left",
    )
    for name, right in (("user", False), ("rank", True), ("title", False), ("item", False)):
        table.add_column(name, justify="right" if right else "left")
    table.add_column("score", justify="right")
    wanted = set(targets)
    titled = _with_titles(recommendations, catalog)
    previous: object = None
    for user, item, score, rank, name in titled.iter_rows():
        hit = item in wanted
        table.add_row(
            _text(user, 30) if user != previous else "",
            str(rank),
            _text(name, 70, "bold green" if hit else "").append(" (hit)" if hit else ""),
            _text(item, 30, "dim"),
            "–" if score is None else f"{score:.4g}",
        )
        previous = user
    return table


def _with_titles(recommendations: pl.DataFrame, catalog: Catalog | None) -> pl.DataFrame:
    """Columns user, item, score, rank, title, in the order given."""
    frame = recommendations.select("user_id", "item_id", "score", "rank")
    stored = (
        recommendations["title"].cast(pl.String)
        if "title" in recommendations.columns
        else pl.Series("title", [None] * frame.height, dtype=pl.String)
    )
    if catalog is not None:
        codes = catalog.vocabulary.encode(frame["item_id"], on_unknown="zero")
        known = catalog.titles.gather((codes - 1).clip(min=0))
        stored = known.zip_with(pl.Series(codes > 0), stored)
    titles = stored.fill_null(frame["item_id"].cast(pl.String))
    return frame.with_columns(titles.alias("title"))


def _heading(run: ReportRun) -> str:
    found = run.evaluation
    return f"{found.protocol.dataset}, {found.protocol.part} part, {count(found.n_users)} users"


def _figure(cell: Cell) -> Text:
    """The mean with its mark, and on a second line its interval."""
    text = Text(f"{_MARKS[cell.mark]}{cell.mean}", style="bold" if cell.mark == "best" else "")
    return text.append(f"\n{cell.interval}", style="not bold dim") if cell.interval else text


def _text(value: object, limit: int = 120, style: str = "") -> Text:
    """Text in which square brackets and control characters do nothing."""
    return Text(plain(value, limit), style=style)
