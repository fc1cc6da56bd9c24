"""The model as a whole: where its texts come from, what it saves, and what users get wrong."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch
from small_sra_cl import SMALL, model_of, random_histories, random_vectors, without_seconds

import llmrec
from llmrec.data import Catalog, leave_one_out, ratio
from llmrec.data.simulator import simulate
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError, DataError, ProtocolError
from llmrec.profiles import (
    Profiles,
    TemplateWriter,
    user_requests,
    write_profiles,
)
from llmrec.recommenders.sra_cl import SRACL
from llmrec.retrieval.vectors import TextVectors
from llmrec.templates import load_template

TRAINING = {"epochs": 2, "batch_size": 64}


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate("simulate:tiny@1").dataset)


@pytest.fixture(scope="module")
def train(split):
    return split.train_histories()


@pytest.fixture(scope="module")
def catalog(split):
    return split.dataset.catalog


def make(catalog=None, **options):
    options = {"text_encoder": "tfidf:16", "neighbors": 4, "training": TRAINING, **options}
    model = SRACL(**SMALL, **options)
    return model if catalog is None else model.use_catalog(catalog)


def with_texts(catalog, texts, **columns):
    frame = catalog.frame.select("item_id").with_columns(
        title=pl.Series(texts, dtype=pl.String), **columns
    )
    return Catalog(frame)


@pytest.fixture(scope="module")
def fitted(catalog, train, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_HOME", str(cache))
        return make(catalog).fit(train)


class TestSaving:
    def test_loads_without_a_catalog_and_scores_the_same(self, fitted, split, train, tmp_path):
        fitted.save_pretrained(tmp_path / "model")
        loaded = llmrec.load(tmp_path / "model")
        cases = split.cases("test").histories
        np.testing.assert_array_equal(loaded.score_catalog(cases), fitted.score_catalog(cases))
        np.testing.assert_array_equal(loaded.item_neighbors, fitted.item_neighbors)
        assert loaded.details == fitted.details
        assert loaded.semantics is None
        loaded.save_pretrained(tmp_path / "again")
        again = SRACL.from_pretrained(tmp_path / "again")
        np.testing.assert_array_equal(again.item_neighbors, fitted.item_neighbors)

    def test_only_the_encoder_and_the_item_neighbours_are_kept(self, fitted):
        state = fitted._state()
        assert state.keys() == fitted.encoder.state_dict().keys() | {"item_neighbors"}

    def test_details_say_what_the_texts_were(self, fitted, catalog):
        texts = fitted.details["texts"]
        assert texts["items_with_text"] == len(catalog)
        assert texts["users"] == "mean"
        assert "tfidf" in texts["items"]

    def test_a_model_without_texts_keeps_no_neighbours(self, train, tmp_path):
        model = make(alpha=0, beta=0).fit(train)
        assert model.item_neighbors is None
        model.save_pretrained(tmp_path / "model")
        loaded = SRACL.from_pretrained(tmp_path / "model")
        assert loaded.item_neighbors is None
        np.testing.assert_array_equal(loaded.score_catalog(train), model.score_catalog(train))


class TestItemTexts:
    def test_none_at_all(self, train, catalog):
        model = make(Catalog.from_ids(catalog.frame["item_id"]))
        with pytest.raises(DataError, match=r"no item of the catalog has a text.*give the items"):
            model.fit(train)
        assert not model.is_fitted

    @pytest.mark.parametrize("kind", ["profile", "title"])
    def test_some_without(self, train, catalog, kind):
        titles = catalog.titles.to_list()
        blank = {3, 17, 40, 79}
        texts = [None if row in blank else title for row, title in enumerate(titles)]
        model = make(with_texts(catalog, texts), item_text=kind).fit(train)
        assert model.details["texts"]["items_with_text"] == len(catalog) - len(blank)
        assert (model.item_neighbors[sorted(blank)] == -1).all()
        assert not blank & set(model.item_neighbors.ravel().tolist())
        assert np.isfinite(model.score_catalog(train)).all()

    def test_all_equal(self, train, catalog):
        model = make(with_texts(catalog, ["The same"] * len(catalog)), item_text="title")
        with pytest.raises(DataError, match="all items have the same text 'The same'"):
            model.fit(train)

    def test_titles_alone_are_other_texts(self, train, catalog, fitted):
        titles = make(catalog, item_text="title").fit(train)
        assert (titles.item_neighbors != fitted.item_neighbors).any()

    def test_no_catalog(self, train):
        model = make()
        with pytest.raises(ConfigError, match=r"use_catalog\(dataset\.catalog\) or use_vectors"):
            model.fit(train)
        assert not model.is_fitted

    def test_catalog_of_other_items(self, train, catalog):
        fewer = catalog.restrict(catalog.frame["item_id"][:50])
        with pytest.raises(DataError, match="belong to another catalogue"):
            make(fewer).fit(train)

    def test_fitted_again_with_another_catalog(self, train, catalog):
        small = random_histories([4, 5, 6, 3, 7])
        names = [f"thing {row % 4} of {row % 3}" for row in range(12)]
        other = Catalog(pl.DataFrame({"item_id": small.vocabulary.ids, "title": names}))
        model = make(other).fit(small).use_catalog(catalog).fit(train)
        expected = make(catalog).fit(train)
        np.testing.assert_array_equal(model.item_neighbors, expected.item_neighbors)
        np.testing.assert_array_equal(model.score_catalog(train), expected.score_catalog(train))


class TestGivenVectors:
    TRAIN = random_histories([5, 6, 4, 7, 3], n_items=6)

    def test_fewer_items_than_neighbours(self):
        model = model_of(self.TRAIN, neighbors=10, item_neighbors=10).fit(self.TRAIN)
        assert model.item_neighbors.shape == (6, 10)
        assert ((model.item_neighbors >= 0).sum(1) == 5).all()
        assert np.isfinite(model.score_catalog(self.TRAIN)).all()

    def test_they_win_over_the_catalog(self, train, catalog):
        vectors = random_vectors(train)
        left = make(catalog).use_vectors(vectors).fit(train)
        right = make().use_vectors(vectors).use_catalog(catalog).fit(train)
        alone = make().use_vectors(vectors).fit(train)
        for model in (left, right):
            np.testing.assert_array_equal(model.item_neighbors, alone.item_neighbors)
            assert model.details["texts"]["items"] == "given"

    def test_of_another_catalogue(self):
        other = Vocabulary([f"other-{number}" for number in range(6)])
        vectors = TextVectors.from_array(np.eye(6), other)
        with pytest.raises(DataError, match="belong to another catalogue than these 6 items"):
            model_of(self.TRAIN, vectors).fit(self.TRAIN)

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            (np.where(np.eye(6) > 0, np.nan, 1), "vectors of 6 items hold NaN or infinity: 1, 2"),
            (np.ones((5, 3)), "5 vectors for 6 items"),
            (np.ones(6), r"two axes \[ids, dimension\]"),
        ],
    )
    def test_that_are_no_vectors_of_these_items(self, values, sentence):
        with pytest.raises(DataError, match=sentence):
            TextVectors.from_array(values, self.TRAIN.vocabulary)

    def test_all_zero_leaves_nobody_with_a_neighbour(self):
        vectors = TextVectors.from_array(np.zeros((6, 3)), self.TRAIN.vocabulary)
        model = model_of(self.TRAIN, vectors).fit(self.TRAIN)
        assert (model.semantics.sequence_neighbors == -1).all()
        assert (model.item_neighbors == -1).all()
        assert model.log[-1]["loss_inter_user"] == 0
        assert np.isfinite(model.log[-1]["loss"])

    def test_equal_vectors_everywhere(self):
        vectors = TextVectors.from_array(np.ones((6, 3)), self.TRAIN.vocabulary)
        model = model_of(self.TRAIN, vectors).fit(self.TRAIN)
        itself = np.arange(6)[:, None]
        assert (model.item_neighbors != itself).all()
        assert np.isfinite(model.log[-1]["loss"])

    def test_one_item_and_one_user(self):
        train = random_histories([3], n_items=1)
        model = model_of(train, fine_intent=0.1, coarse_intent=0.1).fit(train)
        assert np.isfinite(model.score_catalog(train)).all()


class TestUserTexts:
    """Profiles of sequences: at every granularity, given ones, and refused ones."""

    @pytest.mark.parametrize("granularity", ["prefix", "every_m", "user"])
    def test_granularities(self, train, catalog, granularity, fitted):
        model = make(catalog, user_text=granularity, profile_every=3).fit(train)
        texts = model.semantics.sequences
        assert model.details["texts"]["users"] == granularity
        assert texts.any(1).all()
        starts, ends = train.offsets[:-1], train.offsets[1:]
        same = [len(np.unique(texts[a:b], axis=0)) for a, b in zip(starts, ends, strict=True)]
        n = train.lengths
        most = {"prefix": n, "every_m": (n + 2) // 3, "user": np.ones_like(n)}[granularity]
        assert (np.array(same) <= most).all()
        assert np.sum(same) > 0.8 * np.sum(most)
        assert (model.semantics.sequence_neighbors != fitted.semantics.sequence_neighbors).any()

    def test_profiles_need_a_catalog_to_be_written_from(self, train):
        model = make(user_text="prefix").use_vectors(random_vectors(train))
        with pytest.raises(ConfigError, match="user_text=prefix needs use_catalog"):
            model.fit(train)

    def profiles(self, histories, catalog, folder, granularity="prefix"):
        requests = user_requests(histories, catalog, granularity, include_last=True)
        return write_profiles(requests, TemplateWriter(load_template("user_profile")), folder)

    def test_given_profiles_are_used(self, split, train, catalog, tmp_path):
        given = self.profiles(train, catalog, tmp_path)
        model = make(catalog).use_profiles(given, split).fit(train)
        written = make(catalog, user_text="prefix").fit(train)
        np.testing.assert_array_equal(model.semantics.sequences, written.semantics.sequences)
        assert without_seconds(model.log) == without_seconds(written.log)
        assert model.details["texts"]["users"] == "given"

    def test_saved_profiles_are_used_by_their_folder(self, split, train, catalog, tmp_path):
        given = self.profiles(train, catalog, tmp_path / "parts")
        given.save(tmp_path / "saved")
        by_folder = make(catalog, profiles=str(tmp_path / "saved")).fit(train)
        by_hand = make(catalog).use_profiles(given, split).fit(train)
        np.testing.assert_array_equal(by_folder.semantics.sequences, by_hand.semantics.sequences)
        assert by_folder.details["texts"]["users"] == "given"
        frame = pl.DataFrame({"item_id": [10001], "text": ["A book."]})
        Profiles.from_frame(frame, "item").save(tmp_path / "items")
        with pytest.raises(ConfigError, match="profiles of items; sra_cl reads those of users"):
            make(catalog, profiles=str(tmp_path / "items")).fit(train)

    def test_a_sequence_never_gets_a_profile_of_later_events(self, split, train, catalog):
        frame = pl.DataFrame({"user_id": [train.user_ids[4]], "n_events": [3], "text": ["teas"]})
        model = make(catalog).use_profiles(Profiles.from_frame(frame, "user"), split).fit(train)
        known = np.flatnonzero(model.semantics.sequences.any(1))
        assert known.tolist() == list(range(train.offsets[4] + 2, train.offsets[5]))

    @pytest.mark.parametrize("with_origin", [True, False])
    def test_a_held_out_event_is_refused_by_user_and_item(
        self, split, train, catalog, tmp_path, with_origin
    ):
        whole = self.profiles(split.dataset.histories, catalog, tmp_path)
        if with_origin:
            whole = dataclasses.replace(whole, origin=train.origin)
        user, n = train.user_ids[0], int(train.lengths[0])
        item = split.dataset.histories.vocabulary.decode([split.dataset.histories[0][n]])[0]
        with pytest.raises(ProtocolError) as caught:
            make(catalog).use_profiles(whole, split)
        sentence = str(caught.value)
        assert f"profile of user {user!r} uses {n + 1} events, but only {n}" in sentence
        assert f"item {item!r}" in sentence

    @pytest.mark.parametrize(
        ("with_origin", "sentence"),
        [(True, "were written from split"), (False, "user .* it knows a held-out event")],
    )
    def test_training_on_less_than_the_profiles_know(
        self, split, train, catalog, tmp_path, with_origin, sentence
    ):
        given = self.profiles(train, catalog, tmp_path)
        if not with_origin:
            given = dataclasses.replace(given, origin=None)
        model = make(catalog).use_profiles(given, split)
        with pytest.raises(ProtocolError, match=sentence):
            model.fit(ratio(split.dataset, 0.5, 0.25).train_histories())
        assert not model.is_fitted

    def test_profiles_of_another_split(self, split, train, catalog, tmp_path):
        given = self.profiles(train, catalog, tmp_path)
        with pytest.raises(ProtocolError, match=f"were written from split {split.hash}"):
            make(catalog).use_profiles(given, ratio(split.dataset, 0.5, 0.25))

    def test_profiles_of_items(self, split, catalog):
        frame = pl.DataFrame({"item_id": [10001], "text": ["A book."]})
        with pytest.raises(ConfigError, match="takes profiles of users"):
            make(catalog).use_profiles(Profiles.from_frame(frame, "item"), split)

    def test_a_poisoned_text_is_refused_before_training(self, split, train, catalog, tmp_path):
        given = self.profiles(train, catalog, tmp_path)
        user, held_out = train.user_ids[7], split.dataset.histories[7][-1]
        title = catalog.titles[int(held_out) - 1]
        poisoned = given.frame.with_columns(
            text=pl.when(pl.col("user_id") == user)
            .then(pl.concat_str(pl.col("text"), pl.lit(f" They will like {title}.")))
            .otherwise("text")
        )
        model = make(catalog).use_profiles(given, split)
        with pytest.raises(ProtocolError, match=f"user {user!r}.*contains the title") as caught:
            model.use_profiles(dataclasses.replace(given, frame=poisoned), split)
        assert title in str(caught.value)


@pytest.mark.parametrize("refusal", [DataError, ProtocolError])
def test_a_refused_training_leaves_the_earlier_one_as_it_was(
    split, train, catalog, tmp_path, refusal
):
    model = make(catalog).fit(train)
    scores, neighbors, details = model.score_catalog(train), model.item_neighbors, model.details
    again = train
    if refusal is DataError:  # no texts
        model.use_catalog(Catalog.from_ids(catalog.frame["item_id"]))
    else:  # profiles that know more than the new training part
        model.use_profiles(TestUserTexts().profiles(train, catalog, tmp_path), split)
        again = ratio(split.dataset, 0.5, 0.25).train_histories()
    with pytest.raises(refusal):
        model.fit(again)
    np.testing.assert_array_equal(model.score_catalog(train), scores)
    assert model.item_neighbors is neighbors
    assert model.details == details
    assert list(model.seen) == [train.origin]


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(catalog, train, fitted):
    again = make(catalog).fit(train)
    assert without_seconds(again.log) == without_seconds(fitted.log)
    for name, value in again.encoder.state_dict().items():
        assert torch.equal(value, fitted.encoder.state_dict()[name])
    other = make(catalog, training={**TRAINING, "seed": 1}).fit(train)
    assert not np.array_equal(other.score_catalog(train), again.score_catalog(train))


@pytest.mark.parametrize("control", ["random_neighbors", "shuffled_vectors"])
def test_controls_train(catalog, train, control, fitted):
    model = make(catalog, control=control).fit(train)
    assert np.isfinite(model.log[-1]["loss_inter_user"])
    assert (model.item_neighbors != fitted.item_neighbors).any()
