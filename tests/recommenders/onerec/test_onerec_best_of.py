"""Sessions chosen by a reward model: against a loop, saved with the model, refused in sentences."""

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.data import Catalog, Dataset, Interactions, leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.alignment.config import RewardConfig, RewardSettings
from llmrec.recommenders.onerec.alignment.judging import Judged, train_reward_model
from llmrec.recommenders.onerec.alignment.reward_forms import make_reward_model
from llmrec.recommenders.onerec.alignment.rollouts import written_lists

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
USERS = SPLIT.cases("test").histories.take(np.arange(15))


def make_reward(items=80, seed=0, **options):
    torch.manual_seed(seed)
    config = RewardConfig(**{"towers": ("like",), "dim": 8, "hidden": 8, "session": 4, **options})
    model = make_reward_model(config, items, [0.3])
    torch.nn.init.normal_(model.items.weight)
    return model.eval()


@pytest.fixture
def model():
    generator = {"form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3}
    made = OneRec(
        tokenizer={"codes": 8},
        text_encoder="tfidf:16",
        generator=generator,
        training={"epochs": 1, "batch_size": 64},
        beam=10,
        best_of=4,
    )
    return made.use_catalog(DATA.catalog).fit(SPLIT.train_histories())


def lists_of(frame):
    return [part["item_id"].to_list() for _, part in frame.group_by("user_id", maintain_order=True)]


@pytest.mark.parametrize("number", [1, 2, 10])
def test_the_best_of_the_most_probable_lists(model, number):
    reward = make_reward()
    model.use_reward_model(reward)
    found = model.recommend_session(USERS, best_of=number)
    lists = written_lists(model.writer, model.trie, USERS, 10, 3)
    for user, items in enumerate(lists_of(found)):
        history = torch.from_numpy(USERS[user].astype(np.int64))[None]
        judged = [
            reward.reward(history, torch.from_numpy(each.astype(np.int64))[None]).item()
            for each in lists.items[user, :number]
        ]
        best = lists.items[user, int(np.argmax(judged))]
        assert items == model.vocabulary.decode(best).to_list()
    assert found.group_by("user_id").len()["len"].to_list() == [3] * len(USERS)


def test_with_a_reward_model_it_is_on_by_default(model):
    plain = model.recommend_session(USERS)
    model.use_reward_model(make_reward())
    assert model.recommend_session(USERS).equals(model.recommend_session(USERS, best_of=4))
    assert model.recommend_session(USERS, best_of=1).equals(plain)
    assert not model.recommend_session(USERS).equals(plain)


def test_the_reward_model_is_saved_with_the_model(model, tmp_path):
    model.use_reward_model(make_reward(), {"figures": {"like": {"auc": 0.7}}})
    model.save_pretrained(tmp_path / "model")
    loaded = OneRec.from_pretrained(tmp_path / "model")
    assert loaded.recommend_session(USERS).equals(model.recommend_session(USERS))
    assert loaded.details["reward"]["figures"]["like"]["auc"] == 0.7


def test_recommendations_of_single_items_do_not_change(model):
    before = model.recommend(USERS, k=5)
    assert model.use_reward_model(make_reward()).recommend(USERS, k=5).equals(before)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (4, "best_of=4 needs a reward model, which this model lacks"),
        (0, "best_of=0 must lie between 1 and the 10 lists"),
        (2.5, "best_of=2.5 must .* be a whole number"),
        (11, "best_of=11 must lie between 1 and the 10 lists that the beam finds"),
    ],
)
def test_numbers_that_cannot_be(model, number, sentence):
    with pytest.raises(ConfigError, match=sentence):
        model.recommend_session(USERS, best_of=number)


def test_reward_models_that_do_not_fit(model):
    with pytest.raises(ConfigError, match="knows 70 items and this model 80"):
        model.use_reward_model(make_reward(items=70))
    with pytest.raises(ConfigError, match="judges lists of 2 items at most"):
        model.use_reward_model(make_reward(session=2))


def test_a_reward_model_knows_which_items_it_was_trained_on(model, tmp_path):
    events, items = (
        each.frame.with_columns(pl.col("item_id") + 1) for each in (DATA.interactions, DATA.catalog)
    )
    other = leave_one_out(Dataset("renamed", Interactions(events), Catalog(items)))
    rules = {"towers": [{"name": "like", "column": "label"}], "most": 3, "dim": 8, "hidden": 8}
    settings = RewardSettings(**rules, training={"epochs": 1, "batch_size": 64})
    own, theirs = (train_reward_model(each, settings) for each in (SPLIT, other))
    assert theirs.model.n_items == own.model.n_items == 80
    own.save(tmp_path, {})
    theirs.save(tmp_path / "other", {})
    model.use_reward_model(own.model).use_reward_model(Judged.load(tmp_path, {}).model)
    for judge in (theirs, Judged.load(tmp_path / "other", {})):
        with pytest.raises(ConfigError, match=r"trained on other items .* though on as many"):
            model.use_reward_model(judge.model)


def test_a_reward_that_is_no_number_is_named(model):
    reward = make_reward()
    model.use_reward_model(reward)
    with torch.no_grad():
        reward.items.weight.fill_(torch.nan)
    with pytest.raises(DataError, match=r"gives NaN for a list of user .*best_of=1"):
        model.recommend_session(USERS)
    assert model.recommend_session(USERS, best_of=1).height == 45
