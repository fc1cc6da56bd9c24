"""Lists put together by reward against a loop over all choices."""

import numpy as np
import torch
from alignment_parts import TRIE, crowded_policy, policy, reward_model, some_users

from llmrec.recommenders.onerec.alignment.composing import composed_lists, greedy_lists
from llmrec.recommenders.onerec.alignment.pairs import reference_log_probabilities
from llmrec.recommenders.onerec.alignment.reward import padded_histories
from llmrec.recommenders.onerec.alignment.rollouts import Lists
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter
from llmrec.recommenders.onerec.serving import first_items, search

USERS = some_users(9, seed=3)


def test_every_item_is_the_one_that_makes_the_list_worth_most():
    generator, reward = policy(), reward_model()
    found = composed_lists(GeneratorWriter(generator), TRIE, reward, USERS, 6, 3)
    read = padded_histories(reward, USERS)
    ((_, lists),) = search(GeneratorWriter(generator), TRIE, USERS, 6, exclude_seen=True)
    pools = first_items(TRIE, lists.leaves[..., 0])
    for user in range(9):
        written: list[int] = []
        for _ in range(3):
            left = [code for code in pools[user].tolist() if code and code not in written]
            worth = [
                reward.reward(read[user : user + 1], torch.tensor([[*written, code]])).item()
                for code in left
            ]
            written.append(left[int(np.argmax(worth))])
        assert found.items[user, 0].tolist() == written
        assert not set(written) & set(USERS[user].tolist())
    expected = reference_log_probabilities(GeneratorWriter(generator), USERS, found.items[:, 0])
    np.testing.assert_array_equal(found.log_probabilities[:, 0], expected)


def test_lists_of_shared_ids_have_no_seen_item():
    generator, trie = crowded_policy()
    found = composed_lists(GeneratorWriter(generator), trie, reward_model(), USERS, 4, 2)
    there = np.flatnonzero(found.log_probabilities[:, 0] > -np.inf)
    assert there.size > 5
    for user in there:
        assert not set(found.items[user, 0].tolist()) & set(USERS[user].tolist())
    firsts = {int(code) for code in found.items[there].ravel()} <= {1, 2, 3, 4}
    assert not firsts  # some stand for a first item that was seen


def test_where_too_few_items_are_left_there_is_no_list():
    choice = torch.tensor([[3, 0, 0], [5, 2, 1]])
    history = torch.tensor([[4], [6]])
    found = greedy_lists(reward_model(), history, choice, 3)
    assert found[0].tolist() == [3, 0, 0]
    assert sorted(found[1].tolist()) == [1, 2, 5]
    few = composed_lists(GeneratorWriter(policy()), TRIE, reward_model(), USERS, 2, 3)
    assert (few.log_probabilities == -np.inf).all()


def test_lists_beside_lists():
    one = Lists(np.arange(12, dtype=np.int32).reshape(2, 2, 3), np.zeros((2, 2), np.float32))
    other = Lists(np.arange(6, dtype=np.int32).reshape(2, 1, 3), np.ones((2, 1), np.float32))
    both = one.beside(other)
    assert both.items[1].tolist() == [[6, 7, 8], [9, 10, 11], [3, 4, 5]]
    assert both.log_probabilities.tolist() == [[0, 0, 1], [0, 0, 1]]
