"""SASRec as a whole: its scores, what it learns, and what it does with odd histories."""

import dataclasses

import loop_encoder
import numpy as np
import polars as pl
import pytest
import torch

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of
from llmrec.data.splits import Cases
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError, TrainingError
from llmrec.recommenders.sasrec import SASRec
from llmrec.recommenders.sasrec.loss import NextItemLoss
from llmrec.recommenders.sasrec.windows import NegativeSampler, SequenceWindows

SMALL = {"dim": 16, "heads": 2, "blocks": 1, "feed_forward": 32, "max_length": 10}


def random_histories(lengths, n_items=20, seed=0):
    rng = np.random.default_rng(seed)
    items = rng.integers(1, n_items + 1, sum(lengths)).astype(np.int32)
    users = pl.Series("user_id", range(len(lengths)), dtype=pl.Int64)
    return Histories(users, items, offsets_of(lengths), Vocabulary(range(100, 100 + n_items)))


def circle(n_users=60, n_items=12, seed=0):
    """Every user walks the same circle of items from another start: next = current + 1."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, n_users)
    starts = rng.integers(0, n_items, n_users)
    walks = [(start + np.arange(n)) % n_items for start, n in zip(starts, lengths, strict=True)]
    users = pl.Series("user_id", range(n_users), dtype=pl.Int64)
    items = (np.concatenate(walks) + 1).astype(np.int32)
    return Histories(users, items, offsets_of(lengths), Vocabulary(range(n_items)))


def next_on_circle(histories):
    last = np.array([histories[row][-1] for row in range(len(histories))])
    targets = (last % len(histories.vocabulary) + 1).astype(np.int32)
    return Cases(histories, targets, np.arange(len(histories) + 1), "valid")


def loss_of(model, histories, targets, sampler=None, logq=True):
    """Summed loss and number of targets over all rows, without dropout."""
    module = NextItemLoss(model.encoder, sampler, logq).eval()
    source = SequenceWindows(histories, model.config.max_length, targets == "prefix", sampler)
    batch = source.batch(np.arange(len(source)), np.random.default_rng(0))
    with torch.no_grad():
        return module(batch).item(), batch.n_targets


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_scores_equal_the_loop_implementation(norm):
    train = random_histories([5, 9, 14, 3, 30])
    model = SASRec(**SMALL, norm=norm, training={"epochs": 3, "learning_rate": 0.02}).fit(train)
    weights = {name: value.numpy() for name, value in model.encoder.state_dict().items()}
    asked = random_histories([1, 4, 10, 11, 25, 8], seed=3)
    found = model.score_catalog(asked)
    for row in range(len(asked)):
        newest = asked[row][-10:]
        expected = loop_encoder.score(weights, newest, blocks=1, heads=2, norm=norm)
        np.testing.assert_allclose(found[row], expected, rtol=1e-3, atol=2e-4)


def test_initial_loss_is_the_same_for_all_positions_and_for_prefixes():
    histories = random_histories([2, 11, 5, 7, 3, 11])
    model = SASRec(**SMALL, dropout=0.0, training={"epochs": 1}).fit(histories)
    everywhere, n = loss_of(model, histories, "all")
    by_prefix, n_prefix = loss_of(model, histories, "prefix")
    assert n == n_prefix == 33
    assert everywhere == pytest.approx(by_prefix, rel=1e-5)
    assert abs(everywhere / n - np.log(20)) < 1


def test_loss_is_the_cross_entropy_of_the_loop_implementation():
    histories = random_histories([2, 8, 5])
    model = SASRec(**SMALL, dropout=0.0, training={"epochs": 1}).fit(histories)
    weights = {name: value.numpy() for name, value in model.encoder.state_dict().items()}
    expected = 0.0
    for row in range(3):
        events = histories[row]
        for end in range(1, len(events)):
            scores = loop_encoder.score(weights, events[:end], blocks=1, heads=2, norm="post")
            expected += np.log(np.exp(scores).sum()) - scores[events[end] - 1]
    assert loss_of(model, histories, "all")[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "full"},
        {"loss": "full", "norm": "pre"},
        {"loss": "full", "targets": "prefix"},
        {"loss": "sampled", "negatives": 8},
        {"loss": "sampled", "negatives": 8, "sampler": "popularity", "logq": False},
    ],
    ids=str,
)
def test_one_epoch_lowers_the_loss(options):
    train = circle()
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3}
    model = SASRec(**SMALL, **options, dropout=0.0, training=training).fit(train)
    losses = [row["loss"] for row in model.log]
    assert losses[1] < 0.97 * losses[0]


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_learns_a_pattern_completely(loss):
    train = circle()
    training = {"epochs": 40, "batch_size": 20, "learning_rate": 1e-2, "metric": "hit_rate@1"}
    model = SASRec(**SMALL, loss=loss, negatives=10, dropout=0.0, training=training)
    model.fit(train)
    asked = circle(n_users=30, seed=9)
    best = model.recommend(asked, k=1, exclude_seen=False)
    expected = next_on_circle(asked).targets - 1  # item ids count from 0
    assert best["item_id"].to_list() == expected.tolist()


def test_validation_chooses_the_weights_and_is_logged():
    train = circle()
    training = {"epochs": 30, "batch_size": 20, "learning_rate": 1e-2, "patience": 2}
    model = SASRec(**SMALL, dropout=0.0, training={**training, "metric": "hit_rate@1"})
    model.fit(train, next_on_circle(circle(30, seed=9)))
    values = [row["valid"]["hit_rate@1"] for row in model.log if "valid" in row]
    assert max(values) == 1.0
    assert len(values) < 30  # patience ended it: better than 1 does not exist
    assert values.index(1.0) == len(values) - 3


def test_unknown_metric_is_named():
    training = {"epochs": 1, "metric": "ndgc@10"}
    with pytest.raises(ValueError, match="ndgc@10"):
        SASRec(**SMALL, training=training).fit(circle(), next_on_circle(circle(5)))


def test_only_the_newest_events_count():
    model = SASRec(**SMALL, training={"epochs": 1}).fit(random_histories([30, 25, 4]))
    long = random_histories([40], seed=5)
    found = model.score_catalog(long)
    np.testing.assert_array_equal(found, model.score_catalog(long.last(10)))
    assert not np.array_equal(found, model.score_catalog(long.last(9)))


def test_users_with_one_event_change_nothing():
    train = random_histories([6, 4, 9])
    users = pl.Series("user_id", range(5), dtype=pl.Int64)
    lonely = np.array([7, 7], dtype=np.int32)
    items = np.concatenate([lonely[:1], train.items, lonely[1:]])
    more = Histories(users, items, offsets_of([1, 6, 4, 9, 1]), train.vocabulary)
    models = [SASRec(**SMALL, training={"epochs": 2}).fit(each) for each in (train, more)]
    scores = [model.score_catalog(train) for model in models]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert models[1].recommend([0], k=2).height == 2  # they are served all the same


def test_all_users_too_short_is_a_sentence():
    model = SASRec(**SMALL)
    with pytest.raises(DataError, match="no training history has two events"):
        model.fit(random_histories([1, 1, 1]))
    assert not model.is_fitted


def test_resumed_training_gives_the_same_bits(tmp_path):
    train, valid = circle(), next_on_circle(circle(30, seed=9))
    training = {"batch_size": 16, "metric": "hit_rate@5"}

    def fit(epochs, resume, folder):
        model = SASRec(
            **SMALL,
            loss="sampled",
            negatives=6,
            dropout=0.3,
            attention_dropout=0.2,
            checkpoints=folder,
            resume=resume,
            training={**training, "epochs": epochs, "checkpoint_steps": 3},
        )
        return model.fit(train, valid)

    fit(2, False, tmp_path)
    resumed, straight = fit(5, True, tmp_path), fit(5, False, None)
    np.testing.assert_array_equal(resumed.score_catalog(train), straight.score_catalog(train))
    assert len(resumed.log) == len(straight.log)


def test_a_training_is_not_gone_on_with_on_other_events(tmp_path):
    training = {"epochs": 1, "batch_size": 8}
    lists = random_histories([9, 8, 7])
    SASRec(**SMALL, checkpoints=tmp_path, training=training).fit(lists)
    turned = dataclasses.replace(lists, items=np.roll(lists.items, 1))
    longer = {**training, "epochs": 2}
    again = SASRec(**SMALL, checkpoints=tmp_path, resume=True, training=longer)
    with pytest.raises(TrainingError, match=r"other settings \(training_events [0-9a-f]{16} -> "):
        again.fit(turned)
    assert len(again.fit(lists).log) == 2


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    training = {"epochs": 1}
    SASRec(**SMALL, checkpoints=tmp_path, training=training).fit(circle())
    wider = SASRec(**{**SMALL, "dim": 8}, checkpoints=tmp_path, resume=True, training=training)
    with pytest.raises(TrainingError, match=r"other settings \(dim 16 -> 8\)"):
        wider.fit(circle())


def test_diverging_training_keeps_what_it_saw_on_record():
    train = circle()
    training = {"epochs": 30, "learning_rate": 1e38, "batch_size": 8}
    model = SASRec(**SMALL, norm="pre", training=training)
    with pytest.raises(TrainingError, match="the loss is"):
        model.fit(train)


def test_auto_loss_samples_only_for_large_catalogues(monkeypatch):
    monkeypatch.setattr("llmrec.recommenders.sasrec.model._FULL_SOFTMAX_UP_TO", 11)
    drawn = []
    real = NegativeSampler.draw
    monkeypatch.setattr(
        NegativeSampler, "draw", lambda self, rng: drawn.append(1) or real(self, rng)
    )
    SASRec(**SMALL, training={"epochs": 1}).fit(circle(n_items=11))
    assert not drawn
    SASRec(**SMALL, training={"epochs": 1}).fit(circle(n_items=12))
    assert drawn
