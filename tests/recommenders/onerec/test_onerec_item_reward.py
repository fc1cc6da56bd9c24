"""The reward model over items: its formula in a loop, that like items bore it, its labels."""

import numpy as np
import pytest
import torch

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.item_texts import embed_items, item_texts
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.alignment import feedback
from llmrec.recommenders.onerec.alignment.config import RewardConfig, RewardSettings, TowerRule
from llmrec.recommenders.onerec.alignment.feedback import (
    FeedbackRows,
    event_values,
    item_labels,
    session_labels,
)
from llmrec.recommenders.onerec.alignment.item_reward import ItemReward
from llmrec.recommenders.onerec.alignment.judging import Judged, train_reward_model
from llmrec.recommenders.onerec.alignment.reward import FeedbackBatch, RewardModel
from llmrec.recommenders.onerec.alignment.reward_forms import make_reward_model
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.generator.sessions import SessionRule, session_spans
from llmrec.training.config import TrainingConfig

HISTORY = torch.tensor([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
SESSION = torch.tensor([[5, 6, 7], [8, 0, 0], [9, 10, 0]])
DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
TRAIN = SPLIT.train_histories()
SPANS = session_spans(TRAIN, SessionRule(group="gap", gap_seconds=3600), 5)
VECTORS = embed_items(
    item_texts(DATA.catalog, "profile"), DATA.catalog.vocabulary, "tfidf:16", None
)
RULES = (
    TowerRule(name="watch", column="dwell", label="amount"),
    TowerRule(name="like", column="label"),
)
SETTINGS = RewardSettings(
    form="items", towers=RULES, most=5, dim=8, history=10, discount=0.9,
    training=TrainingConfig(epochs=1, batch_size=128),
)  # fmt: skip


def make_model(**options):
    torch.manual_seed(0)
    plain = {"form": "items", "towers": ("watch", "like"), "dim": 8, "hidden": 8, "history": 5}
    config = RewardConfig(**{**plain, "content": 4, "discount": 0.8, **options})
    contents = torch.randn(13, config.content)
    contents[0] = 0
    return ItemReward(config, 12, [0.2, 0.5], contents).eval()


def cosine(model, one, other):
    a, b = (model.contents[item].tolist() for item in (one, other))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return max(0.0, dot / np.linalg.norm(a) / np.linalg.norm(b))


def test_what_was_met_before_against_a_loop():
    model = make_model()
    memory = torch.sigmoid(model.memory).item()
    found = model.met_before(SESSION)
    for row, session in enumerate(SESSION.tolist()):
        for place in range(sum(code > 0 for code in session)):
            expected = sum(
                memory ** (place - 1 - earlier) * cosine(model, session[place], session[earlier])
                for earlier in range(place)
            )
            assert found[row, place].item() == pytest.approx(expected, abs=1e-5)


def test_a_list_is_worth_the_discounted_mean_of_its_items():
    model = make_model()
    bored = torch.log1p(model.bored.exp())
    found = model.probabilities(HISTORY, SESSION)
    for row, session in enumerate(SESSION.tolist()):
        values, weights = [], []
        for place, item in enumerate(code for code in session if code):
            fresh = model.fresh_logits(HISTORY[row : row + 1], torch.tensor([[item]]))[0, 0]
            met = model.met_before(SESSION[row : row + 1])[0, place]
            values.append(torch.sigmoid(fresh - bored * met) * 0.8**place)
            weights.append(0.8**place)
        torch.testing.assert_close(found[row], sum(values) / sum(weights))


@pytest.mark.parametrize("begun", [0, 1, 3])
def test_lists_with_one_more_item_have_the_reward_of_whole_lists(begun):
    model = make_model()
    earlier = torch.tensor([[5, 6, 7], [8, 1, 2], [9, 10, 3]])[:, :begun]
    items = torch.tensor([[4, 11], [12, 11], [6, 5]])
    expected = RewardModel.extended(model, HISTORY, earlier, items)
    torch.testing.assert_close(model.extended(HISTORY, earlier, items), expected)
    whole = torch.cat([earlier, items[:, :1]], dim=1)
    torch.testing.assert_close(expected[:, 0], model.reward(HISTORY, whole))


def test_padding_changes_nothing():
    model = make_model()
    together = model.probabilities(HISTORY, SESSION)
    for row in range(3):
        history = HISTORY[row][HISTORY[row] > 0][None]
        if not history.shape[1]:
            history = torch.zeros(1, 1, dtype=torch.int64)
        session = SESSION[row][SESSION[row] > 0][None]
        torch.testing.assert_close(model.probabilities(history, session)[0], together[row])


def test_it_learns_that_like_items_bore_and_by_how_much():
    """Two topics that are liked alike, but log odds fall by 2 per item of the same topic before."""
    rng = np.random.default_rng(0)
    topic = np.arange(12) % 2
    session = np.stack([rng.permutation(12)[:3] + 1 for _ in range(4000)])
    kinds = topic[session - 1]
    before = np.stack([(kinds[:, :place] == kinds[:, [place]]).sum(1) for place in range(3)], 1)
    liked = rng.random(before.shape) < 1 / (1 + np.exp(2.0 * before - 1.0))
    torch.manual_seed(0)
    config = RewardConfig(
        form="items", towers=("like",), dim=8, hidden=8, history=5, content=2, dropout=0.0
    )
    contents = torch.cat([torch.zeros(1, 2), torch.eye(2)[topic]])
    model = ItemReward(config, 12, [0.5], contents)
    batch = FeedbackBatch(
        torch.zeros(4000, 1, dtype=torch.int64),
        torch.from_numpy(session),
        torch.from_numpy(liked[..., None].astype(np.float32)),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(200):
        optimizer.zero_grad()
        (model(batch) / batch.n_targets).backward()
        optimizer.step()
    assert torch.nn.functional.softplus(model.bored).item() == pytest.approx(2.0, abs=0.3)
    assert model.memory.sigmoid().item() == pytest.approx(1.0, abs=0.15)


def test_labels_of_items_against_a_loop():
    found = item_labels(SPLIT, SPANS, RULES)
    dwell, likes = event_values(SPLIT, "dwell"), event_values(SPLIT, "label")
    for row, (start, length) in enumerate(zip(SPANS.start, SPANS.length, strict=True)):
        own = slice(start, start + length)
        np.testing.assert_allclose(found[row, :length, 0], dwell[own] / dwell.max(), rtol=1e-6)
        assert (found[row, :length, 1] == likes[own]).all()
        assert np.isnan(found[row, length:]).all()
    batch = FeedbackRows(TRAIN, SPANS, found, 4).batch(np.arange(7), np.random.default_rng(0))
    assert batch.labels.shape[:2] == batch.session.shape
    assert (batch.labels.isnan().any(-1) == (batch.session == 0)).all()
    assert batch.n_targets == 2 * int(SPANS.length[:7].sum())


def test_a_session_has_the_mean_amount():
    dwell, found = event_values(SPLIT, "dwell"), session_labels(SPLIT, SPANS, RULES[:1])
    own = [dwell[s : s + n].mean() for s, n in zip(SPANS.start, SPANS.length, strict=True)]
    np.testing.assert_allclose(found[:, 0], np.array(own) / dwell.max(), rtol=1e-5)


def test_amounts_below_nothing_are_refused(monkeypatch):
    monkeypatch.setattr(feedback, "event_values", lambda split, _: -event_values(split, "dwell"))
    with pytest.raises(DataError, match="label amount needs values of 0 and more"):
        session_labels(SPLIT, SPANS, RULES[:1])


def test_training_saving_and_serving(tmp_path):
    judged = train_reward_model(SPLIT, SETTINGS, vectors=VECTORS)
    assert judged.figures["watch"]["auc"] > 0.5  # of amounts above their mean
    assert 0 < judged.figures["watch"]["base_rate"] < 1
    judged.save(tmp_path / "judge", {})
    loaded = Judged.load(tmp_path / "judge", {})
    assert weights_version(loaded.model) == weights_version(judged.model)
    model = OneRec(
        tokenizer={"codes": 8}, text_encoder="tfidf:16", beam=10, best_of=4,
        training={"epochs": 1, "batch_size": 64},
        generator={"form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3},
    )  # fmt: skip
    model.use_catalog(DATA.catalog).fit(TRAIN).use_reward_model(judged.model)
    model.save_pretrained(tmp_path / "model")
    users = SPLIT.cases("test").histories.take(np.arange(15))
    again = OneRec.from_pretrained(tmp_path / "model")
    assert isinstance(again.reward_model, ItemReward)
    assert again.recommend_session(users).equals(model.recommend_session(users))


def test_settings_of_older_models_are_of_lists():
    old = {"towers": ["like"], "dim": 8, "heads": 2, "hidden": 8, "dropout": 0.1, "history": 5,
           "session": 10, "aggregation": "weighted_sum", "weights": None}  # fmt: skip
    names = set(make_reward_model(RewardConfig(**old), 12, [0.2]).state_dict())
    assert not isinstance(make_reward_model(RewardConfig(**old), 12, [0.2]), ItemReward)
    assert {"items.weight", "order", "towers.0.0.weight", "base_rates", "weights"} <= names


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="form=items reads the content of items: give vectors"):
        train_reward_model(SPLIT, SETTINGS)
    with pytest.raises(DataError, match=r"have shape \[12, 4\], not \[13, 4\]"):
        ItemReward(make_model().config, 12, [0.2, 0.5], torch.zeros(12, 4))
    with pytest.raises(ValueError, match="discount and content are for form=items"):
        RewardConfig(towers=("like",), discount=0.9)
