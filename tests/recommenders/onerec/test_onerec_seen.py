"""What IDs, vectors and a language model have seen counts as seen by the model made of them."""

import shutil

import pytest

from llmrec.data import global_time, leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ProtocolError
from llmrec.evaluation import Task, evaluate
from llmrec.inference.seen import write_seen
from llmrec.inference.tiny_names import tiny_folder
from llmrec.recommenders.item_texts import embed_items, item_texts
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.language import OneRecLM
from llmrec.recommenders.onerec.tokenizer.behaviour import with_behaviour
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.fitting import fit_semantic_ids
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds
from llmrec.retrieval.vectors import TextVectors
from llmrec.testing.tiny_llama import save_tiny_llama

DATA = simulate("simulate:tiny@1").dataset
EARLIER, LATER = global_time(DATA, train=0.5, valid=0.2), global_time(DATA, train=0.8)
TRAIN, VOCABULARY = EARLIER.train_histories(), DATA.catalog.vocabulary
TEXTS = embed_items(item_texts(DATA.catalog, "profile"), VOCABULARY, "tfidf:16", None)
CODES = TokenizerConfig(codes=8)
FAST = {
    "generator": {"form": "item_decoder", "dim": 16},
    "training": {"epochs": 1},
    "beam": 20,
}


def task_of(split, filter_seen=True):
    values = {
        "name": "tiny",
        "version": 1,
        "description": "x",
        "dataset": DATA.name,
        "split": {"name": split.name, "params": dict(split.params)},
        "metrics": ["ndcg@10"],
        "filter_seen": filter_seen,
    }
    return Task.model_validate(values)


def ids_of(split, behaviour=1.0, include_valid=False):
    train = split.train_histories(include_valid)
    vectors = with_behaviour(TEXTS, train, behaviour, dim=8) if behaviour else TEXTS
    return fit_semantic_ids(vectors, train, CODES)


def assert_refused(model, part="test", split=EARLIER):
    with pytest.raises(ProtocolError, match=f"may have seen the {part} events it would be judged"):
        evaluate(model, split, task_of(split), part)


@pytest.mark.parametrize("behaviour", [0.0, 1.0])
def test_ids_of_a_later_split_are_refused_at_the_test_of_an_earlier_one(behaviour, tmp_path):
    ids_of(LATER, behaviour).save(tmp_path / "ids")
    given = OneRec(**FAST).use_semantic_ids(ids_of(LATER, behaviour)).fit(TRAIN)
    named = OneRec(**FAST, semantic_ids=str(tmp_path / "ids")).fit(TRAIN)
    named.save_pretrained(tmp_path / "model")
    loaded = OneRec.from_pretrained(tmp_path / "model")
    for model in (given, named, loaded):
        assert list(model.seen) == [TRAIN.origin, LATER.train_histories().origin]
        assert_refused(model)
        assert_refused(model, "valid")


def test_ids_of_the_same_split_are_accepted_whatever_the_task_filters(tmp_path):
    ids_of(EARLIER).save(tmp_path / "ids")
    model = OneRec(**FAST, semantic_ids=str(tmp_path / "ids")).fit(TRAIN, EARLIER.cases("valid"))
    assert list(model.seen) == [TRAIN.origin]
    for filter_seen in (True, False):
        for part in ("valid", "test"):
            evaluate(model, EARLIER, task_of(EARLIER, filter_seen), part)


def test_ids_that_know_the_validation_part_are_for_the_test_only():
    ids = ids_of(EARLIER, include_valid=True)
    with pytest.warns(UserWarning, match="up to and including part valid of split"):
        model = OneRec(**FAST).use_semantic_ids(ids).fit(TRAIN)
    evaluate(model, EARLIER, task_of(EARLIER), "test")
    with pytest.raises(ProtocolError, match="up to and including its valid part"):
        evaluate(model, EARLIER, task_of(EARLIER), "valid")


def test_what_vectors_know_travels_with_them_into_ids_and_models(tmp_path):
    later = LATER.train_histories()
    with_behaviour(TEXTS, later, 1.0, dim=8).save(tmp_path / "vectors")
    vectors = TextVectors.load(tmp_path / "vectors")
    assert vectors.seen == (later.origin,)
    assert TextVectors.from_array(TEXTS.values, VOCABULARY).seen == ()
    ids = fit_semantic_ids(vectors, TRAIN, CODES)
    assert ids.seen == (later.origin, TRAIN.origin)
    assert ids.with_items(VOCABULARY, vectors).seen == ids.seen
    ids.save(tmp_path / "ids")
    assert SemanticIds.load(tmp_path / "ids").seen == ids.seen
    tokenizer = CODES.model_dump()
    model = OneRec(**FAST, tokenizer=tokenizer, cold_items=True).use_vectors(vectors).fit(TRAIN)
    assert_refused(model)


def test_stand_ins_by_vectors_that_know_too_much_count_as_well():
    vectors = with_behaviour(TEXTS, LATER.train_histories(), 1.0, dim=8)
    model = OneRec(**FAST, cold_items=True)
    model.use_semantic_ids(ids_of(EARLIER)).use_vectors(vectors).fit(TRAIN)
    assert_refused(model)


def language_model(home, monkeypatch, split):
    """An embedded model that was trained on a split, as far as its record goes."""
    monkeypatch.setenv("LLMREC_HOME", str(home))
    origin = split.train_histories().origin
    write_seen(save_tiny_llama(tiny_folder(origin)), [origin])
    return f"tiny:{origin.dataset}@{origin.split_hash}"


def lm_of(name):
    return OneRecLM(
        language_model=name, history=3, beam=20, titles=False, training={"epochs": 1}
    ).use_semantic_ids(ids_of(EARLIER))


def test_an_embedded_language_model_of_the_same_split_can_be_judged(tmp_path, monkeypatch):
    model = lm_of(language_model(tmp_path, monkeypatch, EARLIER)).fit(TRAIN)
    assert list(model.seen) == [TRAIN.origin]
    assert model.recommend(TRAIN.take([0, 1]), k=5).height == 10
    evaluate(model, EARLIER, task_of(EARLIER), "test", limit=20)


def test_an_embedded_language_model_of_a_later_split_is_refused(tmp_path, monkeypatch):
    model = lm_of(language_model(tmp_path / "home", monkeypatch, LATER)).fit(TRAIN)
    assert_refused(model)
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "home")  # the saved model says so by itself
    assert_refused(OneRecLM.from_pretrained(tmp_path / "model"))


def test_a_model_that_is_fitted_again_forgets_what_earlier_ids_had_seen():
    model = OneRec(**FAST).use_semantic_ids(ids_of(LATER)).fit(TRAIN)
    model.use_semantic_ids(ids_of(EARLIER)).fit(TRAIN)
    assert list(model.seen) == [TRAIN.origin]
    evaluate(model, EARLIER, task_of(EARLIER), "test")


def test_ids_on_leave_one_out_are_refused_under_a_cut_in_time():
    ids = ids_of(leave_one_out(DATA))
    assert_refused(OneRec(**FAST).use_semantic_ids(ids).fit(TRAIN))
