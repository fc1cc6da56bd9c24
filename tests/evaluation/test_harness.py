import numpy as np
import polars as pl
import pytest
from scripted_recommender import Scripted, constant, noise, popularity, random_dataset, toy_split

from llmrec.data import Dataset, Interactions, Origin, Vocabulary, global_time, leave_one_out
from llmrec.errors import ConfigError, DataError, ProtocolError
from llmrec.evaluation import Evaluation, Task, evaluate
from llmrec.evaluation.protocol import Judging, Protocol


def task(dataset="toy", **options):
    values = {
        "name": "toy-task",
        "version": 1,
        "description": "x",
        "dataset": dataset,
        "split": {"name": "leave_one_out"},
        "metrics": ["ndcg@5", "hit_rate@5", "recall@5", "coverage@5", "novelty@5"],
        "slices": ["history_length", "target_popularity", "cold"],
    }
    return Task.model_validate(values | options)


def brute_force(split, scores, part, k):
    """Mean ndcg@k of fixed item scores under leave-one-out, counted user by user."""
    codes = split.dataset.item_vocabulary
    gains = []
    for _, events in split.dataset.interactions.frame.group_by("user_id", maintain_order=True):
        items = [codes.encode([i])[0] for i in events["item_id"]]
        held = len(items) - (1 if part == "test" else 2)
        target, seen = items[held], set(items[:held])
        rivals = [scores[c - 1] for c in range(1, len(codes) + 1) if c not in seen | {target}]
        own = scores[target - 1]
        rank = 1 + sum(s > own for s in rivals) + sum(s == own for s in rivals) / 2
        gains.append(1 / np.log2(1 + rank) if rank <= k else 0)
    return np.mean(gains)


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("block", [7, 512])
def test_figures_agree_with_counting_user_by_user(part, block):
    split = toy_split()
    model = popularity(split.train_histories())
    found = evaluate(model, split, task(), part, block=block)
    expected = brute_force(split, model.rule(None), part, 5)
    assert found.metrics["ndcg@5"].mean == pytest.approx(expected)
    assert found.metrics["hit_rate@5"] == found.metrics["recall@5"]  # one target
    assert found.n_users == 40
    assert found.metrics["ndcg@5"].ci95[0] <= expected <= found.metrics["ndcg@5"].ci95[1]


def test_per_user_values_have_the_shared_columns():
    split = toy_split()
    found = evaluate(popularity(split.train_histories()), split, task())
    frame = found.per_user
    assert frame.columns == [
        "user_id", "ndcg@5", "hit_rate@5", "recall@5", "novelty@5",
        "history_length", "n_targets", "target_rank", "target_id", "target_popularity",
        "cold_target",
    ]  # fmt: skip
    last = split.dataset.interactions.frame.group_by("user_id", maintain_order=True).last()
    assert frame["target_id"].to_list() == last["item_id"].to_list()
    assert frame["history_length"].to_list() == [7] * 40
    trained = split.train_histories()
    names = trained.vocabulary.decode(trained.items)
    assert frame["target_popularity"].to_list() == [(names == i).sum() for i in frame["target_id"]]
    assert frame["cold_target"].to_list() == (frame["target_popularity"] == 0).to_list()
    assert frame["ndcg@5"].mean() == pytest.approx(found.metrics["ndcg@5"].mean)


def test_groups_partition_the_cases_and_average_to_the_whole():
    split = toy_split(users=60)
    found = evaluate(popularity(split.train_histories()), split, task())
    assert set(found.slices) == {"history_length", "target_popularity", "cold"}
    for groups in found.slices.values():
        assert sum(group.n for group in groups.values()) == found.n_users
        mean = sum(g.n * g.metrics["ndcg@5"].mean for g in groups.values()) / found.n_users
        assert mean == pytest.approx(found.metrics["ndcg@5"].mean)


def test_a_model_that_scores_everything_alike_does_not_beat_chance():
    split = toy_split(users=200, items=30)
    found = evaluate(constant(split.dataset.item_vocabulary), split, task())
    candidates = 30 - 7
    assert found.metrics["hit_rate@5"].mean <= 5 / candidates
    assert found.per_user["target_rank"].to_list() == [(candidates + 1) / 2] * 200


def test_random_scores_hit_as_often_as_chance():
    split = toy_split(users=400, items=30)
    found = evaluate(noise(split.dataset.item_vocabulary, 1), split, task())
    assert found.metrics["hit_rate@5"].mean == pytest.approx(5 / 23, abs=0.08)


def test_several_targets_per_case():
    data = random_dataset(events=12)
    split = global_time(data, train=0.5, valid=0.1)
    options = {"split": {"name": "global_time", "params": {"train": 0.5, "valid": 0.1}}}
    found = evaluate(popularity(split.train_histories()), split, task(**options))
    cases = split.cases("test")
    assert found.per_user["n_targets"].sum() == cases.targets.size > len(cases)
    row = int(np.argmax(found.per_user["n_targets"]))
    targets = cases.targets[cases.target_offsets[row] : cases.target_offsets[row + 1]]
    assert found.per_user["target_id"][row] in cases.histories.vocabulary.decode(targets).to_list()
    assert found.n_skipped == 40 - len(cases)


# What the model is given, and what it must not have seen.


def test_inputs_are_train_plus_validation_events_for_the_test_and_never_a_held_out_one():
    split = toy_split()
    for part, held in (("valid", 2), ("test", 1)):
        model = constant(split.dataset.item_vocabulary)
        evaluate(model, split, task(), part, block=16)
        events = split.dataset.histories
        given = [h[i].tolist() for h in model.given for i in range(len(h))]
        assert given == [events[user].tolist()[:-held] for user in range(40)]


def with_canary():
    """Every user's last event is the canary item, which nobody had before."""
    data = random_dataset()
    last = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    canary = pl.when(last).then(pl.lit("canary")).otherwise("item_id").alias("item_id")
    frame = data.interactions.frame.with_columns(canary)
    return leave_one_out(Dataset("toy", Interactions(frame)))


def test_a_planted_canary_shows_only_to_a_model_trained_too_far_which_is_refused():
    split = with_canary()
    honest = popularity(split.train_histories(include_valid=True))
    assert evaluate(honest, split, task()).metrics["hit_rate@5"].mean == 0.0

    everything = split.dataset.histories
    cheat = popularity(everything, [Origin("toy", "other-edition", "other", "test", None)])
    assert cheat.rule(None)[split.dataset.item_vocabulary.encode(["canary"])[0] - 1] == 40
    with pytest.raises(ProtocolError, match="may have seen the test events"):
        evaluate(cheat, split, task())
    assert cheat.given == []  # it was not even asked

    hidden = popularity(everything, seen=[])  # the canary would have given it away
    assert evaluate(hidden, split, task()).metrics["hit_rate@5"].mean == 1.0


def test_a_model_fitted_with_validation_events_is_not_judged_on_them():
    split = toy_split()
    model = popularity(split.train_histories(include_valid=True))
    with pytest.raises(ProtocolError, match="its valid part"):
        evaluate(model, split, task(), "valid")
    evaluate(model, split, task(), "test")


# Vocabularies that differ.


def test_a_model_with_its_items_in_another_order_gets_the_same_figures():
    split = toy_split()
    names = split.dataset.item_vocabulary
    straight = Scripted(names, lambda row: np.arange(len(names)))
    turned = Vocabulary(names.ids.reverse())
    reverse = Scripted(turned, lambda row: np.arange(len(names))[::-1])
    expected = evaluate(straight, split, task())
    found = evaluate(reverse, split, task())
    assert found.per_user.equals(expected.per_user)
    assert found.n_unknown_items == 0
    given = reverse.given[0]
    assert (
        turned.decode(given[0]).to_list()
        == names.decode(split.cases("test").histories[0]).to_list()
    )


def test_items_a_model_does_not_know_rank_last_together_and_are_counted():
    split = toy_split()
    names = split.dataset.item_vocabulary
    known = Vocabulary(names.ids[:20])
    model = Scripted(known, lambda row: np.full(20, -5.0))
    found = evaluate(model, split, task())
    assert found.n_unknown_items == 10
    cases = split.cases("test")
    for row in range(len(cases)):
        seen = cases.histories[row]
        n_known = 20 - (seen <= 20).sum()
        n_unknown = 10 - (seen > 20).sum()
        target = cases.targets[row]
        expected = (n_known + 1) / 2 if target <= 20 else n_known + (n_unknown + 1) / 2
        assert found.per_user["target_rank"][row] == expected
    assert all((h.items <= 20).all() for h in model.given)


def test_a_model_of_other_data_is_refused():
    strangers = Vocabulary(["somebody", "else"])
    with pytest.raises(ProtocolError, match=r"knows none of the 30 items .* other data"):
        evaluate(Scripted(strangers, lambda row: np.zeros(2)), toy_split(), task())


@pytest.mark.parametrize("known", [20, 30])
def test_a_model_that_refuses_its_input_is_said_to_lack_items_only_where_it_does(known):
    split = toy_split()

    def refuse(row):
        raise DataError("too few events.")

    model = Scripted(Vocabulary(split.dataset.item_vocabulary.ids[:known]), refuse)
    with pytest.raises(DataError, match=r"^too few events\.") as caught:
        evaluate(model, split, task())
    lacks = "does not know 10 of the 30 items it is judged on: was it trained on other data?"
    assert (lacks in str(caught.value)) == (known == 20)


def test_a_model_with_ids_of_another_type_is_refused():
    split = toy_split()
    with pytest.raises(DataError, match="item ids are strings here but integers"):
        evaluate(constant(Vocabulary([1, 2, 3])), split, task())


def test_seen_targets_are_misses_and_counted():
    rows = [(u, i, 10 * u + t) for u in range(5) for t, i in enumerate([1, 2, 3, 1])]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    split = leave_one_out(Dataset("toy", Interactions(frame)))
    metrics = {"metrics": ["hit_rate@1"], "slices": []}
    favourite = Scripted(split.dataset.item_vocabulary, lambda row: np.array([9, 1, 1]))
    filtered = evaluate(favourite, split, task(**metrics))
    assert (filtered.n_excluded_targets, filtered.metrics["hit_rate@1"].mean) == (5, 0.0)
    kept = evaluate(favourite, split, task(**metrics, filter_seen=False))
    assert (kept.n_excluded_targets, kept.metrics["hit_rate@1"].mean) == (0, 1.0)


# Lists, limits, files.


def test_top_lists_leave_out_seen_items_and_are_in_order():
    split = toy_split()
    found = evaluate(noise(split.dataset.item_vocabulary, 3), split, task())
    table = found.top.frame([4, 7])
    assert table.columns == ["user_id", "item_id", "score", "rank"]
    assert table["user_id"].to_list() == ["u004"] * 10 + ["u007"] * 10
    assert table["rank"].to_list() == [*range(1, 11)] * 2
    assert table.group_by("user_id").agg(pl.col("score").is_sorted(descending=True))["score"].all()
    cases = split.cases("test")
    seen = cases.histories.vocabulary.decode(cases.histories[4]).to_list()
    assert not set(table["item_id"][:10]) & set(seen)


def test_a_limit_draws_the_same_cases_and_is_part_of_the_protocol():
    split = toy_split()
    model = constant(split.dataset.item_vocabulary)
    first, again = (evaluate(model, split, task(), limit=9) for _ in range(2))
    assert first.per_user["user_id"].to_list() == again.per_user["user_id"].to_list()
    assert first.n_users == 9
    assert first.protocol.hash != evaluate(model, split, task()).protocol.hash


def test_an_evaluation_is_read_back_as_it_was_written(tmp_path):
    split = toy_split()
    found = evaluate(
        popularity(split.train_histories()), split, task(), model="popularity", variant="plain"
    )
    found.save(tmp_path / "run")
    back = Evaluation.load(tmp_path / "run")
    assert back.to_dict() == found.to_dict()
    assert back.per_user.equals(found.per_user)
    stored = found.to_dict()
    assert (stored["schema"], stored["model"], stored["variant"]) == (1, "popularity", "plain")
    assert stored["protocol_hash"] == found.protocol.hash
    assert stored["n_users"] == 40
    assert stored["users_per_second"] > 0
    assert stored["metrics"]["coverage@5"]["ci95"] is None


# What a user or a model can do wrong.


def test_nan_scores_name_the_user():
    split = toy_split()
    model = Scripted(split.dataset.item_vocabulary, lambda row: np.full(30, np.nan))
    with pytest.raises(DataError, match=r"user 'u000', 'u001'.*contain NaN"):
        evaluate(model, split, task())


@pytest.mark.parametrize("metric", ["ndcg@31", "coverage@31"])
def test_lists_longer_than_the_catalogue_are_refused(metric):
    split = toy_split()
    with pytest.raises(ConfigError, match=r"k=31 must lie between 1 and .* 30 items"):
        evaluate(constant(split.dataset.item_vocabulary), split, task(metrics=[metric]))


def test_another_split_than_the_tasks_is_refused():
    data = random_dataset()
    model = constant(data.item_vocabulary)
    with pytest.raises(ProtocolError, match=r"make it with task\.split"):
        evaluate(model, global_time(data), task())
    with pytest.raises(ProtocolError, match="is about 'books', but the data given is 'toy'"):
        evaluate(model, leave_one_out(data), task(dataset="books"))


def test_a_protocol_may_stand_for_a_task():
    split = toy_split()
    model = constant(split.dataset.item_vocabulary)
    protocol = Protocol.of(split, Judging(metrics=("mrr@3",)), "valid")
    assert evaluate(model, split, protocol).protocol == protocol
    with pytest.raises(ProtocolError, match="the protocol is for split leave_one_out"):
        evaluate(model, global_time(split.dataset), protocol)


def test_diversity_needs_categories():
    split = toy_split()
    with pytest.raises(DataError, match="'category'"):
        evaluate(
            constant(split.dataset.item_vocabulary),
            split,
            task(metrics=["intra_list_diversity@5"]),
        )
