"""New items beside the old, without training: what they get, what stays, and what is refused."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch
from test_onerec_best_of import make_reward

from llmrec.data import Catalog, leave_one_out
from llmrec.data.histories import Histories
from llmrec.data.simulator import simulate
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.recommenders.item_texts import embed_items, item_texts
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.language import OneRecLM
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.fitting import fit_semantic_ids
from llmrec.retrieval.vectors import TextVectors
from llmrec.testing.tiny_llama import save_tiny_llama

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
TRAIN, USERS = SPLIT.train_histories(), SPLIT.cases("test").histories.take(np.arange(12))
OLD = DATA.catalog.vocabulary
TEXTS = embed_items(item_texts(DATA.catalog, "profile"), OLD, "tfidf:16", None)
IDS = fit_semantic_ids(TEXTS, TRAIN, TokenizerConfig(codes=16))
FIRST, LAST = int(OLD.ids.min()) - 3, int(OLD.ids.max()) + 1
NEW = [FIRST, LAST, LAST + 1]  # one comes before all others, so every item code moves
CATALOG = Catalog(
    pl.concat([
        DATA.catalog.frame.select("item_id", "title"),
        pl.DataFrame({"item_id": NEW, "title": [f"new {item}" for item in NEW]}),
    ])
)  # fmt: skip
FORMS = ["encoder_decoder", "decoder", "item_decoder"]


def vectors_of(vocabulary, likened_to=0):
    """The vectors of the old items, and for new ones that of one of them."""
    rows = OLD.encode(vocabulary.ids, on_unknown="zero").astype(np.int64) - 1
    values = TEXTS.values[np.where(rows < 0, likened_to, rows)]
    return TextVectors.from_array(values, vocabulary, TEXTS.encoder)


MORE = IDS.with_items(CATALOG.vocabulary, vectors_of(CATALOG.vocabulary))


def make(form="item_decoder", choices="all", epochs=1, **options):
    generator = {"form": form, "dim": 16, "heads": 2, "history": 8, "session": 2}
    return OneRec(
        generator={**generator, "choices": choices, **options.pop("generator", {})},
        training={"epochs": epochs, "batch_size": 64, "learning_rate": 3e-3},
        beam=100,
        **options,
    ).use_semantic_ids(IDS)


@pytest.fixture(scope="module")
def fitted():
    """Models by form and choices; nobody changes them."""
    kinds = [(form, choices) for form in FORMS for choices in ("all", "existing")]
    return {kind: make(*kind).fit(TRAIN) for kind in kinds}


def prefixes(ids, items):
    """Codes of items' IDs less the last one, as tuples; their own and all shorter ones."""
    rows = ids.codes[ids.vocabulary.encode(items).astype(np.int64) - 1].tolist()
    return [{tuple(row[:level]) for level in range(len(row))} for row in rows]


@pytest.mark.parametrize("form", FORMS)
def test_new_items_are_recommended_and_old_scores_stay(fitted, form, tmp_path):
    model = fitted[form, "all"]
    served = model.with_items(MORE, CATALOG)
    assert served.vocabulary.fingerprint == CATALOG.vocabulary.fingerprint
    full = served.score_catalog(USERS)
    assert np.isfinite(full).all()
    old = CATALOG.vocabulary.encode(OLD.ids).astype(np.int64) - 1
    np.testing.assert_allclose(full[:, old], model.score_catalog(USERS), atol=1e-5)
    np.testing.assert_allclose(served.score(USERS, OLD.ids), model.score(USERS, OLD.ids), atol=1e-6)
    everything = served.recommend(USERS, k=len(CATALOG), exclude_seen=False)
    assert everything["item_id"].n_unique() == len(CATALOG)
    only = served.recommend(USERS, k=3, candidates=NEW)
    assert set(only["item_id"]) == set(NEW)
    assert served.titles.to_list()[0] == f"new {FIRST}"
    session = served.recommend_session(USERS, m=2)
    assert session.height == 2 * len(USERS)
    served.save_pretrained(tmp_path / "model")
    loaded = OneRec.from_pretrained(tmp_path / "model")
    assert loaded.recommend(USERS, k=5).equals(served.recommend(USERS, k=5))
    assert loaded.recommend_session(USERS, m=2).equals(session)


@pytest.mark.parametrize("form", FORMS)
def test_where_codes_compete_old_scores_change_only_beside_new_items(fitted, form):
    model = fitted[form, "existing"]
    served = model.with_items(MORE, CATALOG)
    np.testing.assert_allclose(np.exp(served.score_catalog(USERS)).sum(1), 1, atol=1e-4)
    before, after = model.score(USERS, OLD.ids), served.score(USERS, OLD.ids)
    had = {tuple(row[:level]) for row in IDS.codes.tolist() for level in range(1, 4)}
    new = prefixes(MORE, NEW)
    grown = {
        one[:-1] for row in MORE.codes.tolist()
        for level in range(1, 4) if (one := tuple(row[:level])) not in had
    }  # fmt: skip
    assert grown & set.union(*new)  # some branches have a child more
    for place, below in enumerate(prefixes(IDS, OLD.ids)):
        same = np.allclose(before[:, place], after[:, place], atol=1e-5)
        assert same == (not below & grown)
        assert (after[:, place] <= before[:, place] + 1e-5).all()


@pytest.mark.parametrize(("form", "choices"), [(f, c) for f in FORMS for c in ("all", "existing")])
def test_with_the_same_ids_nothing_changes(fitted, form, choices):
    model = fitted[form, choices]
    again = model.with_items(IDS, DATA.catalog)
    np.testing.assert_array_equal(again.score_catalog(USERS), model.score_catalog(USERS))
    assert again.recommend_session(USERS).equals(model.recommend_session(USERS))
    assert again.recommend(USERS, k=7).equals(model.recommend(USERS, k=7))


def test_the_model_it_was_made_of_stays_as_it_is(fitted):
    model = fitted["decoder", "all"]
    before, details = model.score_catalog(USERS), dict(model.details)
    served = model.with_items(MORE, CATALOG)
    with torch.no_grad():
        for value in served.generator.parameters():
            value.zero_()
    np.testing.assert_array_equal(model.score_catalog(USERS), before)
    assert model.details == details
    assert model.vocabulary.fingerprint == OLD.fingerprint
    assert served.details["semantic_ids"]["added_items"] == 3


def test_known_users_and_histories_with_new_items_are_served(fitted):
    served = fitted["item_decoder", "all"].with_items(MORE, CATALOG)
    users = TRAIN.user_ids.head(3).to_list()
    found = served.recommend(users, k=5)
    expected = fitted["item_decoder", "all"].recommend(users, k=5, exclude_seen=True)
    assert found.filter(~pl.col("item_id").is_in(NEW))["score"][0] == pytest.approx(
        expected["score"][0], abs=1e-5
    )
    history = Histories.from_lists([[NEW[0], NEW[2]]], served.vocabulary)
    assert not set(served.recommend(history, k=10)["item_id"]) & {NEW[0], NEW[2]}


def test_it_can_be_done_twice_and_from_a_loaded_model(fitted, tmp_path):
    fitted["item_decoder", "all"].save_pretrained(tmp_path / "model")
    served = OneRec.from_pretrained(tmp_path / "model").with_items(MORE, CATALOG)
    larger = Vocabulary([*CATALOG.vocabulary.ids, LAST + 9], "item")
    twice = served.with_items(MORE.with_items(larger, vectors_of(larger)))
    assert np.isfinite(twice.score(USERS, [LAST + 9])).all()
    assert twice.titles is None


def test_new_items_get_somebody_to_stand_in_for_them():
    events = np.bincount(TRAIN.items, minlength=len(OLD) + 1)[1:]
    popular = int(events.argmax())
    model = make(cold_items=True).use_vectors(TEXTS).fit(TRAIN)
    vectors = vectors_of(CATALOG.vocabulary, likened_to=popular)
    served = model.with_items(IDS.with_items(CATALOG.vocabulary, vectors), CATALOG, vectors)
    liked = served.score(USERS, [OLD.ids[popular]])
    assert (served.score(USERS, NEW) >= np.nextafter(liked, -np.inf)).all()
    np.testing.assert_allclose(served.score(USERS, OLD.ids), model.score(USERS, OLD.ids), atol=1e-5)


def test_a_language_model_takes_new_items_too(tmp_path):
    folder = save_tiny_llama(tmp_path / "llama")
    lm = OneRecLM(
        language_model=str(folder), history=3, beam=90, titles=False, training={"epochs": 1}
    ).use_semantic_ids(IDS)
    lm.fit(TRAIN)
    served = lm.with_items(MORE, CATALOG)
    some = USERS.take(np.arange(3))
    np.testing.assert_allclose(served.score(some, OLD.ids), lm.score(some, OLD.ids), atol=1e-5)
    assert set(served.recommend(some, k=3, candidates=NEW)["item_id"]) == set(NEW)
    served.save_pretrained(tmp_path / "model")
    loaded = OneRecLM.from_pretrained(tmp_path / "model")
    assert loaded.recommend(some, k=4).equals(served.recommend(some, k=4))


def other_ids(seed=1):
    return fit_semantic_ids(TEXTS, TRAIN, TokenizerConfig(codes=16, seed=seed))


def without_one():
    smaller = Vocabulary(OLD.ids.tail(len(OLD) - 1), "item")
    return IDS.with_items(smaller, vectors_of(smaller))


def recoded():
    codes = MORE.codes.copy()
    codes[[5, 6]] = codes[[6, 5]]
    return dataclasses.replace(MORE, codes=codes)


@pytest.mark.parametrize(
    ("ids", "catalog", "error", "sentence"),
    [
        (other_ids, None, ArtifactError, r"of code space \w{12}, but the model was trained on"),
        (without_one, None, DataError, "lack 1 items that this model knows"),
        (recoded, None, ArtifactError, "2 of the 80 items that this model knows have other codes"),
        (lambda: MORE, DATA.catalog, DataError, "the catalogue has 80 items"),
    ],
)
def test_ids_that_do_not_fit_are_refused(fitted, ids, catalog, error, sentence):
    with pytest.raises(error, match=sentence):
        fitted["decoder", "all"].with_items(ids(), catalog)


def test_the_space_is_saved_with_the_model(fitted, tmp_path):
    model = fitted["decoder", "all"]
    model.save_pretrained(tmp_path / "model")
    loaded = OneRec.from_pretrained(tmp_path / "model")
    assert loaded.details["semantic_ids"]["space"] == IDS.space
    with pytest.raises(ArtifactError, match="code space"):
        loaded.with_items(other_ids())
    del loaded.details["semantic_ids"]["space"]  # as models of earlier versions
    assert loaded.with_items(MORE).vocabulary.fingerprint == CATALOG.vocabulary.fingerprint
    with pytest.raises(ArtifactError, match="have other codes"):
        loaded.with_items(other_ids())


def test_models_that_know_items_one_by_one_are_refused():
    own = make(generator={"item_vectors": True}).fit(TRAIN)
    with pytest.raises(ConfigError, match="learnt vector per item"):
        own.with_items(MORE, CATALOG)
    judged = make().fit(TRAIN).use_reward_model(make_reward())
    with pytest.raises(ConfigError, match="reward_model = None"):
        judged.with_items(MORE, CATALOG)
    judged.reward_model = None
    assert judged.with_items(MORE, CATALOG).recommend_session(USERS).height == 2 * len(USERS)


def test_the_ids_of_a_model_that_tokenised_by_itself_are_there_to_be_kept():
    options = {"tokenizer": {"codes": 16}, "text_encoder": "tfidf:16"}
    model = OneRec(**options, generator={"form": "item_decoder", "dim": 16}, training={"epochs": 1})
    model.use_catalog(DATA.catalog).fit(TRAIN)
    assert model.semantic_ids.fingerprint == model.details["semantic_ids"]["fingerprint"]
    more = model.semantic_ids.with_items(CATALOG.vocabulary, vectors_of(CATALOG.vocabulary))
    assert set(NEW) <= set(model.with_items(more, CATALOG).recommend(USERS, k=60)["item_id"])
