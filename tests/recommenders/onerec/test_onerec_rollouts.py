"""Lists on disk: what is written, by how many, by whom, and what is refused."""

import numpy as np
import pytest
from alignment_parts import TRIE, crowded_policy, policy, some_users

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.recommenders.onerec.alignment import rollouts as module
from llmrec.recommenders.onerec.alignment.prompts import draw_prompts
from llmrec.recommenders.onerec.alignment.rollouts import Rollouts, roll_out, written_lists
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter
from llmrec.recommenders.onerec.serving import search

TRAIN = leave_one_out(simulate("simulate:tiny@1").dataset).train_histories()
PROMPTS = some_users(11)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 4)


def rollouts(folder, generator, **options):
    return Rollouts(folder, PROMPTS, 6, 2, weights_version(generator), **options)


def test_prompts_are_moments_with_a_history():
    found = draw_prompts(TRAIN, 1.0, seed=0, iteration=1)
    expected = [
        (user, TRAIN[row][:place].tolist())
        for row, user in enumerate(TRAIN.user_ids.to_list())
        for place in range(1, len(TRAIN[row]))
    ]
    assert [(u, found[n].tolist()) for n, u in enumerate(found.user_ids.to_list())] == expected


def test_prompts_are_drawn_by_seed_and_iteration():
    first, again, other = (draw_prompts(TRAIN, 0.2, 3, number) for number in (1, 1, 2))
    np.testing.assert_array_equal(first.offsets, again.offsets)
    assert len(first) != len(other) or not np.array_equal(first.items, other.items)
    assert 0.1 < len(first) / (TRAIN.items.size - len(TRAIN)) < 0.3


def test_a_share_that_leaves_nothing():
    with pytest.raises(DataError, match="leaves none to write lists for"):
        draw_prompts(TRAIN, 1e-9, 0, 1)


@pytest.mark.parametrize("form", ["item_decoder", "encoder_decoder"])
def test_lists_are_those_of_the_search(form, tmp_path):
    generator = policy(form)
    there = rollouts(tmp_path, generator)
    assert roll_out(there, GeneratorWriter(generator), TRIE) == 3
    found = there.load()
    ((rows, beams),) = search(GeneratorWriter(generator), TRIE, PROMPTS, 6, 2, exclude_seen=True)
    np.testing.assert_allclose(found.log_probabilities, beams.scores.numpy(), atol=1e-5)
    items = TRIE.items[TRIE.item_offsets[:-1].long()].numpy()
    leaves = beams.leaves.numpy()
    np.testing.assert_array_equal(found.items, np.where(leaves >= 0, items[leaves], 0))
    assert rows == slice(0, 11)


@pytest.mark.parametrize("form", ["item_decoder", "encoder_decoder"])
def test_lists_of_shared_ids_have_no_seen_item(form):
    generator, trie = crowded_policy(form)
    found = written_lists(GeneratorWriter(generator), trie, PROMPTS, 6, 2)
    there = found.log_probabilities > -np.inf
    assert there.sum() > 40
    swapped = 0
    for user in range(len(PROMPTS)):
        seen = set(PROMPTS[user].tolist())
        for row in found.items[user][there[user]].tolist():
            assert not set(row) & seen
            for code in row:  # the first of those alike that was not seen
                alike = [c for c in range(1, 10) if (c - 1) % 4 == (code - 1) % 4]
                assert code == next(c for c in alike if c not in seen)
                swapped += code != alike[0]
    assert swapped > 0


def test_shards_write_what_one_process_writes(tmp_path):
    generator = policy()
    alone, together = (rollouts(tmp_path / name, generator) for name in ("one", "two"))
    roll_out(alone, GeneratorWriter(generator), TRIE)
    assert roll_out(together, GeneratorWriter(generator), TRIE, (2, 2)) == 1
    with pytest.raises(ArtifactError, match=r"lacks 2 of 3 parts, the first is part-00000"):
        together.load()
    assert roll_out(together, GeneratorWriter(generator), TRIE, (1, 2)) == 2
    np.testing.assert_array_equal(alone.load().items, together.load().items)
    assert roll_out(together, GeneratorWriter(generator), TRIE) == 0


def test_a_job_that_was_killed_writes_only_what_is_missing(tmp_path):
    generator = policy()
    there = rollouts(tmp_path, generator)
    roll_out(there, GeneratorWriter(generator), TRIE)
    before = there.load()
    (tmp_path / "part-00001.parquet").unlink()
    told = []
    assert (
        roll_out(
            rollouts(tmp_path, generator), GeneratorWriter(generator), TRIE, progress=told.append
        )
        == 1
    )
    assert told == [1]
    np.testing.assert_array_equal(there.load().items, before.items)


def test_lists_of_an_older_policy_are_refused_unless_allowed(tmp_path):
    old, new = policy(), policy(seed=1)
    roll_out(rollouts(tmp_path, old), GeneratorWriter(old), TRIE)
    with pytest.raises(ArtifactError, match=r"were written by policy .* set allow_stale"):
        rollouts(tmp_path, new)
    allowed = rollouts(tmp_path, new, allow_stale=True)
    assert allowed.policy == weights_version(old)
    assert allowed.load().items.shape == (11, 6, 2)


def test_missing_parts_of_an_older_policy_cannot_be_written(tmp_path):
    old, new = policy(), policy(seed=1)
    roll_out(rollouts(tmp_path, old), GeneratorWriter(old), TRIE, (1, 2))
    with pytest.raises(ArtifactError, match="which the policy now cannot write"):
        roll_out(rollouts(tmp_path, new, allow_stale=True), GeneratorWriter(new), TRIE)


def test_lists_of_another_job_are_refused_by_name(tmp_path):
    generator = policy()
    roll_out(rollouts(tmp_path, generator), GeneratorWriter(generator), TRIE)
    with pytest.raises(ArtifactError, match=r"unlike: lists\)"):
        Rollouts(tmp_path, PROMPTS, 5, 2, weights_version(generator))
    with pytest.raises(ArtifactError, match=r"unlike: prompts\)"):
        Rollouts(tmp_path, some_users(11, seed=1), 6, 2, weights_version(generator))


def test_shards_are_counted_from_one(tmp_path):
    generator = policy()
    with pytest.raises(ConfigError, match="shard 3 of 2; expected a number from 1 to 2"):
        rollouts(tmp_path, generator).pending((3, 2))


def test_users_with_few_items_left_get_fewer_lists():
    generator = policy()
    found = written_lists(GeneratorWriter(generator), TRIE, some_users(3), 500, 1)
    left = 9 - some_users(3).lengths
    assert ((found.log_probabilities > -np.inf).sum(1) == left).all()
    assert ((found.items > 0).sum((1, 2)) == left).all()
