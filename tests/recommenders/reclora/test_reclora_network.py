"""The loss and the log-odds against the base model's own logits, row by row."""

import numpy as np
import pytest
import torch
from reclora_worlds import fitted_on, liking_world, make_model

from llmrec.adapters.config import temperature_at
from llmrec.recommenders.reclora.batches import PromptRows
from llmrec.recommenders.reclora.network import AnswerLoss, Bucket, PromptBatch, answer_odds
from llmrec.recommenders.reclora.scoring import pack_layout
from llmrec.recommenders.reclora.token_rows import TokenRows, buckets

SPLIT = liking_world()


@pytest.fixture(scope="module")
def model(base_folder):
    return fitted_on(SPLIT, make_model(base_folder))


@pytest.fixture(scope="module")
def pairs(model):
    cases = SPLIT.labelled_cases("test")
    histories = cases.histories.take(np.arange(10))
    return model.ranker.prepare(histories, cases.items[:10]), cases.labels[:10].astype(np.float32)


def one_by_one(ranker, pairs, row, weights):
    """Log-odds of a single prompt, without padding, from all logits."""
    end = ranker.questions.ends[int(pairs.items[row]) - 1]
    ids = torch.from_numpy(np.concatenate([pairs.beginnings[row], end]).astype(np.int64))[None]
    with ranker.lora.using(weights[row : row + 1]) as base, torch.inference_mode():
        logits = base(input_ids=ids).logits[0, -1]
    yes, no = ranker.answers
    return float(logits[yes] - logits[no])


def rows_of(ranker, pairs, labels, most_tokens=10_000, history_dropout=0.0):
    questions = ranker.questions
    return PromptRows(
        pairs.beginnings,
        questions.ends,
        pairs.items,
        pairs.inputs,
        labels,
        most_tokens,
        questions.bare,
        history_dropout,
    )


def test_odds_are_those_of_each_prompt_alone(model, pairs):
    ranker, (given, _) = model.ranker, pairs
    weights = ranker.weights(given.inputs, given.lengths)
    assert weights.std(0).max() > 0  # users differ
    expected = [one_by_one(ranker, given, row, weights) for row in range(10)]
    np.testing.assert_allclose(ranker.pair_odds(given), expected, atol=2e-4)


def test_the_loss_is_two_way_cross_entropy(model, pairs):
    ranker, (given, labels) = model.ranker, pairs
    odds = ranker.pair_odds(given).astype(np.float64)
    expected = np.where(labels == 1, np.log1p(np.exp(-odds)), np.log1p(np.exp(odds))).sum()
    loss = AnswerLoss(ranker.lora, ranker.answers, 1).eval()
    loss.passed += 1  # the temperature has come down
    for most_tokens in (10_000, 300):
        batch = rows_of(ranker, given, labels, most_tokens).batch(np.arange(10), None)
        assert batch.n_targets == 10
        assert (len(batch.buckets) > 1) == (most_tokens == 300)
        with torch.inference_mode():
            assert float(loss(batch)) == pytest.approx(expected, abs=1e-3)


def test_some_prompts_of_training_tell_no_history(model, pairs):
    ranker, (given, labels) = model.ranker, pairs
    drawn = np.tile(np.arange(10), 40)
    source = rows_of(ranker, given, labels, 10**6, history_dropout=0.25)
    drawing, again = (source.batch(drawn, np.random.default_rng(3)).buckets for _ in range(2))
    assert len(drawing) > 1  # short prompts are not filled up to the length of long ones
    for bucket, other in zip(drawing, again, strict=True):
        assert torch.equal(bucket.ids, other.ids)
    ends = ranker.questions.ends
    bare = ranker.questions.beginnings(SPLIT.train_histories().take([0]).last(0))
    assert bare[0].tolist() == ranker.questions.bare[0].tolist()
    told, untold = set(), set()
    for row in range(10):
        end = ends[int(given.items[row]) - 1].tolist()
        told.add((*given.beginnings[row].tolist(), *end))
        untold.add((*bare[0].tolist(), *end))
    found = [
        tuple(ids[there].tolist())
        for bucket in drawing
        for ids, there in zip(bucket.ids, bucket.there, strict=True)
    ]
    assert set(found) == told | untold
    assert 60 <= sum(each in untold for each in found) <= 140  # a hundred expected


def test_only_experts_and_gates_learn_and_are_kept(model, pairs):
    ranker, (given, labels) = model.ranker, pairs
    loss = AnswerLoss(ranker.lora, ranker.answers, 10).train()
    batch = rows_of(ranker, given, labels).batch(np.arange(10), None)
    loss(batch).backward()
    got = {n for n, w in loss.named_parameters() if w.grad is not None and w.grad.abs().sum() > 0}
    assert got == {n for n, w in loss.named_parameters() if w.requires_grad}
    assert all("lora_" in name or ".gates." in name for name in got)
    state = loss.state_dict()
    assert set(state) == got | {"passed"}
    other = AnswerLoss(ranker.lora, ranker.answers, 10)
    other.load_state_dict(state)
    assert int(other.passed) == 1
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({"passed": state["passed"]})
    loss.zero_grad(set_to_none=True)
    ranker.lora.eval()


def test_the_temperature_falls_with_the_passes(model, pairs):
    ranker, (given, labels) = model.ranker, pairs
    batch = rows_of(ranker, given, labels).batch(np.arange(10), None)
    loss = AnswerLoss(ranker.lora, ranker.answers, 10).eval()
    bucket = batch.buckets[0]
    for passed in (0, 1, 2, 10):
        loss.passed.fill_(passed)
        temperature = temperature_at(ranker.lora.config_lora, passed / 10)
        with torch.inference_mode():
            weights = ranker.lora.gate_weights(bucket.gates, temperature)
            odds = answer_odds(ranker.lora, bucket.ids, bucket.there, weights, ranker.answers)
            expected = torch.nn.functional.binary_cross_entropy_with_logits(
                odds, bucket.labels, reduction="sum"
            )
            assert float(loss(batch)) == pytest.approx(float(expected), abs=1e-4)


def test_balance_and_load_are_those_of_the_whole_batch(base_folder, monkeypatch):
    """Two users in buckets of their own, each with one expert: evenly used over the batch."""
    ranker = fitted_on(SPLIT, make_model(base_folder, lora={"balance": 0.5})).ranker
    weights = {1.0: torch.tensor([1.0, 0.0]), 2.0: torch.tensor([0.0, 1.0])}
    monkeypatch.setattr(
        ranker.lora,
        "gate_weights",
        lambda states, _: torch.stack([weights[float(s[0])].expand(4, 2) for s in states]),
    )
    ids = torch.full((1, 5), 70)
    there, label = torch.ones(1, 5, dtype=torch.bool), torch.ones(1)
    first, second = (Bucket(ids, there, torch.full((1, 4), each), label) for each in (1.0, 2.0))
    loss = AnswerLoss(ranker.lora, ranker.answers, 0).eval()
    with torch.inference_mode():
        whole = float(loss(PromptBatch([first, second])))
    load = loss.end_epoch()
    assert load["gate_largest_load"] == 0.5
    assert load["gate_variance_across_users"] == 0.25
    assert load["gate_entropy"] == pytest.approx(0, abs=1e-6)
    with torch.inference_mode():
        alone = float(loss(PromptBatch([first]))) + float(loss(PromptBatch([second])))
    assert whole == pytest.approx(alone - 2 * 0.5, abs=1e-5)  # one expert each costs 0.5 (2 - 1)


@pytest.mark.parametrize("most", [300, 16_384])
def test_lists_that_share_a_beginning_equal_pairs(model, most):
    ranker = model.ranker
    cases = SPLIT.labelled_cases("test")
    histories = cases.histories.take([0, 3, 5])
    codes = np.array([[1, 2, 3, 4, 5, 6, 7, 8]] * 3, dtype=np.int32)
    judge = ranker.judge
    kept, judge._most = judge._most, most
    before = judge.work.tokens, judge.work.items
    found = ranker.list_odds(histories, codes)
    read = judge.work.tokens - before[0]
    assert judge.work.items - before[1] == codes.size
    for row in range(3):
        again = ranker.prepare(histories.take([row] * 8), codes[row])
        alone = ranker.pair_odds(again)
        np.testing.assert_allclose(found[row], alone, atol=2e-4)
    judge._most = kept
    separately = 8 * ranker.questions.beginnings(histories).lengths.sum() + 3 * (
        ranker.questions.ends.lengths.sum()
    )
    assert read < 0.7 * separately


def test_layout_of_a_pack():
    there = torch.tensor([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0, 1]]).bool()
    sees, positions = pack_layout(there, 3, 2)
    assert positions.tolist() == [[0, 0, 1, 1, 2, 2, 3], [0, 1, 2, 3, 4, 2, 3]]
    first = sees[0, 0].int().tolist()
    assert first[2] == [0, 1, 1, 0, 0, 0, 0]  # the beginning sees itself
    assert first[4] == [0, 1, 1, 0, 1, 0, 0]  # the first end: the beginning and itself
    assert first[6] == [0, 1, 1, 0, 0, 1, 1]  # the second does not see the first
    assert first[0] == [1, 0, 0, 0, 0, 0, 0]  # padding sees itself, so that nothing is NaN


def test_buckets_hold_every_row_once():
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    groups = list(buckets(lengths, 400))
    assert sorted(np.concatenate(groups).tolist()) == list(range(200))
    assert all(lengths[g].max() * len(g) <= 400 for g in groups)
    padding = sum(lengths[g].max() * len(g) for g in groups) / lengths.sum()
    assert padding < 1.1
    assert all(2 * lengths[g].min() >= lengths[g].max() for g in groups)
    few_long = np.array([120, 12, 110, 10, 11])
    assert [g.tolist() for g in buckets(few_long, 10_000)] == [[0, 2], [1, 4, 3]]
    assert [len(g) for g in buckets(np.array([500]), 400)] == [1]
    assert len(TokenRows.of([])) == 0
