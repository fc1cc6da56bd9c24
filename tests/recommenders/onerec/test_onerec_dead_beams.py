"""Users who have had nearly everything: beams that die between two items of a list."""

import itertools

import numpy as np
import pytest
import torch
from test_onerec_generator import FORMS, of_lists

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.forms import make_generator
from llmrec.recommenders.onerec.generator.lists import list_log_probabilities
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter
from llmrec.recommenders.onerec.serving import search, served_lists
from llmrec.recommenders.onerec.trie import Trie

SIZES = (2, 4)
CODES = np.array([[0, 1], [0, 2], [0, 3], [1, 0]])  # a dead beam may come to (1, 1): beyond all
TRIE = Trie.build(CODES, SIZES)
ITEMS = Vocabulary([1, 2, 3, 4], "item")
SEEN = [[1, 2, 3], [4, 1], [2, 3, 1, 4], [3], [4]]
USERS = Histories.from_lists(SEEN, ITEMS)


@pytest.fixture(params=FORMS)
def generator(request):
    torch.manual_seed(3)
    config = GeneratorConfig(
        dim=8,
        heads=2,
        feed_forward=12,
        expert_width=6,
        history=5,
        session=2,
        **FORMS[request.param],
    )
    return make_generator(config, torch.from_numpy(CODES), SIZES).eval()


@pytest.mark.parametrize("width", [1, 3, 8, 20])
def test_dead_beams_are_no_lists(generator, width):
    ((_, found),) = search(GeneratorWriter(generator), TRIE, USERS, width, 2, exclude_seen=True)
    for user, seen in enumerate(SEEN):
        dead = found.scores[user] == -torch.inf
        assert bool((found.leaves[user][dead] == -1).all())
        for leaves in found.leaves[user][~dead].tolist():
            items = [leaf + 1 for leaf in leaves]  # every leaf has one item, in their order
            assert len(set(items)) == 2
            assert not set(items) & set(seen)


def test_what_is_found_is_what_teacher_forcing_says_of_every_possible_list(generator):
    ((_, found),) = search(GeneratorWriter(generator), TRIE, USERS, 12, 2, exclude_seen=True)
    for user, seen in enumerate(SEEN):
        lists = list(itertools.permutations(sorted({1, 2, 3, 4} - set(seen)), 2))
        assert int(found.found[user]) == len(lists)
        if not lists:
            continue
        read = of_lists([seen[-4:] if generator.recency is None else seen] * len(lists))
        scores = list_log_probabilities(generator, read, torch.tensor(lists)).detach()
        expected = sorted(zip(scores.tolist(), lists, strict=True), reverse=True)
        mine = [tuple(leaf + 1 for leaf in row) for row in found.leaves[user].tolist()]
        assert mine[: len(lists)] == [one for _, one in expected]
        np.testing.assert_allclose(
            found.scores[user, : len(lists)], [score for score, _ in expected], atol=1e-4
        )


def test_a_user_without_a_list_gets_none(generator):
    found = search(GeneratorWriter(generator), TRIE, USERS, 8, 2, exclude_seen=True)
    codes, scores = served_lists(found, TRIE, USERS, 2)
    assert codes[0].tolist() == codes[2].tolist() == [0, 0]
    assert np.isneginf(scores[[0, 2]]).all()
    assert sorted(codes[1].tolist()) == [2, 3]
