import numpy as np
import polars as pl
import pytest
from scripted_recommender import Judge, Scripted, noise, random_dataset
from sklearn.metrics import roc_auc_score

from llmrec.data import Vocabulary, global_time
from llmrec.errors import DataError
from llmrec.evaluation import Task, compare, evaluate
from llmrec.evaluation.judged_pairs import metric_draws
from llmrec.evaluation.metrics import pairs
from llmrec.evaluation.significance import resample_weights

METRICS = ["auc", "uauc", "gauc", "logloss", "accuracy", "ece"]
CUTS = {"train": 0.4, "valid": 0.1}


def pair_task(**options):
    values = {
        "name": "toy-pairs",
        "version": 1,
        "description": "x",
        "dataset": "toy",
        "split": {"name": "global_time", "params": CUTS},
        "candidates": "pairs",
        "metrics": METRICS,
    }
    return Task.model_validate(values | options)


def pair_split():
    return global_time(random_dataset(label=True, events=14), **CUTS)


def judge(vocabulary, seed=0):
    def rule(row):
        return np.random.default_rng([seed, *map(int, row)]).random(len(vocabulary))

    return Judge(vocabulary, rule)


def answers(model, cases):
    return np.array([model.rule(cases.histories[i])[c - 1] for i, c in enumerate(cases.items)])


@pytest.mark.parametrize("block", [11, 512])
def test_figures_are_those_of_the_pairs(block):
    split = pair_split()
    model = judge(split.dataset.item_vocabulary)
    found = evaluate(model, split, pair_task(), block=block)
    cases = split.labelled_cases("test")
    p, users = answers(model, cases), cases.histories.user_ids.rank("dense").to_numpy() - 1
    expected = {
        "auc": roc_auc_score(cases.labels, p),
        "uauc": pairs.uauc(users, cases.labels, p),
        "gauc": pairs.gauc(users, cases.labels, p),
        "logloss": pairs.logloss(cases.labels, p),
        "accuracy": pairs.accuracy(cases.labels, p),
        "ece": pairs.ece(cases.labels, p),
    }
    assert {name: figure.mean for name, figure in found.metrics.items()} == pytest.approx(expected)
    for name, figure in found.metrics.items():
        low, high = figure.ci95
        assert low < high
        # Resampling adds noise within bins, so that ece's interval lies above it.
        assert low <= figure.mean <= high or name == "ece"


def test_the_interval_of_a_pooled_auc_agrees_with_resampling_by_hand():
    split = pair_split()
    model = judge(split.dataset.item_vocabulary)
    found = evaluate(model, split, pair_task(metrics=["auc"])).metrics["auc"].ci95
    cases = split.labelled_cases("test")
    p, ids = answers(model, cases), cases.histories.user_ids.to_numpy()
    rng, values = np.random.default_rng(11), []
    rows = {user: np.flatnonzero(ids == user) for user in np.unique(ids)}
    for _ in range(250):
        drawn = np.concatenate([rows[u] for u in rng.choice(list(rows), len(rows))])
        values.append(roc_auc_score(cases.labels[drawn], p[drawn]))
    low, high = np.quantile(values, [0.025, 0.975])
    assert found == pytest.approx((low, high), abs=0.2 * (high - low))


def test_one_row_per_user():
    split = pair_split()
    found = evaluate(judge(split.dataset.item_vocabulary), split, pair_task())
    cases = split.labelled_cases("test")
    frame = pl.DataFrame(
        {"user_id": cases.histories.user_ids, "label": cases.labels, "n": cases.histories.lengths}
    )
    expected = (
        frame.group_by("user_id")
        .agg(pl.len().alias("n_pairs"), pl.col("label").sum(), pl.col("n").min())
        .sort("user_id")
    )
    table = found.per_user
    assert table["user_id"].to_list() == expected["user_id"].to_list()
    assert table["n_pairs"].to_list() == expected["n_pairs"].to_list()
    assert table["n_targets"].to_list() == expected["label"].to_list()
    assert table["history_length"].to_list() == expected["n"].to_list()
    one_label = (table["n_targets"] == 0) | (table["n_targets"] == table["n_pairs"])
    assert table["user_auc"].is_null().to_list() == one_label.to_list()


def test_catalogue_scores_order_pairs_but_are_no_probabilities():
    split = pair_split()
    model = noise(split.dataset.item_vocabulary, 5)
    found = evaluate(model, split, pair_task())
    cases = split.labelled_cases("test")
    assert list(found.metrics) == ["auc", "uauc", "gauc"]
    assert "logloss, accuracy, ece left out" in found.notes[0]
    expected = roc_auc_score(cases.labels, answers(model, cases))
    assert found.metrics["auc"].mean == pytest.approx(expected)


def test_histories_end_before_the_pair_and_are_bounded():
    split = pair_split()
    model = noise(split.dataset.item_vocabulary, 5)
    evaluate(model, split, pair_task(history_length=3))
    cases = split.labelled_cases("test")
    given = [h[i].tolist() for h in model.given for i in range(len(h))]
    assert given == [cases.histories[i].tolist()[-3:] for i in range(len(cases))]


def test_pairs_with_unknown_items_get_no_opinion():
    split = pair_split()
    known = Vocabulary(split.dataset.item_vocabulary.ids[:15])
    certain = Judge(known, lambda row: np.ones(15))
    found = evaluate(certain, split, pair_task(metrics=["accuracy", "logloss"]))
    cases = split.labelled_cases("test")
    p = np.where(cases.items <= 15, 1.0, 0.5)
    assert found.n_unknown_items == 15
    assert found.metrics["logloss"].mean == pytest.approx(pairs.logloss(cases.labels, p))


def test_models_are_compared_with_the_weights_of_the_metric():
    split = pair_split()
    names = split.dataset.item_vocabulary
    one, two = (evaluate(judge(names, s), split, pair_task()) for s in (1, 2))
    table = compare({"one": one, "two": two})
    assert table["metric"].to_list() == ["uauc", "gauc", "logloss", "accuracy"]
    for row in table.iter_rows(named=True):
        assert row["reference_mean"] == pytest.approx(one.metrics[row["metric"]].mean)
        assert row["mean"] == pytest.approx(two.metrics[row["metric"]].mean)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda names: Judge(names, lambda row: np.full(len(names), 1.5)), "between 0 and 1"),
        (lambda names: Judge(names, lambda row: np.full(len(names), np.nan)), "contain NaN"),
        (lambda names: Scripted(names, lambda row: np.full(len(names), np.nan)), "contain NaN"),
    ],
)
def test_wrong_answers_are_refused(model, message):
    split = pair_split()
    with pytest.raises(DataError, match=message):
        evaluate(model(split.dataset.item_vocabulary), split, pair_task())


def test_data_without_labels_is_refused():
    split = global_time(random_dataset(events=14), **CUTS)
    with pytest.raises(DataError, match="no column 'label'"):
        evaluate(judge(split.dataset.item_vocabulary), split, pair_task())


@pytest.mark.parametrize("metric", METRICS)
def test_draws_are_the_metric_of_resampled_users(metric):
    cases = pair_split().labelled_cases("test")
    scores = np.random.default_rng(3).random(len(cases))
    value, draws = metric_draws(metric, cases, scores)
    users = cases.histories.user_ids.rank("dense").to_numpy() - 1
    weights = np.concatenate(list(resample_weights(int(users.max()) + 1)))

    def by_hand(times):
        copies = np.concatenate(
            [np.repeat(np.arange(n), (users == u).sum()) for u, n in enumerate(times)]
        )
        rows = np.concatenate([np.tile(np.flatnonzero(users == u), n) for u, n in enumerate(times)])
        people = np.unique(np.stack([users[rows], copies]), axis=1, return_inverse=True)[1].ravel()
        labels, p = cases.labels[rows], scores[rows]
        own = {"uauc": pairs.uauc, "gauc": pairs.gauc}
        if metric in own:
            return own[metric](people, labels, p)
        return getattr(pairs, metric)(labels, p)

    assert value == pytest.approx(by_hand(np.ones(int(users.max()) + 1, dtype=int)))
    assert draws.shape == (len(weights),)
    for number in (0, 1, 7):
        assert draws[number] == pytest.approx(by_hand(weights[number].astype(int)), abs=1e-6)
