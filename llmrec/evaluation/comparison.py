"""Are the differences between models more than noise?

Models are compared user by user: the same users, under the same protocol, with the values of
several seeds of a model averaged per user first, so that the unit that is resampled stays the user.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.errors import ConfigError, ProtocolError, nearest_name, shorten
from llmrec.evaluation.judged_pairs import COLUMNS, WEIGHTS
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.protocol import require_same
from llmrec.evaluation.significance import holm, ratio_intervals, sign_flip_test

Floats = npt.NDArray[np.float64]


def compare(
    models: Mapping[str, Evaluation | Sequence[Evaluation]],
    metrics: Sequence[str] | None = None,
    reference: str | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Compare models metric by metric, user by user.

    Args:
        models: Name to its evaluation, or to the evaluations of its seeds.
        metrics: Metrics with a value per user; None takes all that the models share.
        reference: Compare every other model with this one; None compares all pairs, the one named
            first being the reference of each.
        seed: Seed of resampling and sign flips.

    Returns:
        One row per metric and pair: ``metric, model, reference, mean, reference_mean,
        difference`` (model - reference), ``ci_low, ci_high`` (95 %, paired bootstrap over users),
        ``effect_size`` (mean difference over the standard deviation of the users' differences;
        null if they do not vary), ``n_users, p`` (two-sided sign-flip test) and ``p_holm``
        (corrected over all rows of the table).

    Raises:
        ProtocolError: Protocols or users differ.
        ConfigError: There are fewer than two models, or a metric has no value per user.
    """
    if len(models) < 2:
        raise ConfigError("a comparison needs at least two models.")
    if reference is not None and reference not in models:
        raise ConfigError(f"unknown reference {reference!r}{nearest_name(reference, models)}.")
    seeds = {name: [e] if isinstance(e, Evaluation) else list(e) for name, e in models.items()}
    first = next(iter(seeds.values()))[0]
    for evaluation in (e for evaluations in seeds.values() for e in evaluations):
        require_same(first.protocol, evaluation.protocol)
    tables = {name: average_seeds(evaluations) for name, evaluations in seeds.items()}
    _require_same_users(tables)
    chosen = _shared_metrics(first, tables, metrics)
    names = list(models)
    pairs = (
        [(name, reference) for name in names if name != reference]
        if reference is not None
        else [(second, first_name) for first_name, second in combinations(names, 2)]
    )
    rows = [
        row
        for model, other in pairs
        for row in _compare_two(model, other, tables[model], tables[other], chosen, seed)
    ]
    frame = pl.DataFrame(rows)
    return frame.with_columns(pl.Series("p_holm", holm(frame["p"].to_numpy())))


def average_seeds(evaluations: Sequence[Evaluation]) -> pl.DataFrame:
    """Per-user values of one model averaged over its seeds, ordered by user.

    Only columns that all seeds share and that are numbers are kept, besides ``user_id``.

    Raises:
        ProtocolError: The seeds were judged on different users.
    """
    tables = [e.per_user.sort("user_id") for e in evaluations]
    _require_same_users({f"seed {i + 1}": table for i, table in enumerate(tables)})
    shared = [
        name
        for name, dtype in tables[0].schema.items()
        if name != "user_id" and dtype.is_numeric() and all(name in t.columns for t in tables)
    ]
    means = {name: np.mean([_column(table, name) for table in tables], axis=0) for name in shared}
    return pl.DataFrame({"user_id": tables[0]["user_id"], **means})


def user_column(metric: str, table: pl.DataFrame) -> tuple[Floats, Floats] | None:
    """``[users]`` values of a metric (NaN where there is none) and their weights.

    None for a metric that is not a mean over users.
    """
    column = COLUMNS.get(metric, metric)
    if column not in table.columns:
        return None
    weight = _column(table, WEIGHTS[metric]) if metric in WEIGHTS else np.ones(table.height)
    return _column(table, column), weight


def _compare_two(
    model: str,
    other: str,
    table: pl.DataFrame,
    other_table: pl.DataFrame,
    metrics: Sequence[str],
    seed: int,
) -> list[dict[str, object]]:
    columns = [(user_column(m, table), user_column(m, other_table)) for m in metrics]
    mine = np.column_stack([own[0] for own, _ in columns if own is not None])
    theirs = np.column_stack([their[0] for _, their in columns if their is not None])
    weights = np.column_stack([own[1] for own, _ in columns if own is not None])
    valid = ~np.isnan(mine) & ~np.isnan(theirs)
    weights = np.where(valid, weights, 0.0)
    mine, theirs = np.where(valid, mine, 0.0), np.where(valid, theirs, 0.0)
    weighted = weights * (mine - theirs)
    ends = ratio_intervals(weighted, weights, seed)
    p_values = sign_flip_test(weighted, seed)
    total = np.maximum(weights.sum(axis=0), np.finfo(float).tiny)
    return [
        {
            "metric": metric,
            "model": model,
            "reference": other,
            "mean": float((weights[:, i] * mine[:, i]).sum() / total[i]),
            "reference_mean": float((weights[:, i] * theirs[:, i]).sum() / total[i]),
            "difference": float(weighted[:, i].sum() / total[i]),
            "ci_low": float(ends[i, 0]),
            "ci_high": float(ends[i, 1]),
            "effect_size": _effect_size((mine - theirs)[valid[:, i], i]),
            "n_users": int(valid[:, i].sum()),
            "p": float(p_values[i]),
        }
        for i, metric in enumerate(metrics)
    ]


def _effect_size(differences: Floats) -> float | None:
    if differences.size < 2:
        return None
    spread = float(differences.std(ddof=1))
    return float(differences.mean()) / spread if spread > 0 else None


def _shared_metrics(
    first: Evaluation, tables: Mapping[str, pl.DataFrame], wanted: Sequence[str] | None
) -> list[str]:
    shared = [
        name
        for name in first.protocol.metrics
        if all(user_column(name, table) is not None for table in tables.values())
    ]
    for name in wanted or ():
        if name not in shared:
            raise ConfigError(
                f"metric {name!r} has no value per user in every model{nearest_name(name, shared)}."
            )
    if not shared:
        raise ConfigError("the models share no metric that has a value per user.")
    return list(wanted) if wanted else shared


def _require_same_users(tables: Mapping[str, pl.DataFrame]) -> None:
    (first, expected), *rest = tables.items()
    users = expected["user_id"].sort()
    for name, table in rest:
        others = table["user_id"].sort()
        if others.dtype == users.dtype and others.equals(users):
            continue
        extra = set(others.to_list()) ^ set(users.to_list())
        raise ProtocolError(
            f"{first} and {name} were judged on different users ({users.len()} and "
            f"{others.len()}); only one of them has {shorten(sorted(extra, key=str))}."
        )


def _column(table: pl.DataFrame, name: str) -> Floats:
    return table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
