"""What the models recommend: shares of the catalogue, frequent items, and example users.

Everything is counted from the top lists stored with the runs, which may be those of a few users
only; every result therefore carries the number of users it stands on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from llmrec.data.splits import Cases
from llmrec.data.vocabulary import Vocabulary
from llmrec.evaluation.display import count, percent, plain
from llmrec.evaluation.report_data import ReportRun
from llmrec.evaluation.report_figures import Colours
from llmrec.evaluation.report_tables import ModelName, models_of

TOP = 10
_HISTORY = 8
_TARGETS = 5
_EXAMPLES = 4
_FEWEST_USERS = 20
_BANDS = (("top 1 %", 0.01), ("next 9 %", 0.10), ("next 40 %", 0.50), ("bottom 50 %", 1.0))


@dataclass(frozen=True)
class TopItem:
    """An item and the share of users who get it; ``width`` is that share in per cent."""

    title: str
    share: str
    width: float


@dataclass(frozen=True)
class Recommended:
    """What one model recommends."""

    model: ModelName
    users: str
    items: str
    share: str
    concentration: str
    top: tuple[TopItem, ...]


@dataclass(frozen=True)
class Segment:
    """A part of a bar: width in per cent and its text."""

    width: float
    label: str


@dataclass(frozen=True)
class Band:
    """How recommendations (or targets) spread over bands of item popularity."""

    name: str
    model: ModelName | None
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Listed:
    """One recommended item; ``hit`` if it is a target."""

    rank: int
    title: str
    hit: bool


@dataclass(frozen=True)
class ExampleList:
    """The top list of one model for one user."""

    model: ModelName
    target_rank: str
    items: tuple[Listed, ...]


@dataclass(frozen=True)
class Example:
    """One user: the newest past items, oldest first, the targets, and what every model says.

    Attributes:
        whole: Whether the history shown ends right before the targets; one stored at training
            time may end earlier.
    """

    user: str
    history: tuple[str, ...]
    events: str
    whole: bool
    targets: tuple[str, ...]
    more_targets: int
    lists: tuple[ExampleList, ...]


def band_names() -> tuple[str, ...]:
    """Names of the popularity bands, most popular first."""
    return tuple(name for name, _ in _BANDS)


def recommended(runs: Sequence[ReportRun], colours: Colours) -> list[Recommended]:
    """Count the top lists of every run that has them for at least 20 users."""
    titles = _Titles(runs)
    found = []
    for run, model in zip(runs, models_of(runs, colours), strict=True):
        lists = _described_lists(run)
        if lists is None:
            continue
        users = lists["user_id"].n_unique()
        counts = lists.group_by("item_id").len().sort(["len", "item_id"], descending=[True, False])
        size = None if run.catalog is None else len(run.catalog)
        names = titles.of(counts["item_id"].head(TOP))
        shares = (counts["len"].head(TOP) / users).to_list()
        top = [
            TopItem(name, percent(share), round(100 * min(share, 1.0), 1))
            for name, share in zip(names, shares, strict=True)
        ]
        found.append(
            Recommended(
                model,
                count(users),
                count(counts.height),
                percent(counts.height / size) if size else "–",
                percent(int(counts["len"].head(TOP).sum()) / lists.height),
                tuple(top),
            )
        )
    return found


def popularity_bands(runs: Sequence[ReportRun], colours: Colours) -> list[Band]:
    """Shares of the recommendations by popularity of the item, with the targets for comparison.

    The catalogue is ordered by training events and cut at 1, 10 and 50 per cent of its items.
    Empty if no run brings a catalogue and popularities.
    """
    known = next((r for r in runs if r.catalog is not None and r.popularity is not None), None)
    if known is None or known.catalog is None or known.popularity is None:
        return []
    band_of = _item_bands(known.catalog.vocabulary, known.popularity)
    bands = []
    if "target_id" in known.per_user.columns:
        bands.append(_band("Targets", None, known.per_user["target_id"], band_of))
    for run, model in zip(runs, models_of(runs, colours), strict=True):
        lists = _described_lists(run)
        if lists is not None:
            bands.append(_band(model.name, model, lists["item_id"], band_of))
    return bands


def examples(runs: Sequence[ReportRun], colours: Colours) -> list[Example]:
    """A few users whose lists every run with lists has: with a hit first, then without.

    Users with more than one case are left out, since their lists could belong to either.
    """
    shown = [
        run
        for run in runs
        if run.recommendations is not None and "target_rank" in run.per_user.columns
    ]
    users = _example_users(shown)
    titles = _Titles(runs)
    cases = next((run.cases for run in runs if run.cases is not None), None)
    models = {run.name: model for run, model in zip(runs, models_of(runs, colours), strict=True)}
    return [_example(user, shown, models, titles, cases) for user in users]


class _Titles:
    """Item id to a short, inert title."""

    def __init__(self, runs: Sequence[ReportRun]) -> None:
        catalog = next((run.catalog for run in runs if run.catalog is not None), None)
        self._vocabulary = None if catalog is None else catalog.vocabulary
        self._titles = pl.Series([], dtype=pl.String) if catalog is None else catalog.titles
        self._stored: dict[object, str] = {}
        for run in runs:
            if run.recommendations is not None and "title" in run.recommendations.columns:
                stored = run.recommendations.select("item_id", "title").drop_nulls()
                self._stored.update(stored.iter_rows())

    def of(self, ids: pl.Series) -> list[str]:
        codes = np.zeros(ids.len(), dtype=np.int32)
        if self._vocabulary is not None and ids.len() and ids.dtype == self._vocabulary.dtype:
            codes = self._vocabulary.encode(ids, on_unknown="zero")
        return [
            plain(self._titles[int(code) - 1] if code else self._stored.get(value, value))
            for value, code in zip(ids.to_list(), codes, strict=True)
        ]


def _top_lists(run: ReportRun) -> pl.DataFrame | None:
    lists = run.recommendations
    return None if lists is None else lists.filter(pl.col("rank") <= TOP).sort("user_id", "rank")


def _described_lists(run: ReportRun) -> pl.DataFrame | None:
    """Top lists of enough users to say something about a model, else None."""
    lists = _top_lists(run)
    enough = lists is not None and lists["user_id"].n_unique() >= _FEWEST_USERS
    return lists if enough else None


def _item_bands(vocabulary: Vocabulary, popularity: pl.DataFrame) -> pl.DataFrame:
    """Every catalogue item with the number of its popularity band."""
    items = pl.DataFrame({"item_id": vocabulary.ids}).join(
        popularity.select("item_id", "popularity"), on="item_id", how="left"
    )
    ordered = items.with_columns(pl.col("popularity").fill_null(0)).sort(
        ["popularity", "item_id"], descending=[True, False]
    )
    place = (np.arange(ordered.height) + 1) / ordered.height
    bands = np.searchsorted([edge for _, edge in _BANDS], place - 1e-12, side="left")
    return ordered.select("item_id", pl.Series("band", bands))


def _band(name: str, model: ModelName | None, ids: pl.Series, band_of: pl.DataFrame) -> Band:
    found = pl.DataFrame({"item_id": ids}).join(band_of, on="item_id", how="inner")
    counts = np.bincount(found["band"].to_numpy(), minlength=len(_BANDS))
    shares = counts / max(1, counts.sum())
    segments = [Segment(round(100 * float(share), 2), f"{100 * share:.0f} %") for share in shares]
    return Band(name, model, tuple(segments))


def _example_users(runs: Sequence[ReportRun]) -> list[Any]:
    """Half with a hit of some model, half without, each in the order of the first run."""
    if not runs or runs[0].recommendations is None:
        return []
    users = runs[0].recommendations.select("user_id").unique(maintain_order=True)
    hits = pl.DataFrame({"user_id": users["user_id"], "hit": np.zeros(users.height, dtype=bool)})
    for run in runs:
        lists = run.recommendations
        single = run.per_user.filter(pl.col("user_id").is_unique())
        single = single.select("user_id", "target_id", "target_rank")
        if lists is not None:
            hits = hits.join(lists.select("user_id").unique(), on="user_id", maintain_order="left")
        hits = hits.join(single, on="user_id", maintain_order="left")
        hit = pl.col("hit") | (pl.col("target_rank") <= TOP).fill_null(False)
        hits = hits.with_columns(hit=hit).drop("target_id", "target_rank")
    with_hit = hits.filter(pl.col("hit"))["user_id"].to_list()
    without = hits.filter(~pl.col("hit"))["user_id"].to_list()
    first = with_hit[: max(_EXAMPLES // 2, _EXAMPLES - len(without))]
    return [*first, *without[: _EXAMPLES - len(first)]]


def _example(
    user: object,
    runs: Sequence[ReportRun],
    models: Mapping[str, ModelName],
    titles: _Titles,
    cases: Cases | None,
) -> Example:
    rows = {run.name: run.per_user.filter(pl.col("user_id") == user) for run in runs}
    first = rows[runs[0].name]
    events, n_targets = int(first["history_length"][0]), int(first["n_targets"][0])
    history = _stored_history(runs, user, events)
    targets = pl.concat([frame["target_id"] for frame in rows.values()]).unique(maintain_order=True)
    if cases is not None and (row := _case_row(cases, user)) is not None:
        one = cases.take([row])
        history = one.histories.vocabulary.decode(one.histories.items)
        targets = one.histories.vocabulary.decode(one.targets)
    lists = [
        _example_list(run, models[run.name], user, targets, rows[run.name], titles) for run in runs
    ]
    return Example(
        plain(user, 40),
        tuple(titles.of(history.tail(_HISTORY))),
        count(events),
        history.len() == events,
        tuple(titles.of(targets.head(_TARGETS))),
        n_targets - min(_TARGETS, targets.len()),
        tuple(lists),
    )


def _case_row(cases: Cases, user: object) -> int | None:
    rows = np.flatnonzero((cases.histories.user_ids == user).to_numpy())
    return int(rows[0]) if rows.size == 1 else None


def _stored_history(runs: Sequence[ReportRun], user: object, events: int) -> pl.Series:
    """The oldest ``events`` items of the history stored with a run; later ones are targets."""
    for run in runs:
        if run.histories is not None:
            found = run.histories.filter(pl.col("user_id") == user)["item_id"]
            if found.len() == 1 and found[0] is not None:
                return pl.Series(found[0]).head(events)
    return pl.Series("item_id", [], dtype=pl.Int64)


def _example_list(
    run: ReportRun,
    model: ModelName,
    user: object,
    targets: pl.Series,
    row: pl.DataFrame,
    titles: _Titles,
) -> ExampleList:
    lists = _top_lists(run)
    mine = pl.DataFrame() if lists is None else lists.filter(pl.col("user_id") == user)
    wanted = set(targets.to_list())
    items = [
        Listed(int(rank), title, item in wanted)
        for rank, title, item in zip(
            mine["rank"], titles.of(mine["item_id"]), mine["item_id"], strict=True
        )
    ]
    rank = row["target_rank"][0]
    reached = rank is not None and np.isfinite(rank)  # the seen filter can take a target out
    return ExampleList(model, f"{rank:,.10g}" if reached else "", tuple(items))
