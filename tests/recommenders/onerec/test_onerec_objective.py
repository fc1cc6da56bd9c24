"""One loss of next tokens and preferences: its value, its gradient, and who gets which pair."""

import math

import numpy as np
import pytest
import torch
from alignment_parts import TRIE, policy, reward_model, some_users
from test_onerec_generator import list_scores

from llmrec.errors import ConfigError
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig, RewardSettings, TowerRule
from llmrec.recommenders.onerec.alignment.losses import margins
from llmrec.recommenders.onerec.alignment.objective import AlignedPolicy, AlignmentRows
from llmrec.recommenders.onerec.alignment.pairs import judge_lists, make_pairs, pick_pairs
from llmrec.recommenders.onerec.alignment.rollouts import written_lists
from llmrec.recommenders.onerec.generator.rows import SequenceRows, SessionRows
from llmrec.recommenders.onerec.generator.sessions import SessionRule, session_spans
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter

REWARD = RewardSettings(towers=[TowerRule(name="like", column="label")])
TRAIN, PROMPTS = some_users(10, seed=4), some_users(9)
FORMS = ["item_decoder", "encoder_decoder", "decoder"]


def config(**options):
    return AlignmentConfig(reward=REWARD, **options)


def batch_of(generator, rows=None):
    """All rows, with all pairs that ``generator`` as the reference gives."""
    reward = reward_model()
    lists = written_lists(GeneratorWriter(generator), TRIE, PROMPTS, 5, 3)
    judged = judge_lists(reward, PROMPTS, lists)
    picked = pick_pairs(judged.rewards, 0.0)
    pairs = make_pairs(
        PROMPTS, lists, judged, picked, GeneratorWriter(generator), reward, ("p", "r")
    )
    supervised = SequenceRows(TRAIN, 5, 3)
    if generator.recency is not None:
        supervised = SessionRows(TRAIN, session_spans(TRAIN, SessionRule(), 3), 5, 3)
    source = AlignmentRows(supervised, pairs, GeneratorWriter(generator).newest(3), seed=0)
    chosen = np.arange(len(source)) if rows is None else rows
    return pairs, source, source.batch(chosen, np.random.default_rng(0))


@pytest.mark.parametrize("form", FORMS)
def test_before_the_first_step_the_preference_loss_is_log_two(form):
    generator = policy(form, dropout=0.5)
    pairs, _, batch = batch_of(generator)
    module = AlignedPolicy(GeneratorWriter(generator), config(weight=2.0)).train()
    supervised = generator.eval()(batch.rows)
    generator.train()
    torch.manual_seed(3)
    total = module(batch)
    torch.manual_seed(3)
    dropped = generator(batch.rows)  # dropout stays on for next-token prediction
    codes = 3 * generator.levels
    expected = 2.0 * codes * pairs.frame.height * math.log(2)
    torch.testing.assert_close((total - dropped).item(), expected, rtol=1e-5, atol=1e-3)
    assert not torch.allclose(dropped, supervised)
    assert generator.training
    figures = module.end_epoch()
    assert figures["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert figures["margin"] == pytest.approx(0, abs=1e-4)
    assert figures["pairs"] == pairs.frame.height


@pytest.mark.parametrize("form", FORMS)
def test_in_bf16_the_margin_begins_at_zero_too(form):
    generator = policy(form)
    _, _, batch = batch_of(generator)
    module = AlignedPolicy(GeneratorWriter(generator), config()).train()
    plain = generator(batch.rows)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = generator(batch.rows)
        pairs = module.pair_log_probabilities(batch.pairs)
        module(batch).backward()
    assert not torch.allclose(rounded, plain, rtol=1e-5)  # next tokens are in bf16
    torch.testing.assert_close(margins(pairs), torch.zeros(len(batch.pairs)), atol=1e-4, rtol=0)
    figures = module.end_epoch()
    assert figures["margin"] == pytest.approx(0, abs=1e-5)
    assert figures["preference_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_the_value_after_a_step_written_out():
    reference, trained = policy(), policy(seed=1)
    pairs, _, batch = batch_of(reference)
    settings = config(beta=0.7, weight=0.5)
    found = AlignedPolicy(GeneratorWriter(trained), settings)(batch) - trained(batch.rows)
    histories = [row[-3:] for row in pairs.frame["prompt"].to_list()]
    won, lost = (
        list_scores(trained, histories, pairs.frame[side].to_list()).tolist()
        for side in ("chosen", "rejected")
    )
    rows = zip(
        won, lost, pairs.frame["ref_chosen_logps"], pairs.frame["ref_rejected_logps"], strict=True
    )
    losses = [math.log1p(math.exp(-0.7 * ((w - rw) - (lo - rl)))) for w, lo, rw, rl in rows]
    assert found.item() == pytest.approx(0.5 * 9 * sum(losses), rel=1e-4)


def test_every_pair_is_dealt_to_one_row():
    generator = policy()
    pairs, source, _ = batch_of(generator)
    seen = []
    for row in range(len(source)):
        batch = source.batch(np.array([row]), np.random.default_rng(0)).pairs
        seen += [tuple(each.tolist()) for each in torch.cat([batch.chosen, batch.rejected], 1)]
    frame = pairs.frame
    expected = zip(frame["chosen"].to_list(), frame["rejected"].to_list(), strict=True)
    assert sorted(seen) == sorted((*chosen, *rejected) for chosen, rejected in expected)


@pytest.mark.parametrize("form", FORMS)
def test_steps_widen_the_margin(form):
    generator = policy(form)
    _, _, batch = batch_of(generator)
    module = AlignedPolicy(GeneratorWriter(generator), config(weight=5.0)).train()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        (module(batch) / batch.n_targets).backward()
        optimizer.step()
    module.start_epoch(0)
    module(batch)
    figures = module.end_epoch()
    assert figures["margin"] > 0.3
    assert figures["accuracy"] > 0.8
    assert figures["preference_loss"] < math.log(2)


def test_only_lists_have_the_mark():
    plain, marked = policy(), policy(marks_lists=True)
    _, _, batch = batch_of(marked)
    torch.testing.assert_close(marked(batch.rows), plain(batch.rows))
    with torch.no_grad():
        marked.list_mark.normal_()
    torch.testing.assert_close(marked(batch.rows), plain(batch.rows))
    module = AlignedPolicy(GeneratorWriter(marked), config())
    pairs = module.pair_log_probabilities(batch.pairs)
    assert not torch.allclose(pairs.chosen, pairs.reference_chosen, atol=1e-2)


@pytest.mark.parametrize("form", FORMS)
def test_marked_lists_have_the_probability_that_the_search_gives(form):
    generator = policy(form, marks_lists=True)
    with torch.no_grad():
        generator.list_mark.normal_()
    pairs, _, batch = batch_of(generator)
    found = AlignedPolicy(GeneratorWriter(generator), config()).pair_log_probabilities(batch.pairs)
    torch.testing.assert_close(found.chosen, found.reference_chosen, atol=1e-4, rtol=1e-4)
    lists = written_lists(GeneratorWriter(generator), TRIE, PROMPTS, 5, 3)
    best = dict(zip(map(tuple, lists.items.reshape(-1, 3)), lists.log_probabilities.ravel(),
                    strict=True))  # fmt: skip
    for chosen, value in zip(
        pairs.frame["chosen"].to_list(), pairs.frame["ref_chosen_logps"], strict=True
    ):
        assert tuple(chosen) in best
        assert np.isfinite(value)


def test_losses_without_a_reference_run_too():
    generator = policy()
    _, _, batch = batch_of(generator)
    for kind in ("ipo", "cdpo", "rdpo", "simpo", "cpo"):
        module = AlignedPolicy(
            GeneratorWriter(generator), config(loss_type=kind, label_smoothing=0.1)
        )
        assert torch.isfinite(module(batch))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"beta": 0.0}, "beta"),
        ({"share": 0.0}, "share"),
        ({"lists": 1}, "lists"),
        ({"loss_type": "kto"}, "loss_type"),
    ],
)
def test_settings_out_of_range(options, sentence):
    with pytest.raises((ValueError, ConfigError), match=sentence):
        config(**options)


def test_a_reward_model_of_odd_width():
    with pytest.raises(ValueError, match="heads=2 must divide dim=9"):
        RewardSettings(towers=[TowerRule(name="like", column="label")], dim=9)
