"""What CTR networks are given, written out by hand."""

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.data import Catalog, Dataset, Interactions
from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.ctr.config import CTRConfig, InputField
from llmrec.recommenders.ctr.features import (
    EventTable,
    Feedback,
    category_table,
    number_table,
)
from llmrec.recommenders.ctr.pairs import TrainingPairs, early_part, labels_of
from llmrec.recommenders.ctr.search import text_vectors
from llmrec.recommenders.ctr.users import UserCodes

STATISTICS = ("history_length", "mean_rating")


def events(labels=(1, 0, 1, 0, 1, 1), times=(1, 2, 2, 3, 1, 5), **columns):
    frame = {
        "user_id": ["a", "a", "a", "a", "b", "b"],
        "item_id": ["x", "y", "z", "x", "y", "z"],
        "timestamp": times,
        **({} if labels is None else {"label": labels}),
        **columns,
    }
    return Dataset("judged", Interactions(pl.DataFrame(frame), "keep")).histories


def table_of(histories, length=2):
    feedback = Feedback.fit(histories, True)
    users = UserCodes.of(histories.user_ids).encode(histories.user_ids)
    return EventTable(histories, feedback, users, STATISTICS, length)


def pairs_of(histories, **options):
    return TrainingPairs(histories, table_of(histories), CTRConfig(**options))


def test_batch_of_training_pairs():
    histories = events()
    batch = pairs_of(histories).batch(np.array([0, 1, 2, 3, 5]), np.random.default_rng(0))
    assert batch.items.tolist() == [1, 2, 3, 1, 3]
    assert batch.labels.tolist() == [1, 0, 1, 0, 1]
    assert batch.users.tolist() == [1, 1, 1, 1, 2]
    # nothing before the first event; y and z share a second, so each sees x alone
    assert batch.history.tolist() == [[0, 0], [1, 0], [1, 0], [2, 3], [2, 0]]
    # label 0 is level 1, label 1 is level 2
    assert batch.levels.tolist() == [[0, 0], [2, 0], [2, 0], [1, 2], [2, 0]]
    mean, deviation = 4 / 6, np.std([1, 0, 1, 0, 1, 1])
    lengths, sums = np.array([0, 1, 1, 3, 1]), np.array([0, 1, 1, 2, 1])
    expected = (sums - lengths * mean) / deviation / (lengths + 5)
    np.testing.assert_allclose(batch.statistics[:, 0], np.log1p(lengths) / 4, rtol=1e-6)
    np.testing.assert_allclose(batch.statistics[:, 1], expected, rtol=1e-5, atol=1e-6)


def test_the_label_of_a_pair_is_no_input():
    before, after = events(), events(labels=(1, 0, 1, 1, 1, 1))
    feedback = Feedback.fit(before, True)
    users = np.array([1, 2])
    found = []
    for histories in (before, after):
        table = EventTable(histories, feedback, users, STATISTICS, 4)
        source = TrainingPairs(histories, table, CTRConfig())
        found.append(source.batch(np.array([3]), np.random.default_rng(0)))
    assert found[0].labels.tolist() != found[1].labels.tolist()
    for name in ("history", "levels", "statistics", "users"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name))


def test_ratings_become_labels_and_levels():
    ratings = [5.0, 3.0, None, 1.0, 3.5, 4.0]
    histories = events(labels=None, rating=ratings)
    found = labels_of(histories, 3.0)
    np.testing.assert_array_equal(found, [1, 0, np.nan, 0, 1, 1])
    source = pairs_of(histories)
    assert len(source) == 5  # an event without a rating is history and no pair
    levels, _ = Feedback.fit(histories, True).encode(histories.ratings)
    assert levels.tolist() == [5, 2, 0, 1, 3, 4]


def test_negatives_where_nothing_is_said():
    histories = events(labels=None)
    source = pairs_of(histories, negatives=50)
    batch = source.batch(np.arange(6), np.random.default_rng(1))
    assert batch.n_targets == 6 * 51
    assert batch.labels.tolist() == [1.0] * 6 + [0.0] * 300
    assert (batch.items[6:] != batch.items[batch.rows[6:]]).all()
    assert set(batch.items[6:].tolist()) == {1, 2, 3}
    assert batch.rows[6:].tolist() == np.repeat(np.arange(6), 50).tolist()


def test_an_early_share():
    until, early = early_part(events(), 0.5)
    assert until == 2
    assert early.user_ids.to_list() == ["a", "b"]
    assert early.items.tolist() == [1, 2]
    assert early_part(events(), 1.0)[0] is None


def test_an_early_share_needs_a_clock():
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "label": [0, 1]})
    histories = Dataset("order", Interactions(frame)).histories
    with pytest.raises(DataError, match="train_share below 1 needs events with a clock"):
        early_part(histories, 0.5)


def test_no_label_at_all_is_refused():
    with pytest.raises(DataError, match="no training event has a label"):
        pairs_of(events(labels=(None,) * 6))


CATALOG = Catalog(
    pl.DataFrame(
        {
            "item_id": ["x", "y", "z"],
            "genre": ["war|drama", None, "drama| war |war"],
            "year": [1990, None, 2000],
        }
    )
)


def test_catalog_columns_as_tables():
    kinds = InputField(name="g", kind="categories", column="genre")
    found = category_table(CATALOG, kinds)
    assert sorted(found[1].tolist()) == sorted(found[3].tolist()) == [1, 2]
    assert found[0].tolist() == found[2].tolist() == [0, 0]
    one = category_table(CATALOG, InputField(name="genre", kind="category"))
    assert (one[:, 0] > 0).tolist() == [False, True, False, True]
    years = number_table(CATALOG, InputField(name="year", kind="number"))
    np.testing.assert_allclose(years, [[0, 0], [-1, 1], [0, 0], [1, 1]])


def test_lists_of_categories_are_read_as_they_stand():
    genres = [["war", "drama"], [], ["drama", "war", None, "war"]]
    listed = Catalog(CATALOG.frame.with_columns(category=pl.Series(genres)))
    kinds = InputField(name="g", kind="categories", column="category")
    texts = InputField(name="g", kind="categories", column="genre")
    np.testing.assert_array_equal(
        np.sort(category_table(listed, kinds), axis=1),
        np.sort(category_table(CATALOG, texts), axis=1),
    )
    assert listed.texts("category").to_list() == ["war, drama", "", "drama, war, war"]
    vectors = text_vectors(listed)
    assert vectors[1] @ vectors[3] > 0.3
    assert not vectors[2] @ vectors[3]


def test_columns_that_are_not_there_or_no_numbers():
    with pytest.raises(ConfigError, match=r"needs the catalog column 'yaer'.*did you mean 'year'"):
        number_table(CATALOG, InputField(name="yaer", kind="number"))
    with pytest.raises(DataError, match=r"holds 'war\|drama', which is not a number"):
        number_table(CATALOG, InputField(name="genre", kind="number"))


def test_users_by_hash():
    codes = UserCodes.of(pl.Series(["ann", "bob", "ann"]))
    assert len(codes) == 2
    assert codes.encode(pl.Series(["bob", "cid", "ann"])).tolist() == [2, 0, 1]
    assert UserCodes.nobody().encode(pl.Series(["bob"])).tolist() == [0]
