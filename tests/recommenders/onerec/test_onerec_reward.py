"""The reward model over lists: what it depends on, how towers become one number, that it learns."""

import pytest
import torch

from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.alignment.list_reward import ListReward
from llmrec.recommenders.onerec.alignment.reward import FeedbackBatch


def make_model(**options):
    torch.manual_seed(0)
    config = RewardConfig(
        **{"towers": ("like", "dwell"), "dim": 8, "hidden": 8, "history": 5, **options}
    )
    return ListReward(config, 12, [0.2, 0.5][: len(config.towers)])


HISTORY = torch.tensor([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
SESSION = torch.tensor([[5, 6, 7], [8, 0, 0], [9, 10, 0]])


def test_padding_changes_nothing():
    model = make_model().eval()
    together = model.logits(HISTORY, SESSION)
    for row in range(3):
        history = HISTORY[row][HISTORY[row] > 0][None]
        session = SESSION[row][SESSION[row] > 0][None]
        if not history.shape[1]:
            history = torch.zeros(1, 1, dtype=torch.int64)
        torch.testing.assert_close(model.logits(history, session)[0], together[row])


def test_it_reads_history_items_and_their_order():
    model = make_model().eval()
    torch.nn.init.normal_(model.order)
    base = model.logits(HISTORY[:1], SESSION[:1])
    assert not torch.allclose(model.logits(HISTORY[:1].flip(1), SESSION[:1]), base)
    assert not torch.allclose(model.logits(HISTORY[:1], SESSION[:1].flip(1)), base)
    assert not torch.allclose(model.logits(HISTORY[:1], SESSION[:1, :2]), base)


def test_rewards_written_out():
    probabilities = torch.tensor([[0.4, 0.5], [0.1, 0.25]])
    summed = make_model(weights=(3.0, 1.0)).aggregate(probabilities)
    torch.testing.assert_close(summed, torch.tensor([(3 * 2 + 1) / 4, (3 * 0.5 + 0.5) / 4]))
    product = make_model(aggregation="product", weights=(2.0, 1.0)).aggregate(probabilities)
    torch.testing.assert_close(product, torch.tensor([0.4**2 * 0.5, 0.1**2 * 0.25]))


@pytest.mark.parametrize("aggregation", ["weighted_sum", "product"])
def test_a_weight_below_0_lowers_the_reward(aggregation):
    model = make_model(aggregation=aggregation, weights=(1.0, -0.4))
    liked, hated = torch.tensor([[0.4, 0.1], [0.4, 0.9]]), torch.tensor([[0.1, 0.1], [0.1, 0.9]])
    (best, worse), (bad, worst) = model.aggregate(liked), model.aggregate(hated)
    assert best > worse > worst
    assert best > bad > worst
    for probabilities in (liked, hated, torch.tensor([[0.0, 1.0]])):
        assert (model.aggregate(probabilities) >= model.least_reward).all()


def test_the_least_reward():
    assert make_model(weights=(3.0, 1.0)).least_reward == 0
    # nobody likes it, all hate it: (2 * 0 / 0.2 - 1 * 1 / 0.5) / (2 - 1)
    assert make_model(weights=(2.0, -1.0)).least_reward == pytest.approx(-2.0)


def test_unknown_labels_do_not_count():
    model = make_model().eval()
    labels = torch.tensor([[1.0, 0.0], [float("nan"), 1.0], [0.0, float("nan")]])
    batch = FeedbackBatch(HISTORY, SESSION, labels)
    probability = model.logits(HISTORY, SESSION).sigmoid()
    expected = -(
        probability[0, 0].log()
        + (1 - probability[0, 1]).log()
        + probability[1, 1].log()
        + (1 - probability[2, 0]).log()
    )
    torch.testing.assert_close(model(batch), expected)
    assert batch.n_targets == 4


def test_it_learns_which_items_are_liked_after_which_history():
    generator = torch.Generator().manual_seed(0)
    history = torch.randint(1, 13, (400, 3), generator=generator)
    session = torch.randint(1, 13, (400, 2), generator=generator)
    alike = ((session % 2).sum(1) == 2 * (history[:, 0] % 2)).float()
    model = make_model(towers=("like",), dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    batch = FeedbackBatch(history, session, alike[:, None])
    for _ in range(150):
        optimizer.zero_grad()
        (model(batch) / 400).backward()
        optimizer.step()
    found = model.eval().reward(history, session)
    assert ((found > found.median()) == (alike > 0))[alike > 0].float().mean() > 0.9


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"towers": ("like", "like")}, "must have names, each another one"),
        ({"towers": ("like", "")}, "must have names, each another one"),
        ({"towers": ("like", "reward")}, "cannot be called 'reward'"),
        ({"weights": (1.0,)}, "1 weights are given for 2 towers"),
        ({"weights": (1.0, -1.0)}, "finite numbers whose sum is above 0"),
        ({"weights": (1.0, -2.0)}, "finite numbers whose sum is above 0"),
        ({"towers": ("a", "b", "c"), "weights": (0.1, 0.2, -0.3)}, "whose sum is above 0"),
        ({"weights": (1.0, float("inf"))}, "finite numbers whose sum is above 0"),
        ({"weights": (float("nan"), 1.0)}, "finite numbers whose sum is above 0"),
        ({"dim": 9}, "heads=2 must divide dim=9"),
        ({"towers": ()}, "at least 1 item"),
    ],
)
def test_settings_that_do_not_fit(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_model(**options)
