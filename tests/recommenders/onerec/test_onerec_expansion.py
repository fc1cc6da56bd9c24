"""Logits of children: both ways of reading them against one beam after another."""

import math

import numpy as np
import pytest
import torch

from llmrec.recommenders.onerec import expansion
from llmrec.recommenders.onerec.expansion import child_logits, children_of, codes_of
from llmrec.recommenders.onerec.trie import Trie

SIZES = (4, 30, 3)


def make_trie():
    rng = np.random.default_rng(5)
    table = np.unique(np.stack([rng.integers(0, n, 90) for n in SIZES], axis=1), axis=0)
    return Trie.build(table, SIZES)


def one_after_another(trie, level, nodes, dead, logits):
    """For every beam the logits of its children, in plain Python."""
    edges, codes = trie.children[level].tolist(), trie.codes[level].tolist()
    found = []
    for user, row in enumerate(nodes.tolist()):
        for beam, node in enumerate(row):
            span = range(0) if dead[user][beam] else range(edges[node], edges[node + 1])
            found.append([float(logits[user, beam, codes[child]]) for child in span])
    return found


@pytest.mark.parametrize("narrow", [0, 1000], ids=["in runs", "one by one"])
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("some_dead", [False, True])
def test_children_have_their_own_logits_and_nothing_lies_beyond(
    monkeypatch, narrow, level, some_dead
):
    monkeypatch.setattr(expansion, "_NARROW", narrow)
    trie, rng = make_trie(), np.random.default_rng(level)
    nodes = torch.from_numpy(rng.integers(0, trie.n_nodes(level), (3, 7)))
    dead = torch.from_numpy(rng.random((3, 7)) < (0.4 if some_dead else 0))
    children = children_of(trie, level, nodes, dead if some_dead else None)
    logits = torch.from_numpy(rng.normal(size=(3, 7, SIZES[level]))).to(torch.bfloat16)
    found = child_logits(trie, children, logits)
    expected = one_after_another(trie, level, nodes, dead, logits)
    assert found.dtype == torch.float32
    assert found.shape == (3, 7, max(map(len, expected)))
    for row, wanted in zip(found.flatten(0, 1).tolist(), expected, strict=True):
        assert row == wanted + [-math.inf] * (len(row) - len(wanted))


@pytest.mark.parametrize("narrow", [0, 1000])
def test_beams_that_are_all_dead_have_no_children(monkeypatch, narrow):
    monkeypatch.setattr(expansion, "_NARROW", narrow)
    trie, nodes = make_trie(), torch.zeros(2, 3, dtype=torch.int64)
    children = children_of(trie, 1, nodes, torch.ones(2, 3, dtype=torch.bool))
    assert children.count.tolist() == [[0] * 3] * 2
    assert child_logits(trie, children, torch.zeros(2, 3, 30)).flatten().tolist() == [-math.inf] * 6


def test_nodes_know_the_codes_that_lead_to_them():
    trie = make_trie()
    every = torch.arange(trie.n_nodes(2))[None]
    paths = {tuple(row[:2]) for row in trie.leaf_codes(torch.arange(trie.n_leaves)).tolist()}
    assert codes_of(trie, 1, every)[0].tolist() == [path[1] for path in sorted(paths)]
