"""One place that seeds everything that draws random numbers."""

import random
from collections.abc import Mapping

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


def generator_states() -> dict[str, torch.Tensor]:
    """Where torch's generators stand, by device."""
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(states: Mapping[str, torch.Tensor]) -> None:
    """Put generators where :func:`generator_states` found them, on the devices that there are."""
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
