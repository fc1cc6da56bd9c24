"""A store over the small gated model, and gates for it."""

import numpy as np
from small_gated import gated

from llmrec.adapters.store import AdapterStore

KEEP = 4096  # bytes of configuration and header that a budget allows for an adapter, at least


def experts(compose="merge_factors", seed=0, **changes):
    return gated(compose, seed, **changes).experts()


def store(folder, trained=None, **settings):
    return AdapterStore.create(folder / "store", trained or experts(), **settings)


def draw(n, seed=0, shape=(4, 4)):
    """Gates that sum to 1, exact in float16."""
    values = np.random.default_rng(seed).dirichlet(np.ones(shape[1]), (n, shape[0]))
    return values.astype(np.float16).astype(np.float32)
