"""One call from a fitted model to judged figures.

The model must not have seen what it is judged on (checked against where its training events came
from). It is given histories in its own item codes and answers with scores; ranks, lists, metrics,
groups and intervals are made here, block by block. The model is not changed.

``per_user`` of a full ranking has one row per case: ``user_id``, one column per per-case metric,
``history_length`` (input events), ``n_targets``, ``target_rank`` (best rank among the targets, ties
half, infinity if the seen filter took it out), ``target_id`` (the best-ranked target),
``target_popularity`` (its training events) and ``cold_target`` (it has none). For judged pairs see
:mod:`llmrec.evaluation.judged_pairs`.
"""

from time import perf_counter

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.contracts import Recommender
from llmrec.data.ragged import row_of_each
from llmrec.data.splits import TRAIN, Cases, LabelledCases, Split
from llmrec.errors import DataError, ProtocolError, shorten
from llmrec.evaluation.figures import summarise, summarise_slices
from llmrec.evaluation.judged_pairs import (
    NEEDS_PROBABILITIES,
    pair_figures,
    score_pairs,
    user_table,
)
from llmrec.evaluation.metrics import Metric, lists, parse_metric
from llmrec.evaluation.metrics.ranking import per_case
from llmrec.evaluation.outcome import Evaluation, Figure, TopLists
from llmrec.evaluation.protocol import JudgedPart, Judging, Protocol, require_unseen
from llmrec.evaluation.ranks import BLOCK, Ranking, rank_cases, require_k
from llmrec.evaluation.slices import Slicing, by_cold, by_history_length, by_target_popularity
from llmrec.evaluation.tasks import Task
from llmrec.evaluation.translation import Translation

Values = npt.NDArray[np.float64]

LISTED = 10
"""Length of the top lists when no metric asks for longer ones."""


def evaluate(
    recommender: Recommender,
    split: Split,
    task: Task | Protocol,
    part: JudgedPart = "test",
    limit: int | None = None,
    *,
    model: str | None = None,
    variant: str = "",
    block: int = BLOCK,
    seed: int = 0,
) -> Evaluation:
    """Judge a fitted model.

    Args:
        recommender: The model. Of the contract only ``vocabulary``, ``seen`` and
            ``score_catalog`` are used, and ``score_pairs`` if it has it.
        split: The split the task names (``task.split(dataset)``).
        task: What to measure. A :class:`Protocol` fixes part and limit itself.
        part: ``"valid"`` or ``"test"``.
        limit: Judge only so many cases, drawn with a fixed seed.
        model: Name for tables; None takes the class's.
        variant: What sets this model apart from others of its name.
        block: Histories scored at once.
        seed: Seed of the intervals.

    Raises:
        ProtocolError: The split is not the task's, the model has seen what it is judged on, or it
            knows no item of the data.
        DataError: The model's scores are NaN or have the wrong shape, or it refuses its input.
        ConfigError: A list is to be longer than the catalogue.
    """
    name, protocol = _protocol(split, task, part, limit)
    require_unseen(recommender.seen, split, protocol.part)
    labels = (name, model or type(recommender).__name__, variant)
    if protocol.candidates == "pairs":
        return _judge_pairs(recommender, split, protocol, labels, block, seed)
    return _judge_ranking(recommender, split, protocol, labels, block, seed)


def require_judgeable(split: Split, judging: Judging) -> None:
    """Refuse what cannot be measured on a split, before a model is trained for it.

    Raises:
        ConfigError: A list is to be longer than the catalogue.
        DataError: A metric needs a column that the catalogue lacks.
    """
    if judging.candidates == "pairs":
        return
    for metric in map(parse_metric, judging.metrics):
        require_k(metric.k or 1, len(split.dataset.catalog))
        if metric.base == "intra_list_diversity":
            lists.require_categories(split.dataset.catalog)


def _protocol(
    split: Split, task: Task | Protocol, part: JudgedPart, limit: int | None
) -> tuple[str, Protocol]:
    if isinstance(task, Task):
        task.require_fitting(split)
        return task.name, Protocol.of(split, task.judging, part, limit)
    if task.split.hash != split.hash:
        raise ProtocolError(
            f"the protocol is for split {task.split.name} {task.split.hash} of {task.dataset}, "
            f"not for {split.name} {split.hash} of {split.dataset.name}."
        )
    return task.dataset, task


def _judge_ranking(
    recommender: Recommender,
    split: Split,
    protocol: Protocol,
    labels: tuple[str, str, str],
    block: int,
    seed: int,
) -> Evaluation:
    require_judgeable(split, protocol)
    metrics = [parse_metric(metric) for metric in protocol.metrics]
    items = len(split.dataset.catalog)
    lengths = [metric.k or 1 for metric in metrics if metric.family == "list"]
    cases = split.cases(protocol.part)
    skipped = len(split.dataset.user_vocabulary) - len(cases)
    cases = cases.take(_sample(len(cases), protocol.limit))
    translation = Translation(split.dataset.item_vocabulary, recommender.vocabulary)
    with translation.told():
        ranking = rank_cases(
            translation.catalog_scorer(recommender.score_catalog),
            cases,
            max([min(LISTED, items), *lengths]),
            protocol.filter_seen,
            protocol.history_length,
            block,
        )
    counts, users = _training_counts(split)
    values, fixed = _case_values(metrics, ranking, split, users)
    slicings = _slicings(protocol.slices, cases, counts)
    figures = summarise(values, seed=seed) | fixed
    return Evaluation(
        *labels,
        protocol=protocol,
        per_user=_per_user(cases, ranking, values, counts),
        metrics={name: figures[name] for name in protocol.metrics},
        slices=summarise_slices(values, slicings, seed),
        n_skipped=skipped,
        n_unknown_items=int(translation.unknown.sum()),
        n_excluded_targets=int(np.isinf(ranking.flat_ranks).sum()),
        seconds={"scoring": ranking.scoring, "ranking": ranking.ranking},
        top=TopLists(
            cases.histories.user_ids,
            ranking.top,
            ranking.top_scores,
            split.dataset.item_vocabulary.ids,
        ),
        cases=cases,
    )


def _judge_pairs(
    recommender: Recommender,
    split: Split,
    protocol: Protocol,
    labels: tuple[str, str, str],
    block: int,
    seed: int,
) -> Evaluation:
    cases = split.labelled_cases(protocol.part)
    everyone = len(split.dataset.user_vocabulary)
    skipped = everyone - cases.histories.user_ids.n_unique()
    rows = _sample(len(cases), protocol.limit)
    cases = LabelledCases(
        cases.histories.take(rows), cases.items[rows], cases.labels[rows], cases.part
    )
    begin = perf_counter()
    scores, probabilities = score_pairs(recommender, cases, protocol.history_length, block)
    seconds = perf_counter() - begin
    table, users = user_table(cases, scores, probabilities)
    left_out = [m for m in protocol.metrics if m in NEEDS_PROBABILITIES and not probabilities]
    note = f"{', '.join(left_out)} left out: the model gives scores, not probabilities."
    translation = Translation(split.dataset.item_vocabulary, recommender.vocabulary)
    return Evaluation(
        *labels,
        protocol=protocol,
        per_user=table,
        metrics=pair_figures(protocol.metrics, cases, scores, table, users, seed),
        n_skipped=skipped,
        n_unknown_items=int(translation.unknown.sum()),
        seconds={"scoring": seconds},
        notes=(note,) if left_out else (),
    )


def _sample(n: int, limit: int | None) -> npt.NDArray[np.int64]:
    """All rows, or ``limit`` of them drawn with a fixed seed, in order."""
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, limit, replace=False))


def _training_counts(split: Split) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``[items]`` training events of every item, and the distinct users they come from."""
    mask = split.parts == TRAIN
    items = split.dataset.item_codes[mask]
    size = len(split.dataset.catalog) + 1
    owners = row_of_each(split.dataset.user_offsets)[mask]
    distinct = np.unique(owners * size + items) % size
    return np.bincount(items, minlength=size)[1:], np.bincount(distinct, minlength=size)[1:]


def _case_values(
    metrics: list[Metric], ranking: Ranking, split: Split, item_users: npt.NDArray[np.int64]
) -> tuple[dict[str, Values], dict[str, Figure]]:
    """Per-case values by metric, and the figures of metrics that have none."""
    values: dict[str, Values] = {}
    fixed: dict[str, Figure] = {}
    for metric in metrics:
        if metric.family == "ranking":
            values[metric.name] = per_case(metric.name, ranking.ranks)
            continue
        listed = ranking.top[:, : metric.k]
        if metric.base == "coverage":
            share = lists.coverage(listed, len(split.dataset.catalog))
            fixed[metric.name] = Figure.of(share, None, len(listed))
        elif metric.base == "novelty":
            users = len(split.train_histories())
            values[metric.name] = lists.novelty(listed, item_users, users)
        else:
            vectors = lists.category_vectors(split.dataset.catalog)
            values[metric.name] = lists.intra_list_diversity(listed, vectors)
    return values, fixed


def _slicings(
    wanted: tuple[str, ...], cases: Cases, counts: npt.NDArray[np.int64]
) -> dict[str, Slicing]:
    popularity = counts[cases.targets - 1]
    bounds = cases.target_offsets[:-1]
    found: dict[str, Slicing] = {}
    if "history_length" in wanted:
        found["history_length"] = by_history_length(cases.histories.lengths)
    if "target_popularity" in wanted:
        found["target_popularity"] = by_target_popularity(_medians(popularity, cases), counts)
    if "cold" in wanted:
        found["cold"] = by_cold(np.minimum.reduceat(popularity, bounds) == 0)
    return {kind: found[kind] for kind in wanted}


def _medians(popularity: npt.NDArray[np.int64], cases: Cases) -> npt.NDArray[np.int64]:
    """``[cases]`` lower median of the targets' popularity."""
    owner = row_of_each(cases.target_offsets)
    ordered = popularity[np.lexsort((popularity, owner))]
    sizes = np.diff(cases.target_offsets)
    return np.asarray(ordered[cases.target_offsets[:-1] + (sizes - 1) // 2])


def _per_user(
    cases: Cases, ranking: Ranking, values: dict[str, Values], counts: npt.NDArray[np.int64]
) -> pl.DataFrame:
    users = cases.histories.user_ids
    if users.n_unique() != users.len():
        doubled = users.filter(users.is_duplicated()).unique(maintain_order=True)
        raise DataError(f"users have more than one case: {shorten(doubled)}.")
    owner = row_of_each(cases.target_offsets)
    order = np.lexsort((ranking.flat_ranks, owner))  # stable: the earlier of equal targets
    best = cases.targets[order][cases.target_offsets[:-1]]
    popularity = counts[best - 1]
    return pl.DataFrame(
        {
            "user_id": users,
            **{name: pl.Series(column).fill_nan(None) for name, column in values.items()},
            "history_length": cases.histories.lengths,
            "n_targets": np.diff(cases.target_offsets),
            "target_rank": ranking.ranks.best(),
            "target_id": cases.histories.vocabulary.decode(best),
            "target_popularity": popularity,
            "cold_target": popularity == 0,
        }
    )
