"""A tiny model whose probabilities depend on everything chosen so far, and an oracle for it.

Logits are a table looked up by user and by a hash of the codes chosen so far, so every prefix has a
distribution of its own. The oracle walks all lists one by one in plain Python.
"""

import itertools
import math

import numpy as np
import torch

from llmrec.recommenders.onerec.beam import StepScores

TABLE = 997


class ScriptedDecoder:
    """Logits by table; ``state`` is a dictionary that holds the hash of every beam's codes."""

    def __init__(self, sizes, users, seed, distinct=None):
        self.sizes = sizes
        rng = np.random.default_rng(seed)
        shape = (users, TABLE, max(sizes))
        values = rng.normal(size=shape) if distinct is None else rng.integers(0, distinct, shape)
        self.table = torch.from_numpy(values.astype(np.float32))

    def start(self):
        return {"hash": torch.zeros(len(self.table), 1, dtype=torch.int64), "parents": []}

    def step(self, state, level, codes, parents):
        if codes is not None:
            rows = torch.arange(len(self.table))[:, None]
            state["hash"] = next_hash(state["hash"][rows, parents], codes)
            state["parents"].append(parents)
        rows = torch.arange(len(self.table))[:, None]
        logits = self.table[rows, state["hash"]][..., : self.sizes[level]]
        return StepScores.of_level(logits)

    def log_probability(self, user, codes):
        """Log-probability of a list's codes, one after another, in double precision."""
        total, key = 0.0, 0
        for place, code in enumerate(codes):
            logits = self.table[user, key].double()[: self.sizes[place % len(self.sizes)]]
            total += float(logits[code] - logits.logsumexp(0))
            key = next_hash(key, code)
        return total


def next_hash(key, code):
    return (key * 31 + code * 7 + 3) % TABLE


def all_lists(decoder, ids, user, items, allowed=None):
    """Every list of different semantic IDs with its log-probability, best first.

    Args:
        ids: The different semantic IDs, as tuples.
        allowed: The IDs the user may get; None for all.
    """
    usable = sorted(ids if allowed is None else allowed)
    scored = [
        (decoder.log_probability(user, list(itertools.chain(*chosen))), chosen)
        for chosen in itertools.permutations(usable, items)
    ]
    scored = [pair for pair in scored if pair[0] > -math.inf]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))
