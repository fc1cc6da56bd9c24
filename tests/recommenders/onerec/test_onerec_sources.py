"""Semantic IDs that are read, vectors of behaviour, metrics of the beam alone."""

import numpy as np
import pytest

from llmrec.data import leave_one_out
from llmrec.data.histories import Histories
from llmrec.data.simulator import simulate
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.evaluation.monitoring import ranking_metrics
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.config import OneRecConfig
from llmrec.recommenders.onerec.sources import read_semantic_ids, semantic_ids_of
from llmrec.recommenders.onerec.tokenizer.behaviour import (
    behaviour_vectors,
    with_behaviour,
    without_behaviour,
)
from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.fitting import fit_semantic_ids
from llmrec.recommenders.onerec.validation import beam_metrics
from llmrec.retrieval.vectors import TextVectors

FAST = {
    "tokenizer": {"codes": 8},
    "generator": {"form": "item_decoder", "dim": 16},
    "training": {"epochs": 1},
    "text_encoder": "tfidf:16",
}


@pytest.fixture(scope="module")
def data():
    return simulate("simulate:tiny@1").dataset


@pytest.fixture(scope="module")
def split(data):
    return leave_one_out(data)


@pytest.fixture(scope="module")
def model(data, split):
    return OneRec(**FAST).use_catalog(data.catalog).fit(split.train_histories())


@pytest.mark.parametrize("filter_seen", [True, False])
def test_metrics_of_the_beam_are_those_of_the_whole_catalogue(model, split, filter_seen):
    names = ["ndcg@10", "hit_rate@5", "mrr@10"]
    cases, width = split.cases("valid"), len(model.vocabulary)
    model.config = model.config.model_copy(update={"beam": width})
    expected = ranking_metrics(model._score_catalog, cases, names, filter_seen)
    found = beam_metrics(model.writer, model.trie, cases, names, width, filter_seen)
    assert found == pytest.approx(expected, abs=1e-9)


def test_ids_of_a_folder_are_those_that_were_saved(data, split, tmp_path, monkeypatch):
    train = split.train_histories()
    ids = semantic_ids_of(OneRecConfig(**FAST), train, data.catalog, None)
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path))
    ids.save(tmp_path / "semantic-ids" / "mine")
    read = semantic_ids_of(OneRecConfig(semantic_ids="mine"), train, None, None)
    assert read.fingerprint == ids.fingerprint
    fitted = OneRec(**FAST, semantic_ids="mine").fit(train)
    assert fitted.details["semantic_ids"]["fingerprint"] == ids.fingerprint


def test_published_ids_are_ordered_by_popularity_in_training(split, tmp_path):
    train = split.train_histories()
    rows = [f"{item},<a_{n % 3}> <b_{n % 5}>" for n, item in enumerate(train.vocabulary.ids)]
    (tmp_path / "ids.csv").write_text("\n".join(["item_id,codes", *rows]))
    ids = read_semantic_ids(str(tmp_path / "ids.csv"), train)
    assert ids.popularity.sum() == train.items.size
    assert ids.codes[:6, 1].tolist() == [0, 1, 2, 3, 4, 0]


def test_ids_that_are_not_there_are_looked_for_by_name(split):
    with pytest.raises(ConfigError, match=r"no semantic IDs in nowhere or .*items tokenize"):
        read_semantic_ids("nowhere", split.train_histories())


def test_ids_of_another_catalogue_are_refused_by_hash(data, split, tmp_path):
    ids = semantic_ids_of(OneRecConfig(**FAST), split.train_histories(), data.catalog, None)
    ids.save(tmp_path / "ids")
    with pytest.raises(ArtifactError, match=r"of another catalogue .*fingerprint"):
        read_semantic_ids(str(tmp_path / "ids"), make_histories([[1, 2]]))


def make_histories(lists, items=6):
    return Histories.from_lists(lists, Vocabulary(list(range(1, items + 1)), "item"))


def test_items_of_the_same_histories_have_near_vectors():
    rng = np.random.default_rng(0)
    groups = [(1, 2, 3), (4, 5, 6)] * 40
    train = make_histories([list(rng.permutation(group)) for group in groups])
    vectors = behaviour_vectors(train, 2)
    near = vectors @ vectors.T / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
    assert near[:3, :3].min() > 0.99
    assert near[:3, 3:].max() < 0.1


def test_an_item_without_neighbours_keeps_the_vector_of_its_text():
    train = make_histories([[1, 2], [2, 3], [1, 3], [4]])
    texts = TextVectors.from_array(np.eye(6), train.vocabulary)
    both = with_behaviour(texts, train, weight=2.0, dim=2)
    assert both.values.shape == (6, 8)
    assert both.values[3].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert both.encoder.startswith("given+behaviour:2:2:0:")
    assert np.linalg.norm(both.values[0, 6:]) > 0.3


def test_new_items_get_codes_from_their_texts_alone():
    train = make_histories([[1, 2, 3], [4, 5, 6], [1, 3, 2], [5, 4, 6]])
    texts = TextVectors.from_array(np.eye(6), train.vocabulary)
    both = with_behaviour(texts, train, weight=0.5, dim=2)
    ids = fit_semantic_ids(both, train, TokenizerConfig(levels=2, codes=3))
    larger = Vocabulary(list(range(1, 8)), "item")
    wanted = TextVectors.from_array(np.vstack([np.eye(6), np.eye(6)[2]]), larger)
    more = ids.with_items(larger, without_behaviour(wanted, ids))
    assert more.codes[:6].tolist() == ids.codes.tolist()
    assert more.codes[6].tolist() not in ids.codes.tolist()  # the collision rule tells them apart
    with pytest.raises(DataError, match="not from given with behaviour"):
        without_behaviour(texts, fit_semantic_ids(texts, train, TokenizerConfig(codes=3)))


@pytest.mark.parametrize(("weight", "dim"), [(0.0, 2), (1.0, 6), (-1.0, 2)])
def test_settings_of_behaviour_that_make_no_vectors_are_refused(weight, dim):
    train = make_histories([[1, 2]])
    texts = TextVectors.from_array(np.eye(6), train.vocabulary)
    with pytest.raises(ConfigError, match="between 1 and the number of items, 6"):
        with_behaviour(texts, train, weight, dim)
