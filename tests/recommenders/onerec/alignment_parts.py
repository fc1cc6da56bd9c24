"""A small generator, its trie, users and a reward model, for the tests of alignment."""

import numpy as np
import torch
from test_onerec_generator import CODES, N_ITEMS, SIZES, make_generator

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.alignment.reward_forms import make_reward_model
from llmrec.recommenders.onerec.trie import Trie

VOCABULARY = Vocabulary([f"item-{number}" for number in range(1, N_ITEMS + 1)], "item")
TRIE = Trie.build(CODES, SIZES)


def users(rows):
    """Histories of lists of item codes."""
    ids = [f"item-{code}" for code in range(1, N_ITEMS + 1)]
    named = {f"user-{n}": [ids[code - 1] for code in row] for n, row in enumerate(rows)}
    return Histories.from_lists(named, VOCABULARY)


def some_users(n=12, seed=0):
    """Users with one to four different items each."""
    rng = np.random.default_rng(seed)
    return users([rng.choice(N_ITEMS, rng.integers(1, 5), replace=False) + 1 for _ in range(n)])


def policy(form="item_decoder", **options):
    """A generator in evaluation mode that writes lists of three items."""
    return make_generator(form=form, **options).eval()


def crowded_policy(form="item_decoder"):
    """A generator for items of which two to three share an ID, and their trie."""
    codes = CODES[np.arange(N_ITEMS) % 4]
    generator = policy(form)
    generator.codes[1:] = torch.from_numpy(codes)
    return generator, Trie.build(codes, SIZES)


def reward_model(seed=0, **options):
    """An untrained reward model that tells lists apart."""
    torch.manual_seed(seed)
    config = RewardConfig(
        **{"towers": ("like", "stay"), "dim": 8, "hidden": 8, "history": 5, "session": 3, **options}
    )
    model = make_reward_model(config, N_ITEMS, [0.2, 0.5][: len(config.towers)])
    torch.nn.init.normal_(model.items.weight)
    return model.eval()
