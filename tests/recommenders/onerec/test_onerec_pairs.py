"""Pairs from judged lists, against loops; what is dropped, named and refused."""

import numpy as np
import polars as pl
import pytest
import torch
from alignment_parts import TRIE, policy, reward_model, some_users
from hypothesis import given
from hypothesis import strategies as st
from test_onerec_generator import list_scores

from llmrec.errors import ArtifactError, DataError
from llmrec.recommenders.onerec.alignment.pairs import (
    Pairs,
    judge_lists,
    make_pairs,
    pick_pairs,
)
from llmrec.recommenders.onerec.alignment.rollouts import Lists, written_lists
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter

PROMPTS = some_users(9)


def everything(form="item_decoder", min_gap=0.0):
    generator, reward = policy(form), reward_model()
    lists = written_lists(GeneratorWriter(generator), TRIE, PROMPTS, 5, 3)
    judged = judge_lists(reward, PROMPTS, lists)
    picked = pick_pairs(judged.rewards, min_gap)
    versions = ("policy-1", "reward-1")
    return generator, reward, lists, judged, picked, versions


def test_rewards_are_those_of_single_calls():
    _, reward, lists, judged, _, _ = everything()
    for user in range(9):
        history = torch.from_numpy(PROMPTS[user][-5:].astype(np.int64))[None]
        for number in range(5):
            session = torch.from_numpy(lists.items[user, number].astype(np.int64))[None]
            expected = reward.reward(history, session).item()
            assert judged.rewards[user, number] == pytest.approx(expected, abs=1e-5)


rewards = st.lists(
    st.lists(st.sampled_from([-np.inf, 0.0, 0.5, 0.6, 1.0]), min_size=4, max_size=4),
    min_size=1,
    max_size=6,
)


@given(rewards)
def test_the_best_and_the_worst_where_they_differ(rows):
    table = np.array(rows, dtype=np.float32)
    picked = pick_pairs(table, min_gap=0.2)
    expected = []
    for prompt, row in enumerate(rows):
        there = [value for value in row if value > -np.inf]
        if len(there) >= 2 and max(there) - min(there) > 0.2:
            expected.append((prompt, max(there), min(there)))
    found = [
        (prompt, rows[prompt][best], rows[prompt][worst])
        for prompt, best, worst in zip(picked.prompts, picked.chosen, picked.rejected, strict=True)
    ]
    assert found == expected
    counts = dict(picked.counts)
    dropped = counts["all_equal"] + counts["tiny_gap"] + counts["fewer_than_two_lists"]
    assert counts["pairs"] + dropped == counts["prompts"] == len(rows)


def test_equal_rewards_make_no_pair_and_are_counted():
    picked = pick_pairs(np.array([[1, 1, 1], [1, 1.05, 1], [0, 1, 0]], np.float32), 0.1)
    assert picked.prompts.tolist() == [2]
    assert dict(picked.counts) == {
        "prompts": 3, "pairs": 1, "all_equal": 1, "tiny_gap": 1, "fewer_than_two_lists": 0,
    }  # fmt: skip


def test_random_pairs_are_two_lists_of_the_same_prompts():
    table = np.random.default_rng(0).random((50, 6)).astype(np.float32)
    table[:, 4:] = -np.inf
    judged, drawn = (pick_pairs(table, 0.0, pick, seed=1) for pick in ("reward", "random"))
    np.testing.assert_array_equal(judged.prompts, drawn.prompts)
    assert (drawn.chosen != drawn.rejected).all()
    assert max(drawn.chosen.max(), drawn.rejected.max()) < 4
    better = table[drawn.prompts, drawn.chosen] > table[drawn.prompts, drawn.rejected]
    assert 0.2 < better.mean() < 0.8


def test_a_reward_that_is_no_number_is_named():
    _, reward, lists, *_ = everything()
    with torch.no_grad():
        reward.items.weight[int(lists.items[2, 1, 0])] = torch.nan
    with pytest.raises(DataError, match=r"no finite number for \d+ lists, the first is list"):
        judge_lists(reward, PROMPTS, lists)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_rewards_without_a_gap_between_them_make_no_pair_of_a_list_with_itself(value):
    table = np.array([[1, 2], [value, value], [1, value]], np.float32)
    with pytest.raises(DataError, match=rf"the reward of list 0 of prompt 1 is {value}"):
        pick_pairs(table, 0.1)


def test_a_reward_without_bound_is_named():
    _, reward, lists, *_ = everything()
    reward.base_rates[0] = 0
    with pytest.raises(DataError, match="no finite number for 45 lists, the first is list 0 of"):
        judge_lists(reward, PROMPTS, lists)


@pytest.mark.parametrize("form", ["item_decoder", "encoder_decoder", "decoder"])
def test_the_table_has_what_trl_asks_for_and_what_the_reference_said(form):
    generator, reward, lists, judged, picked, versions = everything(form)
    pairs = make_pairs(PROMPTS, lists, judged, picked, GeneratorWriter(generator), reward, versions)
    frame = pairs.frame
    wanted = ["prompt", "chosen", "rejected", "ref_chosen_logps", "ref_rejected_logps"]
    assert set(wanted) <= set(frame.columns)
    assert {"policy", "reward", "aggregation", "chosen_like", "rejected_stay"} <= set(frame.columns)
    prompts = [PROMPTS[int(p)].tolist() for p in picked.prompts]
    assert frame["prompt"].to_list() == prompts
    assert (frame["chosen_reward"] > frame["rejected_reward"]).all()
    newest = 5 if form == "encoder_decoder" else 3  # the others keep places for what they write
    histories = [prompt[-newest:] for prompt in prompts]
    for side in ("chosen", "rejected"):
        expected = list_scores(generator, histories, frame[side].to_list())
        np.testing.assert_allclose(frame[f"ref_{side}_logps"], expected.detach(), atol=1e-5)
        at = picked.chosen if side == "chosen" else picked.rejected
        found = lists.log_probabilities[picked.prompts, at]
        np.testing.assert_allclose(frame[f"ref_{side}_logps"], found, atol=1e-4)


def test_lists_of_unequal_length_make_no_pair():
    generator, reward, lists, judged, picked, versions = everything()
    shorter = lists.items.copy()
    shorter[picked.prompts[0], picked.rejected[0], 2] = 0
    with pytest.raises(DataError, match=r"pair 0 of user '.*' holds lists of 3 and 2 items"):
        make_pairs(
            PROMPTS, Lists(shorter, lists.log_probabilities), judged, picked,
            GeneratorWriter(generator), reward, versions,
        )  # fmt: skip


def test_where_no_pair_is_picked_the_table_has_no_rows(tmp_path):
    generator, reward, lists, judged, some, versions = everything()
    full = make_pairs(PROMPTS, lists, judged, some, GeneratorWriter(generator), reward, versions)
    for rewards, counted in (
        (np.ones_like(judged.rewards), "all_equal"),
        (np.where(np.arange(5) < 1, judged.rewards, -np.inf), "fewer_than_two_lists"),
    ):
        picked = pick_pairs(rewards, 0.0)
        pairs = make_pairs(
            PROMPTS, lists, judged, picked, GeneratorWriter(generator), reward, versions
        )
        assert pairs.frame.height == 0
        assert pairs.frame.schema == full.frame.schema
        assert pairs.counts[counted] == pairs.counts["prompts"] == 9
        pairs.save(tmp_path / "none.parquet")
        assert Pairs.load(tmp_path / "none.parquet", *versions).frame.equals(pairs.frame)


def test_saved_pairs_know_their_versions(tmp_path):
    generator, reward, lists, judged, picked, versions = everything()
    pairs = make_pairs(PROMPTS, lists, judged, picked, GeneratorWriter(generator), reward, versions)
    pairs.save(tmp_path / "pairs.parquet")
    loaded = Pairs.load(tmp_path / "pairs.parquet", *versions)
    assert loaded.frame.equals(pairs.frame)
    assert loaded.counts == pairs.counts
    with pytest.raises(ArtifactError, match="made with policy policy-1, but the policy now is p2"):
        Pairs.load(tmp_path / "pairs.parquet", policy="p2")
    with pytest.raises(ArtifactError, match="made with reward reward-1, but the reward now is r2"):
        Pairs.load(tmp_path / "pairs.parquet", reward="r2")


def test_other_tables_are_refused(tmp_path):
    pl.DataFrame({"prompt": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(ArtifactError, match="is not a table of pairs that llmrec wrote"):
        Pairs.load(tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_text("no")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Pairs.load(tmp_path / "broken.parquet")
