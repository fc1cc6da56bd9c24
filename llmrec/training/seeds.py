"""One place that seeds everything that draws random numbers."""

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy's legacy generator and torch on all devices.

    The toolkit's own NumPy code takes explicit generators; the legacy one is seeded for libraries.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator of one epoch's row order: the same for every process and after a resume."""
    return np.random.default_rng([seed, epoch])
