"""OneRec end to end on simulated data: scores, lists, sessions, saving, refusals."""

import numpy as np
import pytest

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ConfigError, DataError, TrainingError
from llmrec.recommenders.onerec import OneRec

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
TRAIN, CASES = SPLIT.train_histories(), SPLIT.cases("test")


def make(form="encoder_decoder", session=2, epochs=2, **options):
    generator = {"form": form, "dim": 16, "heads": 2, "history": 8, "session": session}
    return OneRec(
        tokenizer={"codes": 8},
        text_encoder="tfidf:16",
        generator={**generator, **options.pop("generator", {})},
        **{
            "beam": 80,
            "training": {"epochs": epochs, "batch_size": 32, "learning_rate": 3e-3},
            **options,
        },
    ).use_catalog(DATA.catalog)


@pytest.fixture(scope="module", params=["encoder_decoder", "decoder"])
def model(request):
    return make(request.param).fit(TRAIN, SPLIT.cases("valid"))


def test_candidates_are_scored_as_a_full_search_scores_them(model):
    histories = CASES.histories.take(np.arange(7))
    full = model.score_catalog(histories)
    assert np.isfinite(full).all()  # the beam is as wide as the catalogue
    ids = model.vocabulary.ids
    exact = model.score(histories, ids)
    np.testing.assert_allclose(exact, full, atol=2e-4)


def test_a_narrow_beam_finds_a_part_of_it_with_the_same_scores(model):
    histories = CASES.histories.take(np.arange(5))
    full = model.score_catalog(histories)
    wide, narrow = model.config, model.config.model_copy(update={"beam": 6})
    try:
        model.config = narrow
        found = model.score_catalog(histories)
    finally:
        model.config = wide
    there = np.isfinite(found)
    assert ((there.sum(1) >= 6) & (there.sum(1) <= 12)).all()  # of one search, or of two
    assert (there.sum(1) < np.isfinite(full).sum(1)).all()
    np.testing.assert_allclose(found[there], full[there], atol=2e-4)


def test_seen_items_and_others_than_the_candidates_stay_out(model):
    histories = CASES.histories
    allowed = DATA.catalog.vocabulary.ids.to_list()[:40]
    found = model.recommend(histories, k=5, candidates=allowed)
    assert set(found["item_id"]) <= set(allowed)
    for user, items in found.group_by("user_id"):
        row = histories.user_ids.to_list().index(user[0])
        seen = histories.items[histories.offsets[row] : histories.offsets[row + 1]]
        assert not set(items["item_id"]) & set(histories.vocabulary.decode(seen).to_list())
        assert items["rank"].to_list() == [1, 2, 3, 4, 5]
        assert items["score"].is_sorted(descending=True)


def test_recommendations_are_the_best_of_the_full_scores(model):
    histories = CASES.histories.take(np.arange(6))
    found = model.recommend(histories, k=4, exclude_seen=False)
    full = model.score_catalog(histories)
    best = np.argsort(-full, axis=1, kind="stable")[:, :4]
    expected = model.vocabulary.decode(best.ravel() + 1).to_list()
    assert found["item_id"].to_list() == expected


def test_sessions_have_different_unseen_items(model):
    found = model.recommend_session(CASES.histories, m=2)
    assert found.height == 2 * len(CASES)
    for user, items in found.group_by("user_id", maintain_order=True):
        row = CASES.histories.user_ids.to_list().index(user[0])
        seen = CASES.histories.items[
            CASES.histories.offsets[row] : CASES.histories.offsets[row + 1]
        ]
        names = set(CASES.histories.vocabulary.decode(seen).to_list())
        assert items["item_id"].n_unique() == 2
        assert not names & set(items["item_id"])


def test_sessions_of_shared_ids_have_unseen_items_too():
    crowded = make("decoder", epochs=1, beam=16)
    tokenizer = {**crowded.config.tokenizer.model_dump(), "codes": 4, "levels": 2}
    config = {**crowded.config.model_dump(), "tokenizer": {**tokenizer, "collisions": "allow"}}
    crowded = OneRec(**config).use_catalog(DATA.catalog).fit(TRAIN)
    swapped = 0
    for row, codes in enumerate(crowded.session_codes(CASES.histories, m=2)[0]):
        seen = CASES.histories[row]
        assert not set(codes.tolist()) & set(seen.tolist())
        leaves = crowded.trie.item_leaves
        swapped += int(np.isin(leaves[codes - 1], leaves[seen - 1]).sum())
    assert swapped > 0  # some items share their IDs with seen ones


def test_it_learns(model):
    before, after = model.log[0], [row for row in model.log if "loss" in row][-1]
    assert after["loss"] < before["loss"]
    assert any("valid" in row for row in model.log)


@pytest.mark.parametrize("form", ["encoder_decoder", "decoder"])
def test_it_learns_from_batches_of_like_length(form):
    training = {"epochs": 3, "batch_size": 32, "learning_rate": 3e-3, "group_by_length": True}
    losses = [row["loss"] for row in make(form, training=training).fit(TRAIN).log]
    assert losses[-1] < losses[0]


def test_saved_and_loaded_it_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    loaded = OneRec.from_pretrained(tmp_path / "model")
    histories = CASES.histories.take(np.arange(9))
    np.testing.assert_array_equal(loaded.score_catalog(histories), model.score_catalog(histories))
    assert loaded.details == model.details
    left, right = (m.recommend_session(histories) for m in (loaded, model))
    assert left.equals(right)


def test_experts_are_reported():
    fitted = make(generator={"experts": 3, "expert_width": 8}, epochs=1).fit(TRAIN)
    assert fitted.log[0]["expert_load_max"] >= 1 >= fitted.log[0]["expert_load_min"] >= 0


def test_items_without_training_events_can_be_recommended():
    fewer = TRAIN.take(np.arange(12))
    cold = np.bincount(fewer.items, minlength=len(DATA.catalog.vocabulary) + 1)[1:] == 0
    assert cold.any()
    fitted = make(epochs=1).fit(fewer)
    assert fitted.details["semantic_ids"]["encoded_items"] == cold.sum()
    assert np.isfinite(fitted.score_catalog(CASES.histories.take([0]))[0, cold]).all()


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda m: m.recommend_session(CASES.histories, m=3), ConfigError, "m=3 must lie between"),
        (lambda m: m.recommend_session(CASES.histories, m=1.5), ConfigError, "be a whole number"),
        (lambda m: m.recommend(CASES.histories, k=81), ConfigError, "k=81 must lie between 1"),
    ],
)
def test_questions_it_cannot_answer(model, call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(model)


def test_without_texts_it_says_what_to_give_it():
    with pytest.raises(ConfigError, match="onerec needs to know the items"):
        OneRec().fit(TRAIN)


def test_a_mistyped_metric_is_refused_before_anything_is_made():
    model = OneRec(training={"metric": "auc"})
    with pytest.raises(ConfigError, match=r"^onerec: training.metric: auc is not computed while"):
        model.fit(TRAIN, CASES)


def test_more_codes_than_items():
    with pytest.raises((DataError, TrainingError), match="codes"):
        make().__class__(tokenizer={"codes": 500}, text_encoder="tfidf:16").use_catalog(
            DATA.catalog
        ).fit(TRAIN)


def test_a_training_with_another_network_is_not_resumed(tmp_path):
    def build(dim, resume):
        config = make(generator={"dim": dim}, epochs=1).config
        return OneRec(config, checkpoints=tmp_path, resume=resume).use_catalog(DATA.catalog)

    build(16, False).fit(TRAIN)
    with pytest.raises(TrainingError, match="generator"):
        build(8, True).fit(TRAIN)
