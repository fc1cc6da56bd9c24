"""Scoring and judging given user-item pairs.

A model with a method ``score_pairs(histories, codes) -> [n]`` answers with the probability that
the item is liked; any other model's catalogue scores are looked up. Scores order pairs, so AUCs
are always defined; logloss, accuracy and ece need probabilities and are left out, with a note,
where there are none. One user's pairs stay together in every resample.
"""

from collections.abc import Callable
from typing import Protocol as Structure
from typing import runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.contracts import Recommender
from llmrec.data.histories import Histories
from llmrec.data.splits import LabelledCases
from llmrec.errors import DataError, shorten
from llmrec.evaluation.figures import summarise
from llmrec.evaluation.metrics import pairs
from llmrec.evaluation.outcome import Figure
from llmrec.evaluation.ranks import BLOCK, LOWEST, Scores
from llmrec.evaluation.significance import resample_weights
from llmrec.evaluation.translation import Translation

Values = npt.NDArray[np.float64]

NEEDS_PROBABILITIES = ("logloss", "accuracy", "ece")
WEIGHTS = {"gauc": "n_pairs", "logloss": "n_pairs", "accuracy": "n_pairs"}
"""Metrics that are means over users weighted by a column of the per-user table."""

COLUMNS = {"uauc": "user_auc", "gauc": "user_auc", "logloss": "logloss", "accuracy": "accuracy"}
"""Metrics that are means over users, and the column of the per-user table they average."""


@runtime_checkable
class PairScorer(Structure):
    """A model that judges pairs directly."""

    def score_pairs(self, histories: Histories, items: npt.NDArray[np.int32]) -> Scores:
        """Probability that item ``items[i]`` is liked after history ``i``: ``[n]``."""
        ...


def score_pairs(
    recommender: Recommender,
    cases: LabelledCases,
    history_length: int | None = None,
    block: int = BLOCK,
) -> tuple[Values, bool]:
    """Score every judged pair, a block of histories at a time.

    Pairs with an item that the model does not know get probability 0.5, or the lowest score.

    Returns:
        ``[n]`` scores, and whether they are probabilities.

    Raises:
        DataError: A score is NaN, or ``score_pairs`` gives another shape or values outside 0-1.
    """
    translation = Translation(cases.histories.vocabulary, recommender.vocabulary)
    direct = isinstance(recommender, PairScorer)
    codes = translation.codes(cases.items)
    scores = np.full(len(cases), 0.5 if direct else LOWEST, dtype=np.float64)
    score = recommender.score_pairs if isinstance(recommender, PairScorer) else _gather(recommender)
    known = np.flatnonzero(codes)
    for start in range(0, known.size, block):
        rows = known[start : start + block]
        histories = cases.histories.take(rows)
        given = histories if history_length is None else histories.last(history_length)
        with translation.told():
            answer = np.asarray(score(translation.histories(given), codes[rows]))
        _require_numbers(answer, histories.user_ids)
        scores[rows] = answer
    if direct and not ((scores >= 0) & (scores <= 1)).all():
        raise DataError("score_pairs must give probabilities between 0 and 1.")
    return scores, direct


def user_table(
    cases: LabelledCases, scores: Values, probabilities: bool
) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    """One row per user, and the row of every pair.

    Columns: ``user_id``, ``user_auc`` (null without both labels), with probabilities ``logloss``
    and ``accuracy`` (means over the user's pairs), ``n_pairs``, ``n_targets`` (liked items) and
    ``history_length`` (events before the user's first pair).
    """
    ids = cases.histories.user_ids
    users = ids.rank("dense").cast(pl.Int64).to_numpy() - 1
    values, counts = pairs.auc_per_user(users, cases.labels, scores)
    first = np.full(counts.size, np.iinfo(np.int64).max)
    np.minimum.at(first, users, cases.histories.lengths)
    columns: dict[str, object] = {"user_auc": pl.Series(values).fill_nan(None)}
    if probabilities:
        loss = pairs.logloss_per_pair(cases.labels, scores)
        right = pairs.correct_per_pair(cases.labels, scores)
        columns["logloss"] = np.bincount(users, loss) / counts
        columns["accuracy"] = np.bincount(users, right) / counts
    columns["n_pairs"] = counts
    columns["n_targets"] = np.bincount(users, cases.labels).astype(np.int64)
    columns["history_length"] = first
    return pl.DataFrame({"user_id": ids.unique().sort(), **columns}), users


def pair_figures(
    metrics: tuple[str, ...],
    cases: LabelledCases,
    scores: Values,
    table: pl.DataFrame,
    users: npt.NDArray[np.int64],
    seed: int = 0,
) -> dict[str, Figure]:
    """Figures of pair metrics with intervals from resampling users.

    Metrics that the scores do not allow are left out.
    """
    by_user = {name: COLUMNS[name] for name in metrics if COLUMNS.get(name) in table.columns}
    found: dict[str, Figure] = {}
    if by_user:
        values = {m: table[c].fill_null(np.nan).to_numpy() for m, c in by_user.items()}
        weights = {m: table[WEIGHTS[m]].to_numpy().astype(float) for m in by_user if m in WEIGHTS}
        found = summarise(values, weights, seed)
    if "auc" in metrics:
        draws = _auc_draws(cases.labels, scores, users, table.height, seed)
        found["auc"] = _figure(pairs.auc(cases.labels, scores), draws, table.height)
    if "ece" in metrics and "logloss" in table.columns:
        draws = _ece_draws(cases.labels, scores, users, table, seed)
        found["ece"] = _figure(pairs.ece(cases.labels, scores), draws, table.height)
    return {name: found[name] for name in metrics if name in found}


def metric_draws(
    metric: str, cases: LabelledCases, scores: Values, seed: int = 0
) -> tuple[float, Values]:
    """A pair metric, and its value in every resample of users.

    The same cases and seed give the same resamples, so draws of two models may be subtracted.

    Args:
        metric: auc, uauc, gauc, logloss, accuracy or ece.
        cases: The pairs.
        scores: ``[n]``; probabilities, except for the three AUCs.
        seed: Seed of the resampling.

    Returns:
        The metric, and ``[draws]`` values, NaN where a resample has none.
    """
    users = cases.histories.user_ids.rank("dense").cast(pl.Int64).to_numpy() - 1
    labels, n_users = cases.labels, int(users.max()) + 1
    if metric == "auc":
        return pairs.auc(labels, scores), _auc_draws(labels, scores, users, n_users, seed)
    if metric == "ece":
        counts = pl.DataFrame({"n_pairs": np.bincount(users)})
        return pairs.ece(labels, scores), _ece_draws(labels, scores, users, counts, seed)
    by_user, counts_of = pairs.auc_per_user(users, labels, scores)
    if metric in ("logloss", "accuracy"):
        judge = pairs.logloss_per_pair if metric == "logloss" else pairs.correct_per_pair
        by_user = np.bincount(users, judge(labels, scores)) / counts_of
    weights = counts_of.astype(np.float64) if metric in WEIGHTS else np.ones(n_users)
    weights = np.where(np.isnan(by_user), 0.0, weights)
    values = np.nan_to_num(by_user)
    draws = [
        (drawn @ (values * weights)) / np.maximum(drawn @ weights, 1e-300)
        for drawn in resample_weights(n_users, seed)
    ]
    return float((values * weights).sum() / weights.sum()), np.concatenate(draws)


def _gather(recommender: Recommender) -> Callable[[Histories, npt.NDArray[np.int32]], Scores]:
    def score(histories: Histories, codes: npt.NDArray[np.int32]) -> Scores:
        scores = np.asarray(recommender.score_catalog(histories))
        return np.maximum(scores[np.arange(len(codes)), codes - 1], LOWEST)

    return score


def _require_numbers(answer: Scores, users: pl.Series) -> None:
    if answer.shape != (users.len(),):
        raise DataError(f"scores of {users.len()} pairs have shape {answer.shape}.")
    if np.isnan(answer).any():
        broken = users.filter(pl.Series(np.isnan(answer))).unique(maintain_order=True)
        raise DataError(f"the model's scores for user {shorten(broken)} contain NaN.")


def _figure(value: float, draws: Values, n: int) -> Figure:
    draws = draws[np.isfinite(draws)]
    ends = np.quantile(draws, [0.025, 0.975]) if n > 1 and draws.size else None
    return Figure.of(value, ends, n)


def _auc_draws(
    labels: npt.NDArray[np.int8],
    scores: Values,
    users: npt.NDArray[np.int64],
    n_users: int,
    seed: int,
) -> Values:
    """AUC over all pairs in every resample of users, ties counting half."""
    order = np.argsort(scores, kind="stable")
    owner, positive = users[order], labels[order] == 1
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    found = []
    for weights in resample_weights(n_users, seed):
        step = max(1, (1 << 21) // owner.size)
        for part in range(0, len(weights), step):
            drawn = weights[part : part + step][:, owner].astype(np.float64)
            ups = np.add.reduceat(drawn * positive, starts, axis=1)
            downs = np.add.reduceat(drawn * ~positive, starts, axis=1)
            below = np.cumsum(downs, axis=1) - downs / 2
            total = ups.sum(axis=1) * downs.sum(axis=1)
            wins = (ups * below).sum(axis=1)
            found.append(np.divide(wins, total, out=np.full(len(wins), np.nan), where=total > 0))
    return np.concatenate(found)


def _ece_draws(
    labels: npt.NDArray[np.int8],
    probabilities: Values,
    users: npt.NDArray[np.int64],
    table: pl.DataFrame,
    seed: int,
) -> Values:
    cell = users * pairs.ECE_BINS + pairs.calibration_bins(probabilities)
    gaps = np.bincount(cell, labels - probabilities, minlength=table.height * pairs.ECE_BINS)
    gaps = gaps.reshape(table.height, pairs.ECE_BINS)
    counts = table["n_pairs"].to_numpy().astype(np.float64)
    draws = [
        np.abs(weights @ gaps).sum(axis=1) / (weights @ counts)
        for weights in resample_weights(table.height, seed)
    ]
    return np.concatenate(draws)
