"""Labels of sessions against loops, and a reward model that is trained on them."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from test_onerec_generator import N_ITEMS, list_scores, make_generator, of_lists

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import DataError
from llmrec.recommenders.onerec.alignment import feedback, judging
from llmrec.recommenders.onerec.alignment.config import RewardConfig, RewardSettings, TowerRule
from llmrec.recommenders.onerec.alignment.feedback import (
    FeedbackRows,
    event_values,
    session_labels,
    single_items,
    users_of,
)
from llmrec.recommenders.onerec.alignment.judging import train_reward_model
from llmrec.recommenders.onerec.alignment.tower_figures import tower_figures
from llmrec.recommenders.onerec.generator.lists import joined, list_log_probabilities
from llmrec.recommenders.onerec.generator.sessions import SessionRule, session_spans
from llmrec.training.config import TrainingConfig

SPLIT = leave_one_out(simulate("simulate:tiny@1").dataset)
TRAIN = SPLIT.train_histories()
RULE = SessionRule(group="gap", gap_seconds=3600)
SPANS = session_spans(TRAIN, RULE, 5)
RULES = [
    TowerRule(name="like", column="label"),
    TowerRule(name="stay", column="dwell", label="high"),
]


def test_columns_follow_the_training_events():
    frame = SPLIT.dataset.interactions.frame
    items = frame["item_id"].filter(pl.Series(SPLIT.parts == 0)).to_list()
    assert TRAIN.vocabulary.decode(TRAIN.items).to_list() == items
    assert event_values(SPLIT, "dwell").size == TRAIN.items.size


def test_labels_against_a_loop():
    found = session_labels(SPLIT, SPANS, RULES)
    likes, dwell = event_values(SPLIT, "label"), event_values(SPLIT, "dwell")
    spans = list(zip(SPANS.start, SPANS.length, strict=True))
    means = {n: [dwell[s : s + m].mean() for s, m in spans if m == n] for _, n in spans}
    for row, (start, length) in enumerate(spans):
        assert found[row, 0] == float((likes[start : start + length] > 0).any())
        mean = dwell[start : start + length].mean()
        assert found[row, 1] == float(mean > np.quantile(means[length], 0.5))


def test_single_items_keep_their_place():
    singles = single_items(SPANS)
    assert singles.length.tolist() == [1] * int(SPANS.length.sum())
    expected = [s + i for s, n in zip(SPANS.start, SPANS.length, strict=True) for i in range(n)]
    assert singles.start.tolist() == expected
    assert (singles.start >= singles.first).all()
    owners = users_of(TRAIN, singles)
    assert (TRAIN.offsets[owners] == singles.first).all()


def test_rows_hold_the_newest_history_and_the_session():
    labels = session_labels(SPLIT, SPANS, RULES)
    batch = FeedbackRows(TRAIN, SPANS, labels, 4).batch(np.arange(9), np.random.default_rng(0))
    for row in range(9):
        first, start, length = (int(part[row]) for part in SPANS)
        history = TRAIN.items[max(first, start - 4) : start].tolist()
        assert [i for i in batch.history[row].tolist() if i] == history
        session = TRAIN.items[start : start + length].tolist()
        assert [i for i in batch.session[row].tolist() if i] == session
    assert torch.equal(batch.labels, torch.from_numpy(labels[:9]))


def test_a_reward_model_knows_what_is_liked():
    split = leave_one_out(simulate("simulate:small@1").dataset)
    training = TrainingConfig(epochs=6, batch_size=256, learning_rate=3e-3, seed=1, patience=3)
    settings = RewardSettings(
        towers=RULES, training=training, sessions=RULE, most=5, dim=16, history=20
    )
    judged = train_reward_model(split, settings)
    assert judged.figures["like"]["auc"] > 0.55
    assert judged.figures["stay"]["auc"] > 0.55
    assert 0 < judged.figures["like"]["base_rate"] < 1
    assert judged.figures["like"]["ece"] < 0.2
    for figures in judged.figures.values():
        assert 0.5 < figures["above_random"] < 1
    assert not judged.model.training


class LikesLargeCodes(torch.nn.Module):
    """A judge of single items: the larger the code, the better."""

    def __init__(self):
        super().__init__()
        self.config = RewardConfig(towers=("only",), dim=2)
        self.base_rates = torch.ones(1)

    def logits(self, history, session):
        return session.float() / len(TRAIN.vocabulary)


@pytest.mark.parametrize(("codes", "expected"), [("largest", 1.0), ("smallest", 0.0)])
def test_how_often_logged_items_are_above_random_ones(codes, expected):
    spans = single_items(SPANS)
    liked = TRAIN.items[spans.start] > np.median(TRAIN.items)
    labels = (liked if codes == "largest" else ~liked).astype(np.float32)[:, None]
    (figures,) = tower_figures(LikesLargeCodes(), FeedbackRows(TRAIN, spans, labels, 4)).values()
    mine = TRAIN.items[spans.start][labels[:, 0] > 0]
    below = np.mean([(mine > other).mean() for other in range(1, len(TRAIN.vocabulary) + 1)])
    assert figures["above_random"] == pytest.approx(below, abs=0.03)
    assert figures["auc"] == expected


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (TowerRule(name="x", column="lable"), "no column 'lable'"),
        (TowerRule(name="x", column="kind"), "holds String, not numbers"),
        (TowerRule(name="x", column="timestamp"), "gives every session the same label"),
    ],
)
def test_columns_that_teach_nothing(rule, sentence):
    with pytest.raises(DataError, match=sentence):
        session_labels(SPLIT, SPANS, [rule])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_named_by_its_event(value):
    frame, row = SPLIT.dataset.interactions.frame, int(np.flatnonzero(SPLIT.parts == 0)[7])
    held_out = int(np.flatnonzero(SPLIT.parts != 0)[0])  # not learnt from, so of no matter
    marks = pl.Series([float(value) if n in (row, held_out) else 1.0 for n in range(len(frame))])
    broken = frame.with_columns(dwell=marks)
    dataset = SimpleNamespace(name="tiny", interactions=SimpleNamespace(frame=broken))
    user, item = frame["user_id"][row], frame["item_id"][row]
    sentence = f"'dwell' of tiny holds {value} in 1 training events, first in row {row} "
    with pytest.raises(DataError, match=sentence + rf"\(user {user}, item {item}\)"):
        event_values(SimpleNamespace(dataset=dataset, parts=SPLIT.parts), "dwell")


@pytest.mark.parametrize("held_out", [True, False])
def test_a_tower_with_one_kind_of_label_among_some_users_is_named(held_out, monkeypatch):
    owner = np.repeat(np.arange(len(TRAIN)), TRAIN.lengths)
    marks = ((owner % 5 == 0) == held_out) & (np.arange(owner.size) % 2 == 0)
    monkeypatch.setattr(feedback, "event_values", lambda split, column: marks.astype(np.float64))
    settings = RewardSettings(towers=[TowerRule(name="rare", column="x")], sessions=RULE, most=5)
    monkeypatch.setattr(judging, "Trainer", None)  # would fail if it were reached
    without = "learnt from" if held_out else "held out"
    with pytest.raises(DataError, match=rf"tower 'rare': all \d+ labels of the users .* {without}"):
        train_reward_model(SPLIT, settings)


@pytest.mark.parametrize("form", ["encoder_decoder", "decoder"])
def test_lists_have_the_probability_of_teacher_forcing(form):
    generator = make_generator(form=form).eval()
    histories, lists = [[1, 2, 3, 4, 5], [6], [7, 8]], [[7, 8], [1], [2, N_ITEMS]]
    found = list_log_probabilities(generator, of_lists(histories), of_lists(lists))
    torch.testing.assert_close(found, list_scores(generator, histories, lists))


def test_joined_sequences_have_no_holes():
    whole, own = joined(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([[5, 0], [6, 7]]))
    assert whole.tolist() == [[1, 2, 3, 5], [4, 6, 7, 0]]
    assert own.tolist() == [[False, False, False, True], [False, True, True, False]]
