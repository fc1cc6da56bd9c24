"""Moments of the training part at which lists are written and judged.

A moment is a place in a user's training events with something before it. Which moments an iteration
takes is drawn by seed and iteration alone, so every process and every resumed run takes the same.
"""

import numpy as np

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of, position_of_each
from llmrec.errors import DataError


def draw_prompts(train: Histories, share: float, seed: int, iteration: int) -> Histories:
    """Histories at the drawn moments, in the order of users and time.

    Args:
        train: Training events.
        share: Share of the moments, above 0 and at most 1.
        seed: Of the alignment.
        iteration: From 0; every iteration draws others.

    Returns:
        ``[n]`` histories; a user may be there several times.

    Raises:
        DataError: No user has a moment with a history, or the share leaves none.
    """
    place = position_of_each(offsets_of(train.lengths))
    moments = np.flatnonzero(place > 0)
    rng = np.random.default_rng([seed, iteration])
    drawn = moments[rng.random(moments.size) < share]
    if not drawn.size:
        raise DataError(
            f"a share of {share} of {moments.size} training moments leaves none to write lists "
            "for; raise share, or train on histories of two events or more."
        )
    owner = np.searchsorted(train.offsets, drawn, side="right") - 1
    return train.prefixes(owner, place[drawn])
