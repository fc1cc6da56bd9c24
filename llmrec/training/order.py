"""In which order the rows of an epoch are learnt: shuffled, or shuffled among rows of like length.

The order depends on seed, epoch and source alone, so every process and a resumed training see the
same.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from llmrec.errors import ConfigError
from llmrec.training.batches import BatchSource
from llmrec.training.seeds import epoch_generator

_STEPS_SORTED_TOGETHER = 50  # as in the length-grouped sampler of Hugging Face

Int64Array = npt.NDArray[np.int64]


@runtime_checkable
class LengthAware(Protocol):
    """A source whose rows have lengths, for ``training.group_by_length``."""

    @property
    def row_lengths(self) -> Int64Array:
        """``[rows]`` what the padding of a batch depends on."""
        ...


def epoch_order(
    source: BatchSource, steps: int, seed: int, epoch: int, group_by_length: bool
) -> list[Int64Array]:
    """The rows of every optimiser step of an epoch; each row is there once.

    Args:
        source: Training rows.
        steps: Optimiser steps of an epoch.
        seed: Of the training.
        epoch: Counted from 0.
        group_by_length: Sort the rows of fifty steps at a time by length before they are cut into
            steps, whose order is then drawn: little padding, and still other company every epoch.

    Raises:
        ConfigError: The rows have no lengths to group by.
    """
    generator = epoch_generator(seed, epoch)
    groups = np.array_split(generator.permutation(len(source)), steps)
    if not group_by_length:
        return groups
    if not isinstance(source, LengthAware):
        raise ConfigError(
            f"training.group_by_length: rows of {type(source).__name__} have no lengths to group "
            "by; leave it out."
        )
    lengths, found = source.row_lengths, []
    for start in range(0, steps, _STEPS_SORTED_TOGETHER):
        window = groups[start : start + _STEPS_SORTED_TOGETHER]
        rows = np.concatenate(window)
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        found += np.split(rows, np.cumsum([part.size for part in window])[:-1])
    return [found[place] for place in generator.permutation(steps)]
