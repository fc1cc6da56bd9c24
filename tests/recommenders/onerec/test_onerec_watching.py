"""What is watched while a policy is aligned: against loops, and at values known beforehand."""

import numpy as np
import pytest
import torch
from alignment_parts import TRIE, policy, reward_model, some_users, users
from test_onerec_generator import N_ITEMS

from llmrec.errors import DataError
from llmrec.recommenders.onerec.alignment.watching import (
    Watch,
    free_legality,
    guarded,
    legal_lists,
    list_diversity,
)
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter
from llmrec.recommenders.onerec.trie import Trie


def test_legal_lists_against_a_loop():
    histories = some_users(40, seed=2)
    lists = np.random.default_rng(0).integers(0, 10, (40, 2)).astype(np.int32)
    expected = [
        all(item > 0 for item in row) and len(set(row)) == 2 and not set(row) & set(seen.tolist())
        for row, seen in zip(lists.tolist(), (histories[n] for n in range(40)), strict=True)
    ]
    found = legal_lists(lists, histories, TRIE)
    assert found.tolist() == expected
    assert 0 < sum(expected) < 40


@pytest.mark.parametrize("form", ["item_decoder", "encoder_decoder", "decoder"])
def test_free_legality_is_a_share_and_one_where_all_codes_exist(form):
    generator = policy(form)
    found = free_legality(GeneratorWriter(generator), TRIE, some_users(20), 3)
    assert 0 <= found <= 1
    every = np.array([[a, b, c] for a in range(4) for b in range(3) for c in range(5)])
    generator.codes = torch.from_numpy(np.vstack([[0, 0, 0], every]))
    full = Trie.build(every, (4, 3, 5))
    assert free_legality(GeneratorWriter(generator), full, users([[1], [2]]), 3) == 1.0


@pytest.mark.parametrize("form", ["item_decoder", "encoder_decoder", "decoder"])
def test_free_legality_is_not_told_where_codes_that_do_not_exist_are_never_trained(form):
    watch = Watch(some_users(8), TRIE, reward_model(), 5, 3)
    plain, existing = (
        watch.figures(GeneratorWriter(policy(form, choices=choices)))
        for choices in ("all", "existing")
    )
    assert plain.keys() - existing.keys() == {"free_legality"}
    assert not existing.keys() - plain.keys()


def test_who_has_no_list_left_counts_for_nothing():
    everything = list(range(1, N_ITEMS + 1))
    writer, judge = GeneratorWriter(policy()), reward_model()
    served, beside = (
        Watch(users(rows), TRIE, judge, 5, 3).figures(writer)
        for rows in ([[1], [2, 3]], [[1], [2, 3], everything])
    )
    assert served["legality"] == beside["legality"] == 1.0
    assert beside["reward_max"] == pytest.approx(served["reward_max"])
    with pytest.raises(DataError, match="no list of 3 items was found for any of the 1 validation"):
        Watch(users([everything]), TRIE, judge, 5, 3).figures(writer)


def test_diversity_of_first_codes_written_out():
    first = np.array([9, 0, 0, 1, 2])
    assert list_diversity(np.array([[1, 2, 3]]), first) == pytest.approx(2 / 3)
    assert list_diversity(np.array([[1, 2], [3, 4]]), first) == pytest.approx(1 / 2)


def test_the_guard_prefers_any_sound_policy_to_a_better_paid_one():
    sound, hacked = {"reward": 0.01, "m": 0.3}, {"reward": 99.0, "m": 0.1}
    assert guarded(sound, "m", 0.2) > guarded(hacked, "m", 0.2)


def test_the_guard_knows_rewards_below_zero():
    sound, hacked = {"reward": -1.9, "m": 0.3}, {"reward": 99.0, "m": 0.1}
    assert guarded(sound, "m", 0.2, -2.0) > guarded(hacked, "m", 0.2, -2.0)


def test_divergence_of_a_policy_from_itself_is_zero():
    generator = policy()
    watch = Watch(some_users(8), TRIE, reward_model(), 5, 3)
    assert watch.figures(GeneratorWriter(generator), GeneratorWriter(generator))[
        "kl"
    ] == pytest.approx(0, abs=1e-5)
    other = watch.figures(GeneratorWriter(generator), GeneratorWriter(policy(seed=3)))
    assert other["kl"] > 0
    assert other["reward_max"] >= other["reward_mean"]
