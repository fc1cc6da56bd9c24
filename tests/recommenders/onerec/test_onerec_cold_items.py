"""Items without training events, placed behind the items nearest to them by text."""

import numpy as np
import polars as pl
import pytest

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError
from llmrec.recommenders.item_texts import embed_items, item_texts
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.cold_items import lift_catalog, stand_ins
from llmrec.retrieval.vectors import TextVectors

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
TRAIN, CASES = SPLIT.train_histories().take(np.arange(12)), SPLIT.cases("test")
EVENTS = np.bincount(TRAIN.items, minlength=len(DATA.catalog.vocabulary) + 1)[1:]
SOME = CASES.histories.take(np.arange(12))


def make(beam=80, **options):
    return OneRec(
        tokenizer={"codes": 8},
        text_encoder="tfidf:16",
        generator={"form": "decoder", "dim": 16, "heads": 2, "history": 8, "session": 2},
        training={"epochs": 1, "batch_size": 32, "learning_rate": 3e-3},
        beam=beam,
        **options,
    )


@pytest.fixture(scope="module")
def plain():
    return make().use_catalog(DATA.catalog).fit(TRAIN)


@pytest.fixture(scope="module")
def lifted():
    return make(cold_items=True).use_catalog(DATA.catalog).fit(TRAIN)


def nearest_by_hand():
    """Item code to the code of its stand-in, one cosine after another."""
    texts = item_texts(DATA.catalog, "profile")
    vectors = embed_items(texts, DATA.catalog.vocabulary, "tfidf:16", None).values.astype(float)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    known = [row for row in range(len(EVENTS)) if EVENTS[row] >= 3]
    found = {}
    for row in np.flatnonzero(EVENTS == 0):
        best = max(known, key=lambda other: unit[row] @ unit[other])
        if unit[row] @ unit[best] > 0:
            found[row + 1] = best + 1
    return found


def test_stand_ins_are_the_nearest_items_with_enough_events():
    angles = np.array([0.0, 0.1, 0.5, 1.0, 1.2, 3.0, 0.9])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    values[6] = 0  # without a text
    vectors = TextVectors.from_array(values, Vocabulary(list("abcdefg"), "item"), "angles")
    events = np.array([5, 0, 2, 3, 0, 0, 0])
    # c has too few events to stand in and some of its own; nobody is near f; g has no text
    assert stand_ins(vectors, events).tolist() == [0, 0, 1, 0, 0, 4, 0, 0]


def test_an_item_has_its_own_score_or_one_just_below_that_of_its_stand_in(plain, lifted):
    before, after = plain.score_catalog(SOME), lifted.score_catalog(SOME)
    near = nearest_by_hand()
    assert len(near) > 5
    assert lifted.details["cold_items"] == len(near)
    rises = 0
    for code in range(1, len(EVENTS) + 1):
        own = before[:, code - 1]
        if code in near:
            other = np.nextafter(before[:, near[code] - 1], np.float32(-np.inf))
            rises += int((other > own).sum())
            own = np.maximum(own, other)
        np.testing.assert_array_equal(after[:, code - 1], own)
    assert rises > len(SOME)


def test_candidates_are_scored_alike(lifted):
    ids = lifted.vocabulary.ids
    np.testing.assert_allclose(lifted.score(SOME, ids), lifted.score_catalog(SOME), atol=2e-4)


@pytest.mark.parametrize("few", [False, True], ids=["all items", "candidates"])
@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("beam", [80, 7])
def test_lists_hold_the_best_of_these_scores(lifted, few, exclude_seen, beam):
    model = lifted
    wide = model.config
    allowed = np.arange(len(EVENTS)) % 3 > 0 if few else np.ones(len(EVENTS), dtype=bool)
    candidates = model.vocabulary.ids.filter(pl.Series(allowed)).to_list() if few else None
    try:
        model.config = wide.model_copy(update={"beam": beam})
        found = model.recommend(SOME, k=5, candidates=candidates, exclude_seen=exclude_seen)
        scores = model.score_catalog(SOME)
    finally:
        model.config = wide
    assert (found.group_by("user_id").len()["len"] == 5).all()
    cold_listed = 0
    for row, user in enumerate(SOME.user_ids):
        chosen = found.filter(pl.col("user_id") == user)
        codes = model.vocabulary.encode(chosen["item_id"])
        seen = set(SOME[row].tolist()) if exclude_seen else set()
        assert allowed[codes - 1].all()
        assert not set(codes.tolist()) & seen
        cold_listed += int((EVENTS[codes - 1] == 0).sum())
        left = [c for c in range(1, len(EVENTS) + 1) if allowed[c - 1] and c not in seen]
        best = sorted((scores[row, c - 1] for c in left), reverse=True)[:5]
        if beam == 80:
            np.testing.assert_allclose(chosen["score"], best, atol=1e-5)
        elif exclude_seen:  # closing leaves room for items that a full search cut off
            assert (chosen["score"].to_numpy() >= np.array(best) - 1e-5).all()
    assert cold_listed > 0


def test_equal_scores_leave_the_item_itself_in_front():
    scores = np.array([[-1.0, -np.inf, -9.0, -np.inf]], dtype=np.float32)
    lift_catalog(scores, np.array([0, 0, 1, 0, 3], dtype=np.int32))
    assert (-scores).argsort(kind="stable")[0].tolist() == [0, 1, 2, 3]
    assert scores[0, 1] < -1
    lift_catalog(scores, np.array([0, 0, 1, 0, 2], dtype=np.int32))
    assert np.isfinite(scores).all()


def test_a_saved_model_keeps_its_stand_ins(lifted, tmp_path):
    lifted.save_pretrained(tmp_path / "model")
    loaded = OneRec.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_catalog(SOME), lifted.score_catalog(SOME))
    assert loaded.recommend(SOME, k=4).equals(lifted.recommend(SOME, k=4))


def test_without_texts_nothing_is_trained():
    texts = item_texts(DATA.catalog, "profile")
    vectors = embed_items(texts, DATA.catalog.vocabulary, "tfidf:16", None)
    ids = make().use_vectors(vectors)._semantic_ids(TRAIN)
    with pytest.raises(ConfigError, match="use_catalog"):
        make(cold_items=True).use_semantic_ids(ids).fit(TRAIN)
    fitted = make(cold_items=True).use_semantic_ids(ids).use_vectors(vectors).fit(TRAIN)
    assert fitted.details["cold_items"] == len(nearest_by_hand())
