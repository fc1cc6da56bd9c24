"""Sessions of some of the items only, of a generator and of a language model, by brute force."""

import itertools

import numpy as np
import pytest
import torch

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ConfigError, DataError, UnknownIdError
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.generator.lists import list_log_probabilities
from llmrec.recommenders.onerec.language import OneRecLM
from llmrec.testing.tiny_llama import save_tiny_llama

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
TRAIN, USERS = SPLIT.train_histories(), SPLIT.cases("test").histories.take(np.arange(10))
CHOICE = DATA.catalog.vocabulary.ids.to_list()[10:70:10]  # six items
SHARED = {"text_encoder": "tfidf:16", "beam": 60}


@pytest.fixture(scope="module", params=["encoder_decoder", "decoder", "item_decoder", "language"])
def model(request, tmp_path_factory):
    if request.param == "language":
        made = OneRecLM(
            language_model=str(save_tiny_llama(tmp_path_factory.mktemp("llama"))),
            tokenizer={"codes": 8}, history=4, session=3, titles=False,
            training={"epochs": 1, "batch_size": 64}, **SHARED,
        )  # fmt: skip
    else:
        made = OneRec(
            tokenizer={"codes": 8}, training={"epochs": 1, "batch_size": 64},
            generator={"form": request.param, "dim": 16, "heads": 2, "history": 8, "session": 3},
            **SHARED,
        )  # fmt: skip
    return made.use_catalog(DATA.catalog).fit(TRAIN)


def probabilities(model, history, lists):
    """Log-probabilities of lists after a history, every list by itself."""
    if isinstance(model, OneRecLM):
        read = torch.from_numpy(history[-(model.config.history + 1 - len(lists[0])) :].astype(int))
        rows = read.expand(len(lists), -1)
        found = model.network.list_log_probabilities(model.prompts, rows, torch.tensor(lists))
    else:
        read = torch.from_numpy(history[-model.writer.newest(3) :].astype(int))
        rows = read.expand(len(lists), -1)
        found = list_log_probabilities(model.generator, rows, torch.tensor(lists))
    return found.detach().numpy()


@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_best_list_of_the_candidates_that_were_not_seen(model, m):
    frame = model.recommend_session(USERS, m=m, candidates=CHOICE)
    codes = model.vocabulary.encode(CHOICE)
    for row, user in enumerate(USERS.user_ids):
        left = [int(code) for code in codes if code not in set(USERS[row].tolist())]
        found = frame.filter(frame["user_id"] == user)
        if len(left) < m:
            assert not found.height
            continue
        lists = list(itertools.permutations(left, m))
        scores = probabilities(model, USERS[row], lists)
        mine = tuple(model.vocabulary.encode(found["item_id"]).tolist())
        assert scores[lists.index(mine)] >= scores.max() - 1e-4
        np.testing.assert_allclose(found["score"], scores.max(), atol=1e-4)
        assert found["rank"].to_list() == list(range(1, m + 1))


def test_all_items_as_candidates_are_no_restriction(model):
    everything = model.recommend_session(USERS, candidates=model.vocabulary.ids)
    assert everything.equals(model.recommend_session(USERS))
    assert everything["rank"].max() == 3


def test_seen_items_may_come_again_where_that_is_asked_for(model):
    seen = model.vocabulary.decode(USERS[0]).unique().to_list()[:4]
    one = USERS.take([0])
    assert not model.recommend_session(one, m=2, candidates=seen).height
    again = model.recommend_session(one, m=2, candidates=seen, exclude_seen=False)
    assert again.height == 2
    assert set(again["item_id"]) <= set(seen)


def test_what_leaves_too_little_is_said(model):
    few = CHOICE[:2]
    with pytest.raises(ConfigError, match=r"leave 2 items .* too few for a session of 3"):
        model.recommend_session(USERS, candidates=few)
    assert model.recommend_session(USERS, m=2, candidates=few).height
    with pytest.raises(ConfigError, match="leave 0 items"):
        model.recommend_session(USERS, candidates=[-1], on_unknown="skip")
    with pytest.raises(UnknownIdError, match="-1"):
        model.recommend_session(USERS, candidates=[-1, *CHOICE])
    with pytest.raises(DataError, match="candidate"):
        model.recommend_session(USERS, candidates=[])
    with pytest.raises(ConfigError, match="one list of candidates for everybody"):
        model.recommend_session(USERS, candidates=[CHOICE] * len(USERS))
    with pytest.raises(ConfigError, match="m=4 must lie between 1 and the 3 items"):
        model.recommend_session(USERS, m=4)
    with pytest.raises(ConfigError, match="best_of=2 needs a reward model"):
        model.recommend_session(USERS, best_of=2)


def test_it_says_that_it_learnt_from_pseudo_sessions(model):
    about = model.details["sessions"]
    assert about["pseudo"] is True
    assert about["rule"]["group"] == "next"
    assert "pseudo-sessions, the events that follow one another" in about["told"]


def test_models_of_single_items_say_nothing_of_sessions():
    single = OneRec(
        tokenizer={"codes": 8}, generator={"dim": 16, "session": 1}, training={"epochs": 1},
        **SHARED,
    )  # fmt: skip
    assert "sessions" not in single.use_catalog(DATA.catalog).fit(TRAIN).details


def test_items_that_share_an_id_count_once():
    model = OneRec(
        tokenizer={"codes": 4, "levels": 2, "collisions": "allow"},
        generator={"form": "decoder", "dim": 16, "session": 3}, training={"epochs": 1}, **SHARED,
    ).use_catalog(DATA.catalog).fit(TRAIN)  # fmt: skip
    leaves = model.trie.item_leaves
    crowd = np.flatnonzero(leaves == np.bincount(leaves).argmax())[:3] + 1
    others = np.flatnonzero(leaves != leaves[crowd[0] - 1])[:1] + 1
    names = model.vocabulary.decode([*crowd, *others]).to_list()
    with pytest.raises(ConfigError, match="leave 2 items with different semantic IDs"):
        model.recommend_session(USERS, m=3, candidates=names)
    found = model.recommend_session(USERS, m=2, candidates=names)
    assert set(found["item_id"]) <= set(names)


def test_a_language_model_writes_no_longer_lists_than_its_histories(tmp_path):
    lm = OneRecLM(
        language_model=str(save_tiny_llama(tmp_path / "llama")), tokenizer={"codes": 8}, history=2,
        titles=False, training={"epochs": 1, "batch_size": 64}, **SHARED,
    ).use_catalog(DATA.catalog).fit(TRAIN)  # fmt: skip
    assert lm.recommend_session(USERS).height == 2 * len(USERS)
    with pytest.raises(ConfigError, match="m=3 must lie between 1 and the 2"):
        lm.recommend_session(USERS, m=3)
